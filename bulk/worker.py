"""Run the jobs of many units with one model on one device: they share its batch, and join and leave between steps."""

import logging
import os
import pickle
import queue
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from typing import Any, Final, NamedTuple

from amt.errors import ModelUnavailableError
from bulk.job import Failure, Settings
from bulk.watchdog import Watchdog
from serving.batching import BatchRunner
from serving.messages import Done, Failed, FromWorker, Loaded, NotLoaded, Ready
from worker.jobs import EmbedJob, GenerateJob

logger = logging.getLogger("anticipatory")

MAX_CPU_ROWS: Final = 32
MAX_ROWS: Final = 256
"""Sequences that are decoded together, if there is memory: more would hardly be faster."""

NO_MEMORY: Final = 503

Job = GenerateJob | EmbedJob


class Group(NamedTuple):
    """Hold jobs that begin together, and where their outcomes are awaited.

    Attributes:
        jobs: of one unit.
        futures: of the outcomes, each a result or a `Failure`.
        n_rows: of the batch that they take; 0 for those that must have the device for themselves.
    """

    jobs: Sequence[Job]
    futures: Sequence[Future[Any]]
    n_rows: int


def load(settings: Settings, n_sharing: int) -> tuple[BatchRunner, dict[str, Any]]:
    """Return what runs jobs with the model of a job, and how it describes itself.

    Raises:
        ModelUnavailableError: the model cannot be had.
        ValueError: the device is not there, or cannot compute in that precision.
    """
    api = settings.new_api(n_sharing)
    api.setup(settings.device)
    info = _wait(api.runner)
    name = info["default_size"]
    if not info["sizes"][name]["loaded"]:
        api.runner.load(name, {})
        info = _wait(api.runner)
    return api.runner, info


def _wait(runner: BatchRunner) -> dict[str, Any]:
    """Return how a worker describes itself when it has loaded a model. Raise ModelUnavailableError if it cannot."""
    while True:
        for message in runner.step():
            if isinstance(message, NotLoaded):
                raise ModelUnavailableError(message.detail)
            if isinstance(message, Ready | Loaded):
                return dict(message.info)
        time.sleep(runner.poll_timeout)


def find_max_rows(info: Mapping[str, Any]) -> int:
    """Return how many sequences a worker that describes itself so decodes together."""
    most = MAX_CPU_ROWS if info["device"] == "cpu" else MAX_ROWS
    capacity: int = info["capacity"][info["default_size"]]
    return max(1, min(capacity, most))


def probe(settings: Settings) -> dict[str, Any]:
    """Return how a worker describes itself, after loading the model. Raise as `load` does."""
    return load(settings, 1)[1]


class Worker:
    """Be an actor of Ray Data that is called from several threads, once for each unit."""

    def __init__(self, settings: Settings, is_alone_on_device: bool) -> None:
        """Load the model. Processes that share a device have a part of its memory and, on a CPU, one core each."""
        self._runner, info = load(settings, 1 if is_alone_on_device else os.cpu_count() or 1)
        self._is_cpu = info["device"] == "cpu"
        self._max_rows = find_max_rows(info)
        self._arrived: queue.SimpleQueue[Group] = queue.SimpleQueue()
        self._waiting: deque[Group] = deque()
        self._running: dict[int, tuple[Job, Future[Any]]] = {}
        self._n_started = 0
        self._watchdog = Watchdog(settings.step_seconds)
        threading.Thread(target=self._run, name="decoder", daemon=True).start()

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        """Add the outcomes of a unit's jobs to its row."""
        jobs: list[Job | None] = pickle.loads(row.pop("jobs"))
        futures: list[Future[Any]] = [Future() for _ in jobs]
        given = [(job, future) for job, future in zip(jobs, futures, strict=True) if job]
        for group in self._grouped(given):
            self._arrived.put(group)
        for job, future in zip(jobs, futures, strict=True):
            if not job:
                future.set_result(None)
        return {**row, "outcomes": pickle.dumps([future.result() for future in futures])}

    def _grouped(self, given: Sequence[tuple[Job, Future[Any]]]) -> list[Group]:
        """Return groups such that results depend on nothing else that is in the batch.

        Vectors depend, in their last bits, on the windows that they are computed beside. On a CPU each file is computed
        by itself, which costs nothing and gives what the service answers; elsewhere those of one unit together.
        """
        if given and isinstance(given[0][0], EmbedJob) and not self._is_cpu:
            jobs, futures = zip(*given, strict=True)
            return [Group(jobs, futures, 0)]
        return [Group([job], [future], 0 if isinstance(job, EmbedJob) else len(job.sequences)) for job, future in given]

    def _run(self) -> None:
        """Advance all jobs, for ever. An error that no job explains ends the process, so that Ray starts another."""
        try:
            while True:
                self._admit()
                self._watchdog.is_alive()
                for message in self._runner.step():
                    self._take(message)
        except BaseException:
            logger.exception("the worker cannot go on")
            os._exit(1)

    def _admit(self) -> None:
        """Start what there is room for, in the order of arrival; wait if there is nothing to do at all."""
        if not (self._waiting or self._running):
            self._watchdog.rest()
        while not self._arrived.empty() or not (self._waiting or self._running):
            self._waiting.append(self._arrived.get())
        while self._waiting and self._has_room(self._waiting[0]):
            group = self._waiting.popleft()
            for job, future in zip(group.jobs, group.futures, strict=True):
                self._n_started += 1
                self._running[self._n_started] = job, future
                self._runner.add(self._n_started, job)

    def _has_room(self, group: Group) -> bool:
        if not self._running:
            return True
        return 0 < group.n_rows <= self._max_rows - self._n_rows

    @property
    def _n_rows(self) -> int:
        return sum(0 if isinstance(job, EmbedJob) else len(job.sequences) for job, _ in self._running.values())

    def _take(self, message: FromWorker) -> None:
        """Hand an outcome to whoever waits for it. What has found no memory beside others waits until they are done."""
        match message:
            case Done(uid, result, _):
                self._running.pop(uid)[1].set_result(result)
            case Failed(uid, status, detail):
                job, future = self._running.pop(uid)
                if status == NO_MEMORY and self._running and isinstance(job, GenerateJob):
                    self._max_rows = max(1, self._n_rows)
                    self._waiting.appendleft(Group([job], [future], len(job.sequences)))
                else:
                    future.set_result(Failure(status, detail))
