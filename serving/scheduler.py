"""Who may run and who must wait: places in the worker's batch, in order of arrival."""

import asyncio
import itertools
import logging
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final

from fastapi import HTTPException

from serving.batching import Work
from serving.messages import Cancel, Done, Failed, FromWorker, Load, Loaded, NotLoaded, Ready, Start, ToWorker, Update
from serving.telemetry import Metrics

logger = logging.getLogger("anticipatory")

RETRY_RESTART_SECONDS: Final = 5
RETRY_FULL_SECONDS: Final = 2


class Job:
    """A request's place: waiting, then running.

    Attributes:
        work: what to do, once that is known.
        started: when it began to run, in seconds of the monotonic clock; None while it waits.
        is_over: it must not be started any more.
    """

    def __init__(self, uid: int, rows: int) -> None:
        self.uid, self.rows = uid, rows
        self.work: Work | None = None
        self.started: float | None = None
        self.is_over = False
        self._arrived: asyncio.Queue[Update | Done | HTTPException] = asyncio.Queue()

    def put(self, item: Update | Done) -> None:
        """Something has come from the worker."""
        self._arrived.put_nowait(item)

    def abort(self, status: int, detail: str, retry_seconds: int | None = None) -> None:
        """There will be no result, and this is why."""
        self.is_over = True
        headers = {"Retry-After": str(retry_seconds)} if retry_seconds is not None else None
        self._arrived.put_nowait(HTTPException(status, detail, headers))

    async def outcome(self) -> AsyncIterator[Update | Done]:
        """Updates, and last what is done.

        Raises:
            HTTPException: the job was aborted.
        """
        item: Update | Done | HTTPException | None = None
        while not isinstance(item, Done):
            item = await self._arrived.get()
            if isinstance(item, HTTPException):
                raise item
            yield item


class Scheduler:
    """Starts jobs when there is room for them; knows what the worker has loaded and is doing.

    Attributes:
        info: how the worker describes what it offers, empty before the first one is ready.
        is_ready: whether a worker takes work.
    """

    def __init__(self, max_batch: int, max_waiting: int, metrics: Metrics) -> None:
        """At most `max_batch` rows run, and `max_waiting` jobs wait."""
        self.info: Mapping[str, Any] = {}
        self.is_ready = False
        self._max_batch, self._max_waiting, self._metrics = max_batch, max_waiting, metrics
        self._send: Callable[[ToWorker], None]
        self._uids = itertools.count()
        self._waiting: dict[int, Job] = {}
        self._running: dict[int, Job] = {}
        self._loaded: set[str] = set()
        self._loading: set[str] = set()
        metrics.observe(queue_depth=lambda: len(self._waiting), batch_rows=lambda: _rows(self._running))

    def connect(self, send: Callable[[ToWorker], None]) -> None:
        """Say how to reach the worker."""
        self._send = send

    @contextmanager
    def place(self, rows: int) -> Iterator[Job]:
        """A place among those that wait, and later run, until the block is left, however that comes about.

        Raises:
            HTTPException: 503 while there is no worker, 429 when too many wait.
        """
        if not self.is_ready:
            state = "restarting after a failure" if self.info else "starting"
            raise _later(503, f"the service is {state}: try again in a few seconds", RETRY_RESTART_SECONDS)
        is_full = _rows(self._waiting) + _rows(self._running) + rows > self._max_batch
        if is_full and len(self._waiting) >= self._max_waiting:
            text = f"the service is busy, and {len(self._waiting)} requests wait already: try again in a few seconds"
            raise _later(429, text, RETRY_FULL_SECONDS)
        job = Job(next(self._uids), rows)
        self._waiting[job.uid] = job
        try:
            yield job
        finally:
            self._waiting.pop(job.uid, None)
            if self._running.pop(job.uid, None):
                self._send(Cancel(job.uid))
            self._start_what_fits()

    def submit(self, job: Job, work: Work) -> None:
        """The job's work is known: start it as soon as there is room."""
        job.work = work
        self._start_what_fits()

    def abort_all(self, status: int, detail: str) -> None:
        """No job will have a result any more."""
        for job in [*self._waiting.values(), *self._running.values()]:
            job.abort(status, detail)

    def _start_what_fits(self) -> None:
        for job in list(self._waiting.values()):
            if not self.is_ready or job.work is None or job.is_over:
                continue
            if job.work.group not in self._loaded:
                self._load(job.work)  # those behind it need not wait for that
            elif _rows(self._running) + job.rows <= self._max_batch:
                job.started = time.monotonic()
                self._running[job.uid] = self._waiting.pop(job.uid)
                self._send(Start(job.uid, job.work))
            else:
                break  # or a job with many rows would wait for ever

    def _load(self, work: Work) -> None:
        if work.group not in self._loading:
            self._loading.add(work.group)
            self._send(Load(work.group, work.headers))

    def received(self, messages: Sequence[FromWorker]) -> None:
        """Take what the worker sent."""
        for message in messages:
            match message:
                case Ready(info):
                    self._metrics.worker_started()
                    self.info, self.is_ready = info, True
                    self._loaded = set(info["loaded"])
                case Loaded(group, seconds, info):
                    self.info = info
                    self._loading.discard(group)
                    self._loaded.add(group)
                    self._metrics.loaded(group, seconds)
                case NotLoaded(group, status, detail):
                    self._loading.discard(group)
                    for job in self._waiting.values():
                        if job.work and job.work.group == group:
                            job.abort(status, detail)
                case Update(uid) if uid in self._running:
                    self._running[uid].put(message)
                case Done(uid, _, amounts):
                    self._metrics.computed(amounts)
                    if uid in self._running:
                        self._running.pop(uid).put(message)
                case Failed(uid, status, detail) if uid in self._running:
                    retry = RETRY_RESTART_SECONDS if status == 503 else None
                    self._running.pop(uid).abort(status, detail, retry)
        self._start_what_fits()

    def worker_died(self, reason: str) -> None:
        """Answer everything that was running; what waits will run on the next worker."""
        self._metrics.worker_died()
        self.is_ready = False
        self._loaded, self._loading = set(), set()
        for job in self._running.values():
            job.abort(503, f"the worker {reason}: try again in a few seconds", RETRY_RESTART_SECONDS)
        self._running.clear()


def _rows(jobs: Mapping[int, Job]) -> int:
    return sum(job.rows for job in jobs.values())


def _later(status: int, detail: str, seconds: int) -> HTTPException:
    return HTTPException(status, detail, {"Retry-After": str(seconds)})
