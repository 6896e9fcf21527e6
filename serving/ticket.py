"""Follow one request from its admission to its job's end."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Mapping
from typing import Any, TypeVar

from fastapi import HTTPException

from serving.batching import Job
from serving.messages import Done, Update

T = TypeVar("T")


class Ticket:
    """Hold a request's place with the scheduler: first it waits, then its job runs.

    Attributes:
        uid: names the job to the worker.
        rows: of the batch that the job takes.
        job: what the worker is asked to do; None until the request has been decoded.
        started: when the job was sent to a worker, in seconds of the monotonic clock; None while it waits.
        info: how that worker describes what it offers.
        load_seconds: in which it has waited for its group to be loaded.
        aborted: why there will be no result, once that is so.
        arrived: what the worker has sent.
    """

    def __init__(self, uid: int, rows: int) -> None:
        self.uid, self.rows = uid, rows
        self.job: Job | None = None
        self.started: float | None = None
        self.info: Mapping[str, Any] = {}
        self.load_seconds = 0.0
        self._load_began: float | None = None
        self.aborted: asyncio.Future[HTTPException] = asyncio.get_running_loop().create_future()
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

    async def unless_aborted(self, awaitable: Awaitable[T]) -> T:
        """Return what the awaitable gives, unless the ticket is aborted first.

        Raises:
            HTTPException: the ticket was aborted.
        """
        task = asyncio.ensure_future(awaitable)
        either: set[asyncio.Future[Any]] = {task, self.aborted}
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        task.add_done_callback(lambda late: late.cancelled() or late.exception())  # nobody else looks
        task.cancel()
        raise self.aborted.result()

    async def outcome(self) -> AsyncIterator[Update | Done]:
        """Yield the job's updates, and last its result.

        Raises:
            HTTPException: the ticket was aborted.
        """
        message: Update | Done | None = None
        while not isinstance(message, Done):
            message = await self.unless_aborted(self.arrived.get())
            yield message
