"""Streams of events, and the comments that keep them alive."""

import asyncio
import json
import os
import shutil
from collections.abc import AsyncGenerator, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import HTTPException

from serving.sse import encode_events, with_pauses
from tests.conftest import PROJECT, Service


class Source:
    """A generator of 1 and 2 that waits before each until it may go on, and knows whether it has been closed."""

    def __init__(self) -> None:
        self.may_go_on = asyncio.Event()
        self.is_closed = False

    async def items(self, error: Exception | None = None) -> AsyncGenerator[int]:
        try:
            for number in (1, 2):
                await self.may_go_on.wait()
                self.may_go_on.clear()
                yield number
            if error:
                raise error
        finally:
            self.is_closed = True


def test_pauses_are_told_until_the_next_item_comes_and_no_item_is_lost() -> None:
    async def scenario() -> None:
        source = Source()
        found = with_pauses(source.items(), seconds=0.01)
        assert [await anext(found) for _ in range(3)] == [None] * 3
        source.may_go_on.set()
        assert [item async for item in _but_pauses(found, source)] == [1, 2]
        assert source.is_closed

    asyncio.run(scenario())


async def _but_pauses(found: AsyncGenerator[int | None], source: Source) -> AsyncGenerator[int]:
    async for item in found:
        if item is not None:
            yield item
        source.may_go_on.set()


def test_leaving_in_a_pause_closes_what_is_waited_for() -> None:
    async def scenario() -> None:
        source = Source()
        found = with_pauses(source.items(), seconds=0.01)
        assert await anext(found) is None
        await found.aclose()
        assert source.is_closed

    asyncio.run(scenario())


def test_cancelling_closes_what_is_waited_for() -> None:
    async def scenario() -> None:
        source = Source()
        waiting = asyncio.ensure_future(anext(with_pauses(source.items(), seconds=60)))
        await asyncio.wait({waiting}, timeout=0.01)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert source.is_closed

    asyncio.run(scenario())


def test_errors_pass_and_become_the_last_event() -> None:
    async def scenario() -> bytes:
        async def events() -> AsyncGenerator[tuple[str, str]]:
            yield "note", "{}"
            raise HTTPException(504, "too late")

        found = with_pauses(events(), seconds=60)
        return b"".join([part async for part in encode_events(await anext(found), found)])

    *_, name, data = asyncio.run(scenario()).decode().strip().split("\n")
    assert (name, json.loads(data.removeprefix("data: "))) == ("event: error", {"status": 504, "detail": "too late"})


def test_no_proxy_is_to_collect_the_events(service: Service) -> None:
    with httpx.stream("POST", f"{service.url}/predict/stream", json={"length_seconds": 1}, timeout=60) as response:
        assert response.headers["x-accel-buffering"] == "no"
        assert response.headers["cache-control"] == "no-cache"


@pytest.mark.slow
def test_a_stream_that_waits_begins_with_a_comment_and_an_error_is_its_last_event(
    start: Callable[..., Service], tmp_path: Path
) -> None:
    shutil.copy(PROJECT / "weights/tiny/config.json", tmp_path)
    os.mkfifo(tmp_path / "pytorch_model.bin")  # whoever reads it waits, so that the model is never loaded
    own = start("--default-model", "tiny", "--model-small", str(tmp_path), "--timeout", "11")
    own.wait_until_ready()
    body: dict[str, Any] = {"model_size": "small"}
    with httpx.stream("POST", f"{own.url}/predict/stream", json=body, timeout=60) as response:
        assert response.status_code == 200
        lines = [line for line in response.iter_lines() if line]
    assert lines[:-2] == [": keep-alive"]
    assert lines[-2] == "event: error"
    assert json.loads(lines[-1].removeprefix("data: "))["status"] == 504
    assert own.stop() == 0
