"""Know what one worker has loaded and is doing."""

import time
from collections.abc import Callable, Mapping, Set
from typing import Any

from serving.batching import Job
from serving.messages import Cancel, Load, Start, ToWorker
from serving.ticket import Ticket


class WorkerState:
    """Hold what the scheduler knows of one worker, and tell the worker what to do.

    Attributes:
        device: that it runs on; None until that is known.
        info: how it describes what it offers; empty before it is ready for the first time.
        is_ready: whether it takes jobs.
        loading: the groups that it is loading, each with the one that it unloads for that, if there is one.
        refused: the groups that it could not load.
        running: the tickets whose jobs it runs, by uid.
    """

    def __init__(
        self, send: Callable[[ToWorker], None], device: str | None, max_batch: int, max_loaded: int | None
    ) -> None:
        """Take the function that sends a message to the worker; it keeps `max_loaded` groups, None for any number."""
        self._send, self._max_batch, self._max_loaded = send, max_batch, max_loaded
        self.device = device
        self.info: Mapping[str, Any] = {}
        self.is_ready = False
        self.loading: dict[str, str | None] = {}
        self._capacity: Mapping[str, int] = {}
        self._last_used: dict[str, float] = {}
        self.refused: set[str] = set()
        self.running: dict[int, Ticket] = {}

    @property
    def capacity(self) -> Mapping[str, int]:
        """How many rows of each loaded group it has memory for, without those that it unloads."""
        leaving = set(self.loading.values())
        return {group: rows for group, rows in self._capacity.items() if group not in leaving}

    @property
    def has_place(self) -> bool:
        """Whether it can load a group and keep all others."""
        return self._max_loaded is None or len(self.capacity) + len(self.loading) < self._max_loaded

    def by_last_use(self, wanted: Set[str]) -> list[str]:
        """Return the loaded groups that are not wanted, the least recently used first."""
        groups = [group for group in self.capacity if group not in wanted]
        return sorted(groups, key=lambda group: self._last_used.get(group, 0.0))

    def find_idle(self, wanted: Set[str]) -> str | None:
        """Return the least recently used of the loaded groups that are not wanted and of which no job runs."""
        running = {ticket.job.group for ticket in self.running.values() if ticket.job}
        return next(iter(self.by_last_use(wanted | running)), None)

    @property
    def rows(self) -> int:
        """How many rows run."""
        return count_rows(self.running)

    def room(self, group: str) -> int:
        """Return how many more rows of a loaded group could run."""
        of_group = {uid: ticket for uid, ticket in self.running.items() if ticket.job and ticket.job.group == group}
        return min(self._max_batch - self.rows, self.capacity[group] - count_rows(of_group))

    def describe(self) -> dict[str, Any]:
        """Return what /info says of the worker."""
        return {
            "device": self.device,
            "ready": self.is_ready,
            "loaded": list(self.capacity),
            "capacity": dict(self.capacity),
            "rows": self.rows,
        }

    def offer(self, info: Mapping[str, Any]) -> None:
        """Take how the worker describes what it offers from now on."""
        self.info, self._capacity = info, info["capacity"]

    def start(self, ticket: Ticket) -> None:
        """Let the worker begin a ticket's job."""
        ticket.started, ticket.info = time.monotonic(), self.info
        self.running[ticket.uid] = ticket
        self._note_use(ticket)
        assert ticket.job is not None
        self._send(Start(ticket.uid, ticket.job.for_worker()))

    def end(self, uid: int) -> Ticket:
        """Return the ticket of a job that has ended."""
        ticket = self.running.pop(uid)
        self._note_use(ticket)
        return ticket

    def cancel(self, uid: int) -> None:
        """Let the worker drop a job, if it runs it."""
        if uid in self.running:
            self.end(uid)
            self._send(Cancel(uid))

    def _note_use(self, ticket: Ticket) -> None:
        if ticket.job:
            self._last_used[ticket.job.group] = time.monotonic()

    def load(self, job: Job, instead_of: str | None = None) -> None:
        """Let the worker load what a job needs, perhaps in the place of a group of which no job runs."""
        self.loading[job.group] = instead_of
        self._send(Load(job.group, job.headers, instead_of))

    def unloaded(self, group: str) -> None:
        """Learn that a group that was to be unloaded is not loaded any more: it may come back."""
        self.loading = {each: None if leaving == group else leaving for each, leaving in self.loading.items()}

    def die(self) -> tuple[list[Ticket], list[str]]:
        """Forget what the worker was doing. Return the tickets that it ran, and the groups that it was loading."""
        running, loading = list(self.running.values()), list(self.loading)
        self.is_ready, self._capacity = False, {}
        self.running, self.loading, self.refused = {}, {}, set()
        return running, loading


def count_rows(tickets: Mapping[int, Ticket]) -> int:
    """Return how many rows tickets take; metrics are read in other threads, too."""
    return sum(ticket.rows for ticket in list(tickets.values()))
