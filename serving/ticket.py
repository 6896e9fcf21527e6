"""Follow one request from its admission to its job's end."""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from typing import Any

from serving.abortable import Abortable
from serving.batching import Job
from serving.messages import Done, Update


class Ticket(Abortable):
    """Hold a request's place with the scheduler: first it waits, then its job runs.

    Attributes:
        uid: names the job to the worker.
        rows: of the batch that the job takes.
        job: what the worker is asked to do; None until the request has been decoded.
        started: when the job was sent to a worker, in seconds of the monotonic clock; None while it waits.
        info: how that worker describes what it offers.
        load_seconds: in which it has waited for its group to be loaded.
        arrived: what the worker has sent.
    """

    def __init__(self, uid: int, rows: int) -> None:
        super().__init__()
        self.uid, self.rows = uid, rows
        self.job: Job | None = None
        self.started: float | None = None
        self.info: Mapping[str, Any] = {}
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
