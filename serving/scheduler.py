"""Decide which requests run, on which worker, and which wait for room in a batch, in order of arrival."""

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final, NamedTuple

from serving.abortable import refusal
from serving.batching import Job
from serving.messages import (
    Changed,
    Done,
    Failed,
    FromWorker,
    Loaded,
    NotLoaded,
    Ready,
    ToWorker,
    Unloaded,
    Update,
)
from serving.telemetry import Metrics
from serving.ticket import Ticket
from serving.worker_state import WorkerState, count_rows

RETRY_RESTART_SECONDS: Final = 5
RETRY_FULL_SECONDS: Final = 2


class _Queue(NamedTuple):
    """Hold what the tickets that have been looked at leave to those behind them.

    Attributes:
        held: workers on which nothing else may start.
        wanted: groups that must not be unloaded.
        leaving: groups that are unloaded once no job of theirs runs, each with its worker.
    """

    held: set[WorkerState]
    wanted: set[str]
    leaving: set[tuple[WorkerState, str]]


class Scheduler:
    """Start jobs where there is most room for them, in order of arrival; know what the workers are doing.

    Attributes:
        workers: what is known of each, by its number.
    """

    def __init__(self, max_batch: int, max_waiting: int, metrics: Metrics, max_loaded: int | None = None) -> None:
        """Let `max_batch` rows run on each worker at most, `max_loaded` groups stay, and `max_waiting` tickets wait."""
        self.workers: list[WorkerState] = []
        self._is_stopping = False
        self._max_batch, self._max_waiting, self._metrics = max_batch, max_waiting, metrics
        self._max_loaded = max_loaded
        self._uids = itertools.count()
        self._waiting: dict[int, Ticket] = {}
        metrics.observe("queue.depth", "Requests that wait for a place", lambda: len(self._waiting))
        metrics.observe_workers("batch.rows", "Rows that run together", self._rows_running)
        metrics.observe_workers("models.loaded", "Models that are loaded", self._n_loaded)
        metrics.observe_workers("fallbacks", "Parts that run in a slower way than they should", self._fallbacks)

    def _rows_running(self) -> list[int]:
        return [worker.rows for worker in self.workers]

    def _n_loaded(self) -> list[int]:
        return [len(worker.capacity) for worker in self.workers]

    def _fallbacks(self) -> list[int]:
        return [int(worker.info.get("fallbacks", 0)) for worker in self.workers]

    def add_worker(self, send: Callable[[ToWorker], None], device: str | None) -> None:
        """Take the function that sends a message to one more worker, and its device if that is known."""
        self.workers.append(WorkerState(send, device, self._max_batch, self._max_loaded))

    @property
    def _ready(self) -> list[WorkerState]:
        return [worker for worker in self.workers if worker.is_ready]

    @property
    def is_ready(self) -> bool:
        """Whether any worker takes jobs."""
        return bool(self._ready)

    @property
    def infos(self) -> list[Mapping[str, Any]]:
        """How each worker that is ready describes what it offers; while none is, how they did."""
        return [worker.info for worker in self._ready or self.workers if worker.info]

    @property
    def info(self) -> Mapping[str, Any]:
        """How the first of them does; empty before one has been ready."""
        return next(iter(self.infos), {})

    @contextmanager
    def admit(self, rows: int) -> Iterator[Ticket]:
        """Give a request a ticket, which waits and then runs, at most until the block is left.

        Raises:
            HTTPException: 503 while no worker is ready, 429 when too many wait.
        """
        if self._is_stopping or not self.is_ready:
            state = "restarting after a failure" if self.info else "starting"
            state = "stopping" if self._is_stopping else state
            text = f"the service is {state}: try again in a few seconds"
            raise refusal(503, text, RETRY_RESTART_SECONDS)
        is_full = count_rows(self._waiting) + sum(self._rows_running()) + rows > self._max_batch * len(self._ready)
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
        running = [ticket for worker in self.workers for ticket in worker.running.values()]
        for ticket in [*self._waiting.values(), *running]:
            self.abort(ticket, status, detail)

    def _free(self, ticket: Ticket) -> None:
        self._waiting.pop(ticket.uid, None)
        for worker in self.workers:
            worker.cancel(ticket.uid)
        self._start_what_fits()

    def _start_what_fits(self) -> None:
        """Start jobs in order of arrival, each where there is most room.

        One that finds none holds the workers that it could run on: what came later may not overtake it there, or a
        ticket with many rows would wait for ever. For the same reason no more of a group is started where an earlier
        ticket waits for its place.
        """
        ready, queue = self._ready, _Queue(set(), set(), set())
        for ticket in list(self._waiting.values()):
            if len(queue.held) == len(ready):
                break
            if ticket.job is None or ticket.uid not in self._waiting:
                continue
            group = ticket.job.group
            has_memory = [worker for worker in ready if ticket.rows <= worker.capacity.get(group, 0)]
            could_run = [worker for worker in has_memory if (worker, group) not in queue.leaving]
            free = [worker for worker in could_run if worker not in queue.held]
            roomiest = max(free, key=lambda worker: worker.room(group), default=None)
            if roomiest and ticket.rows <= roomiest.room(group):
                roomiest.start(self._waiting.pop(ticket.uid))
                continue
            queue.wanted.add(group)
            if self._is_loading(ticket, ticket.job, queue) or has_memory:
                queue.held.update(could_run)
            else:
                most = max(worker.capacity.get(group, 0) for worker in ready)
                text = f"there is memory for {most} at a time of {group}, and {ticket.rows} are asked for"
                self.abort(ticket, 503, text)

    def _is_loading(self, ticket: Ticket, job: Job, queue: _Queue) -> bool:
        """Tell whether a worker loads what the job needs, or will; let the least busy one begin if that would help.

        Where it is loaded nowhere, the ticket waits for that. Where it is, loading elsewhere helps if there is room.
        """
        is_loaded = any(job.group in worker.capacity for worker in self._ready)
        if not is_loaded:
            ticket.begin_load()
        if any(job.group in worker.loading for worker in self._ready):
            return True
        could_load = [
            worker
            for worker in self._ready
            if not is_loaded
            or (job.group not in {*worker.capacity, *worker.refused} and worker.rows + ticket.rows <= self._max_batch)
        ]
        # What is about to be unloaded there is loaded again after that.
        settled = [worker for worker in could_load if job.group not in worker.loading.values()]
        settled.sort(key=lambda worker: (worker.rows, len(worker.capacity) + len(worker.loading)))
        if not self._begin_load(job, settled, queue) and settled and not is_loaded:
            queue.leaving.update((settled[0], group) for group in settled[0].by_last_use(queue.wanted)[:1])
        return bool(could_load)

    @staticmethod
    def _begin_load(job: Job, workers: Sequence[WorkerState], queue: _Queue) -> bool:
        """Let the first worker load what a job needs that has a place for it, or else an idle group; return whether."""
        for worker in workers:
            if worker.has_place:
                worker.load(job)
                return True
        for worker in workers:
            if idle := worker.find_idle(queue.wanted):
                worker.load(job, instead_of=idle)
                return True
        return False

    def _waiting_for(self, group: str) -> list[Ticket]:
        return [ticket for ticket in self._waiting.values() if ticket.job and ticket.job.group == group]

    def received(self, index: int, messages: Sequence[FromWorker]) -> None:
        """Take messages from a worker."""
        for message in messages:
            self._take(index, message)
        self._start_what_fits()

    def _take(self, index: int, message: FromWorker) -> None:
        worker = self.workers[index]
        match message:
            case Ready(info):
                self._metrics.count_worker_start(index)
                worker.is_ready = True
                worker.offer(info)
            case Changed(info):
                worker.offer(info)
            case Loaded(group, seconds, info):
                worker.loading.pop(group, None)
                worker.refused.discard(group)
                worker.offer(info)
                for ticket in self._waiting_for(group):
                    ticket.end_load()
                self._metrics.record_load(group, seconds, index)
            case Unloaded(group, info):
                worker.unloaded(group)
                worker.offer(info)
                self._metrics.count_unload(group, index)
            case NotLoaded(group, status, detail):
                worker.loading.pop(group, None)
                worker.refused.add(group)
                self._abort_without(group, status, detail, None)
            case Update(uid) if uid in worker.running:
                worker.running[uid].arrived.put_nowait(message)
            case Done(uid, _, amounts):
                self._metrics.count_amounts(amounts, index)
                if uid in worker.running:
                    worker.end(uid).arrived.put_nowait(message)
            case Failed(uid, status, detail) if uid in worker.running:
                retry_seconds = RETRY_RESTART_SECONDS if status == 503 else None
                self.abort(worker.end(uid), status, detail, retry_seconds)

    def worker_died(self, index: int, reason: str) -> None:
        """Abort what ran there or waited for what was loading there; what else waits will run on another worker."""
        self._metrics.count_worker_death(index)
        lost, loading = self.workers[index].die()
        text = f"the worker {reason}: try again in a few seconds"
        for ticket in lost:
            self.abort(ticket, 503, text, RETRY_RESTART_SECONDS)
        for group in loading:
            self._abort_without(group, 503, text, RETRY_RESTART_SECONDS)

    def _abort_without(self, group: str, status: int, detail: str, retry_seconds: int | None) -> None:
        """Abort what waits for a group, unless another worker has it."""
        if not any(group in worker.capacity for worker in self._ready):
            for ticket in self._waiting_for(group):
                self.abort(ticket, status, detail, retry_seconds)
