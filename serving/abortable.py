"""End what has a request waiting for it before it is done: its time is over, its client has gone, the service stops."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from fastapi import HTTPException, Request

from serving.record import CLIENT_GONE

T = TypeVar("T")


class Abortable:
    """Be a place of a request that may be ended without a result.

    Attributes:
        aborted: why there will be no result, once that is so.
    """

    def __init__(self) -> None:
        self.aborted: asyncio.Future[HTTPException] = asyncio.get_running_loop().create_future()

    def abort(self, reason: HTTPException) -> None:
        """End it, unless it has been ended before."""
        if not self.aborted.done():
            self.aborted.set_result(reason)

    async def unless_aborted(self, awaitable: Awaitable[T]) -> T:
        """Return what the awaitable gives, unless the place is aborted first.

        Raises:
            HTTPException: it was aborted.
        """
        task = asyncio.ensure_future(awaitable)
        either: set[asyncio.Future[Any]] = {task, self.aborted}
        try:
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        finally:
            if not task.done():
                task.add_done_callback(lambda late: late.cancelled() or late.exception())  # nobody else looks
                task.cancel()
        if task.done():
            return task.result()
        raise self.aborted.result()


@contextmanager
def limited(request: Request, timeout_seconds: float, abort: Callable[[int, str], None]) -> Iterator[None]:
    """Abort what the block does, by (status, detail), when its time is over or the client goes away."""
    text = f"the request took longer than {timeout_seconds:g} s and was stopped"
    timer = asyncio.get_running_loop().call_later(timeout_seconds, abort, 504, text)
    watcher = asyncio.create_task(_abort_on_disconnect(request, abort))
    try:
        yield
    finally:
        timer.cancel()
        watcher.cancel()


async def _abort_on_disconnect(request: Request, abort: Callable[[int, str], None]) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
    abort(CLIENT_GONE, "the client went away")


def refusal(status: int, detail: str, retry_seconds: int | None = None) -> HTTPException:
    """Return the answer to a request that has no result; `retry_seconds` say when to try again."""
    return HTTPException(status, detail, None if retry_seconds is None else {"Retry-After": str(retry_seconds)})
