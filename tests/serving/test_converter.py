"""The process that converts: one thing at a time, at low priority, and replaced when it dies."""

import asyncio
import os
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from fastapi import HTTPException

from serving.converter import MAX_WAITING, NICENESS, Converter
from tests.serving.converting import convert, explain


def run(scenario: Callable[[Converter], Awaitable[None]]) -> None:
    async def with_converter() -> None:
        converter = Converter(convert, explain)
        try:
            await scenario(converter)
        finally:
            converter.close()

    asyncio.run(with_converter())


async def said(converter: Converter, name: str, path: Path) -> str:
    await converter.convert(b"body", name, path)
    return path.read_text()


async def problem(converter: Converter, name: str, path: Path) -> tuple[int, str]:
    with pytest.raises(HTTPException) as caught:
        await converter.convert(b"body", name, path)
    return caught.value.status_code, str(caught.value.detail)


async def written(path: Path) -> str:
    """What a process writes to a file, once it has."""
    while not path.exists() or not path.read_text():
        await asyncio.sleep(0.01)
    return path.read_text()


def is_there(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


def test_one_process_of_low_priority_converts_all(tmp_path: Path) -> None:
    async def scenario(converter: Converter) -> None:
        assert await said(converter, "copy", tmp_path / "copy") == "body"
        pids = {await said(converter, "pid", tmp_path / "pid") for _ in range(2)}
        assert len(pids) == 1
        assert pids != {str(os.getpid())}
        expected = min(os.getpriority(os.PRIO_PROCESS, 0) + NICENESS, 19)
        assert await said(converter, "niceness", tmp_path / "niceness") == str(expected)
        if sys.platform == "linux":
            assert await said(converter, "policy", tmp_path / "policy") == str(os.SCHED_IDLE)
        assert await problem(converter, "fail", tmp_path / "fail") == (422, "no: body")
        assert await said(converter, "pid", tmp_path / "pid") in pids  # an error costs it nothing

    run(scenario)


@pytest.mark.parametrize(("way", "reason"), [("crash", "signal 11"), ("exit", "exit status 3")])
def test_after_a_crash_there_is_another_process(way: str, reason: str, tmp_path: Path) -> None:
    async def scenario(converter: Converter) -> None:
        status, detail = await problem(converter, way, tmp_path / "file")
        assert (status, reason in detail) == (500, True)
        assert await said(converter, "copy", tmp_path / "copy") == "body"

    run(scenario)


def test_who_gives_up_ends_the_process_and_those_behind_go_on(tmp_path: Path) -> None:
    async def scenario(converter: Converter) -> None:
        hanging = asyncio.create_task(converter.convert(b"", "hang", tmp_path / "pid"))
        pid = int(await written(tmp_path / "pid"))
        behind = asyncio.create_task(said(converter, "copy", tmp_path / "copy"))
        hanging.cancel()
        assert await behind == "body"
        assert not is_there(pid)

    run(scenario)


def test_the_queue_is_short() -> None:
    async def scenario(converter: Converter) -> None:
        places = [converter.admit() for _ in range(1 + MAX_WAITING)]
        for place in places:
            place.__enter__()
        with pytest.raises(HTTPException) as caught, converter.admit():
            pass
        assert (caught.value.status_code, caught.value.headers) == (429, {"Retry-After": "5"})
        places.pop().__exit__(None, None, None)
        with converter.admit():
            pass

    run(scenario)


def test_when_the_service_stops_new_ones_are_refused_and_old_ones_aborted(tmp_path: Path) -> None:
    async def scenario(converter: Converter) -> None:
        with converter.admit() as place:
            waiting = asyncio.create_task(place.unless_aborted(converter.convert(b"", "hang", tmp_path / "pid")))
            pid = int(await written(tmp_path / "pid"))
            converter.stop()
            with pytest.raises(HTTPException, match="503"), converter.admit():
                pass
            converter.abort_all(503, "stopped")
            with pytest.raises(HTTPException, match="503: stopped"):
                await waiting
            while is_there(pid):
                await asyncio.sleep(0.01)

    run(scenario)
