"""Know what one worker has loaded and is doing."""

import time
from collections.abc import Callable, Mapping
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
        capacity: how many rows of each loaded group it has memory for.
        loading: the groups that it is loading.
        refused: the groups that it could not load.
        running: the tickets whose jobs it runs, by uid.
    """

    def __init__(self, send: Callable[[ToWorker], None], device: str | None, max_batch: int) -> None:
        """Take the function that sends a message to the worker."""
        self._send, self._max_batch = send, max_batch
        self.device = device
        self.info: Mapping[str, Any] = {}
        self.is_ready = False
        self.capacity: Mapping[str, int] = {}
        self.loading: set[str] = set()
        self.refused: set[str] = set()
        self.running: dict[int, Ticket] = {}

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
        self.info, self.capacity = info, info["capacity"]

    def start(self, ticket: Ticket) -> None:
        """Let the worker begin a ticket's job."""
        ticket.started, ticket.info = time.monotonic(), self.info
        self.running[ticket.uid] = ticket
        self._send(Start(ticket.uid, ticket.job))

    def cancel(self, uid: int) -> None:
        """Let the worker drop a job, if it runs it."""
        if self.running.pop(uid, None):
            self._send(Cancel(uid))

    def load(self, job: Job) -> None:
        """Let the worker load what a job needs."""
        self.loading.add(job.group)
        self._send(Load(job.group, job.headers))

    def die(self) -> tuple[list[Ticket], set[str]]:
        """Forget what the worker was doing. Return the tickets that it ran, and the groups that it was loading."""
        running, loading = list(self.running.values()), self.loading
        self.is_ready, self.capacity = False, {}
        self.running, self.loading, self.refused = {}, set(), set()
        return running, loading


def count_rows(tickets: Mapping[int, Ticket]) -> int:
    """Return how many rows tickets take; metrics are read in other threads, too."""
    return sum(ticket.rows for ticket in list(tickets.values()))
