"""Decide which requests run and which wait for room in the worker's batch, in order of arrival."""

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final

from serving.abortable import Abortable, refusal
from serving.batching import Job
from serving.messages import (
    Cancel,
    Changed,
    Done,
    Failed,
    FromWorker,
    Load,
    Loaded,
    NotLoaded,
    Ready,
    Start,
    ToWorker,
    Update,
)
from serving.telemetry import Metrics

RETRY_RESTART_SECONDS: Final = 5
RETRY_FULL_SECONDS: Final = 2


class Ticket(Abortable):
    """Hold a request's place with the scheduler: first it waits, then its job runs.

    Attributes:
        uid: names the job to the worker.
        rows: of the batch that the job takes.
        job: what the worker is asked to do; None until the request has been decoded.
        started: when the job was sent to the worker, in seconds of the monotonic clock; None while it waits.
        load_seconds: in which it has waited for its group to be loaded.
        arrived: what the worker has sent.
    """

    def __init__(self, uid: int, rows: int) -> None:
        super().__init__()
        self.uid, self.rows = uid, rows
        self.job: Job | None = None
        self.started: float | None = None
        self.load_seconds = 0.0
        self._load_began: float | None = None
        self.arrived: asyncio.Queue[Update | Done] = asyncio.Queue()

    def begin_load(self) -> None:
        """Count the seconds from now on, if they are not counted yet, as those of loading."""
        if self._load_began is None:
            self._load_began = time.monotonic()

    def end_load(self) -> None:
        """Count them no longer."""
        if self._load_began is not None:
            self.load_seconds += time.monotonic() - self._load_began
            self._load_began = None

    async def outcome(self) -> AsyncIterator[Update | Done]:
        """Yield the job's updates, and last its result.

        Raises:
            HTTPException: the ticket was aborted.
        """
        message: Update | Done | None = None
        while not isinstance(message, Done):
            message = await self.unless_aborted(self.arrived.get())
            yield message


