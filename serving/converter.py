"""Convert bodies one after another, in a process of their own: one that crashes or hangs takes nothing else with it."""

import asyncio
import logging
import os
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Final, TypeAlias

from fastapi import HTTPException

from serving.abortable import Abortable, refusal
from serving.child import start_child
from serving.process import LOG_FORMAT

logger = logging.getLogger("anticipatory")

MAX_WAITING: Final = 8
RETRY_SECONDS: Final = 5

EXIT_SECONDS: Final = 1.0
"""A process that has closed its pipe may take so long to exit by itself: then its status says why."""

NICENESS: Final = 10
"""Added to that of the service."""

Convert: TypeAlias = Callable[[bytes, str, Path], None]
"""Writes what a body becomes, in the format of a name, to a file."""

Explain: TypeAlias = Callable[[Exception], tuple[int, str]]
"""Returns (status, detail) of an error; the status is 500 for one that nobody expected."""


class _Child:
    """Hold the process that converts."""

    def __init__(self, convert: Convert, explain: Explain) -> None:
        self._process, self._connection = start_child(_run, convert, explain, name="converter")
        _give_way(self._process.pid or 0)

    def convert(self, body: bytes, name: str, path: Path) -> tuple[int, str] | None:
        """Have a body converted. Return (status, detail) if that is impossible. Raise an error if the process ends."""
        self._connection.send((body, name, path))
        answer: tuple[int, str] | None = self._connection.recv()
        return answer

    def end(self, timeout_seconds: float = 0) -> int:
        """Wait for the process to end; kill it if it does not in time. Return its status, or minus the signal."""
        self._process.join(timeout_seconds)
        self._process.kill()
        self._process.join()  # a matter of milliseconds; the pipe is closed when no thread reads it any more
        return self._process.exitcode or 0


def _give_way(pid: int) -> None:
    """Let a process have what processors nothing else wants.

    Niceness is not enough on Linux: threads that compute together sleep for microseconds when one waits for another,
    and what takes their processor meanwhile keeps it for milliseconds, unless it runs at idle times alone. Beside one
    that was merely nice generates took twice as long.
    """
    os.setpriority(os.PRIO_PROCESS, pid, min(os.getpriority(os.PRIO_PROCESS, 0) + NICENESS, 19))
    if sys.platform == "linux":
        os.sched_setscheduler(pid, os.SCHED_IDLE, os.sched_param(0))


class Converter:
    """Run a function on bodies, in order of arrival. Its process is started when it is first needed."""

    def __init__(self, convert: Convert, explain: Explain) -> None:
        self._convert, self._explain = convert, explain
        self._child: _Child | None = None
        self._lock = asyncio.Lock()
        self._places: set[Abortable] = set()
        self._is_stopping = False
        self._thread = ThreadPoolExecutor(1, "to-converter")

    @contextmanager
    def admit(self) -> Iterator[Abortable]:
        """Give a request a place in the queue until the block is left.

        Raises:
            HTTPException: 503 while the service stops, 429 when too many wait.
        """
        if self._is_stopping:
            raise refusal(503, "the service is stopping: try again in a few seconds", RETRY_SECONDS)
        if len(self._places) > MAX_WAITING:
            text = f"{MAX_WAITING} requests of this kind wait already: try again in a few seconds"
            raise refusal(429, text, RETRY_SECONDS)
        place = Abortable()
        self._places.add(place)
        try:
            yield place
        finally:
            self._places.discard(place)

    async def convert(self, body: bytes, name: str, path: Path) -> float:
        """Convert a body into a file when its turn comes. Return the seconds that this took, without the wait.

        Raises:
            HTTPException: the body cannot be converted.
        """
        async with self._lock:
            started = time.monotonic()
            child = self._child = self._child or self._start()
            try:
                problem = await asyncio.get_running_loop().run_in_executor(
                    self._thread, child.convert, body, name, path
                )
            except (EOFError, OSError) as error:
                raise HTTPException(500, await self._bury(child)) from error
            except asyncio.CancelledError:
                self.close()  # nobody waits for what it does
                raise
        if problem:
            raise HTTPException(*problem)
        return time.monotonic() - started

    def _start(self) -> _Child:
        try:
            return _Child(self._convert, self._explain)
        except OSError as error:
            raise refusal(503, f"there is no room for another process ({error})", RETRY_SECONDS) from error

    async def _bury(self, child: _Child) -> str:
        """Return what has become of a process; the next request gets another one."""
        self._child = None
        code = await asyncio.get_running_loop().run_in_executor(self._thread, child.end, EXIT_SECONDS)
        reason = f"signal {-code}" if code < 0 else f"exit status {code}"
        logger.error("the process that converts has died (%s)", reason)
        return f"the process that converts has died ({reason}): the request may be too much for it"

    def stop(self) -> None:
        """Take no more requests."""
        self._is_stopping = True

    def abort_all(self, status: int, detail: str) -> None:
        """End every request without a result."""
        for place in self._places:
            place.abort(HTTPException(status, detail))

    def close(self) -> None:
        """End the process."""
        if self._child:
            self._child.end()
            self._child = None


def _run(convert: Convert, explain: Explain, connection: Connection) -> None:
    """Convert what comes until the service at the other end of the pipe has gone."""
    logging.basicConfig(level=logging.INFO, format=LOG_FORMAT)
    with suppress(EOFError, OSError):
        while True:
            body, name, path = connection.recv()
            problem = None
            try:
                convert(body, name, path)
            except Exception as error:
                problem = explain(error)
                if problem[0] == 500:
                    logger.exception("an error that nobody expected in a conversion to %s", name)
            connection.send(problem)
