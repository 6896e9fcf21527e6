"""Send server-sent events, and comments while there are none."""

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Final, TypeAlias, TypeVar

from fastapi import HTTPException
from fastapi.responses import StreamingResponse
from fastapi.sse import format_sse_event
from starlette.types import Receive, Scope, Send

KEEP_ALIVE_SECONDS: Final = 10.0
"""Between two signs of life in a stream: proxies close connections that are silent for a minute, some for less."""

T = TypeVar("T")

Event: TypeAlias = tuple[str, str]
"""(name, JSON)."""


class EventStream(StreamingResponse):
    """Send server-sent events. Their generator ends with the response, not when garbage is next collected."""

    media_type = "text/event-stream"

    def __init__(self, events: AsyncGenerator[bytes]) -> None:
        # nginx would collect the events, were it not told that they are to be passed on as they come.
        super().__init__(events, headers={"Cache-Control": "no-cache", "X-Accel-Buffering": "no"})
        self._events = events

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the events."""
        async with aclosing(self._events):
            await super().__call__(scope, receive, send)


async def with_pauses(items: AsyncGenerator[T], seconds: float) -> AsyncGenerator[T | None]:
    """Yield the items, and None whenever `seconds` have passed without one."""
    async with aclosing(items):
        while True:
            coming = asyncio.create_task(_next(items))
            try:
                while not (await asyncio.wait({coming}, timeout=seconds))[0]:
                    yield None
            finally:
                await _stop(coming)
            try:
                item = coming.result()
            except StopAsyncIteration:
                return
            yield item


async def _next(items: AsyncGenerator[T]) -> T:
    return await anext(items)


async def _stop(task: asyncio.Task[T]) -> None:
    """Cancel a task that has not ended, and wait for its end: a generator cannot be closed while it runs."""
    if not task.done():
        task.cancel()
        await asyncio.wait({task})
        task.cancelled() or task.exception()  # nobody else looks at it


async def encode_events(first: Event | None, events: AsyncGenerator[Event | None]) -> AsyncGenerator[bytes]:
    """Yield events as they travel; None becomes a comment, and an error the last event."""
    async with aclosing(events):
        yield _encode(first)
        try:
            async for event in events:
                yield _encode(event)
        except HTTPException as error:
            yield _encode(("error", json.dumps({"status": error.status_code, "detail": error.detail})))


def _encode(event: Event | None) -> bytes:
    if event is None:
        return format_sse_event(comment="keep-alive")
    name, data = event
    return format_sse_event(event=name, data_str=data)