class Scheduler:
    """Start jobs when there is room for them; know what the worker has loaded and is doing.

    Attributes:
        info: how the worker describes what it offers, empty before the first one is ready.
        is_ready: whether a worker takes jobs.
    """

    def __init__(self, max_batch: int, max_waiting: int, metrics: Metrics) -> None:
        """Let at most `max_batch` rows run, and `max_waiting` tickets wait."""
        self.info: Mapping[str, Any] = {}
        self.is_ready = False
        self._is_stopping = False
        self._max_batch, self._max_waiting, self._metrics = max_batch, max_waiting, metrics
        self._send: Callable[[ToWorker], None]
        self._uids = itertools.count()
        self._waiting: dict[int, Ticket] = {}
        self._running: dict[int, Ticket] = {}
        self._capacity: Mapping[str, int] = {}
        self._loading: set[str] = set()
        metrics.observe("queue.depth", "Requests that wait for a place", lambda: len(self._waiting))
        metrics.observe("batch.rows", "Rows that run together", lambda: _rows(self._running))
        metrics.observe("fallbacks", "Parts that run in a slower way than they should", lambda: self._fallbacks)

    @property
    def _fallbacks(self) -> int:
        return int(self.info.get("fallbacks", 0))

    def connect(self, send: Callable[[ToWorker], None]) -> None:
        """Take the function that sends a message to the worker."""
        self._send = send

    @contextmanager
    def admit(self, rows: int) -> Iterator[Ticket]:
        """Give a request a ticket, which waits and then runs, at most until the block is left.

        Raises:
            HTTPException: 503 while there is no worker, 429 when too many wait.
        """
        if self._is_stopping or not self.is_ready:
            state = "restarting after a failure" if self.info else "starting"
            state = "stopping" if self._is_stopping else state
            text = f"the service is {state}: try again in a few seconds"
            raise refusal(503, text, RETRY_RESTART_SECONDS)
        is_full = _rows(self._waiting) + _rows(self._running) + rows > self._max_batch
        if is_full and len(self._waiting) >= self._max_waiting:
            text = f"the service is busy, and {len(self._waiting)} requests wait already: try again in a few seconds"
            raise refusal(429, text, RETRY_FULL_SECONDS)
        ticket = Ticket(next(self._uids), rows)
        self._waiting[ticket.uid] = ticket
        try:
            yield ticket
        finally:
            self._free(ticket)

    def submit(self, ticket: Ticket, job: Job) -> None:
        """Start the ticket's job as soon as there is room."""
        ticket.job = job
        self._start_what_fits()

    def abort(self, ticket: Ticket, status: int, detail: str, retry_seconds: int | None = None) -> None:
        """End a ticket without a result, and say why; its rows are free at once."""
        ticket.abort(refusal(status, detail, retry_seconds))
        self._free(ticket)

    def stop(self) -> None:
        """Take no more tickets."""
        self._is_stopping = True

    def abort_all(self, status: int, detail: str) -> None:
        """End every ticket without a result."""
        for ticket in [*self._waiting.values(), *self._running.values()]:
            self.abort(ticket, status, detail)

    def _free(self, ticket: Ticket) -> None:
        self._waiting.pop(ticket.uid, None)
        if self._running.pop(ticket.uid, None):
            self._send(Cancel(ticket.uid))
        self._start_what_fits()

    def _start_what_fits(self) -> None:
        for ticket in list(self._waiting.values()):
            if not self.is_ready or ticket.job is None or ticket.uid not in self._waiting:
                continue
            group = ticket.job.group
            if group not in self._capacity:
                ticket.begin_load()
                self._load(ticket.job)  # those behind it need not wait for that
            elif ticket.rows > self._capacity[group]:
                text = (
                    f"there is memory for {self._capacity[group]} at a time of {group}, and {ticket.rows} are asked for"
                )
                self.abort(ticket, 503, text)
            elif self._has_room(group, ticket.rows):
                ticket.started = time.monotonic()
                self._running[ticket.uid] = self._waiting.pop(ticket.uid)
                self._send(Start(ticket.uid, ticket.job))
            else:
                break  # or a ticket with many rows would wait for ever

    def _has_room(self, group: str, rows: int) -> bool:
        in_group = {uid: ticket for uid, ticket in self._running.items() if ticket.job and ticket.job.group == group}
        return _rows(self._running) + rows <= self._max_batch and _rows(in_group) + rows <= self._capacity[group]

    def _load(self, job: Job) -> None:
        if job.group not in self._loading:
            self._loading.add(job.group)
            self._send(Load(job.group, job.headers))

    def _waiting_for(self, groups: set[str]) -> list[Ticket]:
        return [ticket for ticket in self._waiting.values() if ticket.job and ticket.job.group in groups]

    def received(self, messages: Sequence[FromWorker]) -> None:
        """Take messages from the worker."""
        for message in messages:
            match message:
                case Ready(info):
                    self._metrics.count_worker_start()
                    self.info, self.is_ready = info, True
                    self._capacity = info["capacity"]
                case Changed(info):
                    self.info = info
                    self._capacity = info["capacity"]
                case Loaded(group, seconds, info):
                    self.info = info
                    self._capacity = info["capacity"]
                    self._loading.discard(group)
                    for ticket in self._waiting_for({group}):
                        ticket.end_load()
                    self._metrics.record_load(group, seconds)
                case NotLoaded(group, status, detail):
                    for ticket in self._waiting_for({group}):
                        self.abort(ticket, status, detail)
                    self._loading.discard(group)
                case Update(uid) if uid in self._running:
                    self._running[uid].arrived.put_nowait(message)
                case Done(uid, _, amounts):
                    self._metrics.count_amounts(amounts)
                    if uid in self._running:
                        self._running.pop(uid).arrived.put_nowait(message)
                case Failed(uid, status, detail) if uid in self._running:
                    retry_seconds = RETRY_RESTART_SECONDS if status == 503 else None
                    self.abort(self._running.pop(uid), status, detail, retry_seconds)
        self._start_what_fits()

    def worker_died(self, reason: str) -> None:
        """Abort what was running or loading; what else waits will run on the next worker."""
        self._metrics.count_worker_death()
        self.is_ready = False
        lost = [*self._running.values(), *self._waiting_for(self._loading)]
        self._running.clear()
        self._capacity, self._loading = {}, set()
        for ticket in lost:
            self.abort(ticket, 503, f"the worker {reason}: try again in a few seconds", RETRY_RESTART_SECONDS)


def _rows(tickets: Mapping[int, Ticket]) -> int:
    return sum(ticket.rows for ticket in list(tickets.values()))  # metrics are read in other threads, too
