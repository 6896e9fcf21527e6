"""Talk to the service, and start it beside this server where that is wanted."""

import asyncio
import os
import shutil
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import httpx

from client import AnticipatoryError, AsyncAnticipatoryClient, address

PROJECT: Final = Path(__file__).resolve().parent.parent
HERE: Final = frozenset({"127.0.0.1", "localhost"})
"""Where the service listens by default."""

MAX_START_SECONDS: Final = 1_800
"""The first start may install libraries of some gigabytes."""

POLL_SECONDS: Final = 0.5
STOP_SECONDS: Final = 40
"""Longer than the service lets running requests go on."""

Report = Callable[[float, float | None, str], Awaitable[None]]
"""Tell how far something has come: done, of how much, in words."""


class NotStarted(AnticipatoryError):  # noqa: N818 (as those of client.py)
    """Report that the service was to be started, and did not start."""


class Service:
    """Hold the client of a service, and the service itself if it was started here."""

    def __init__(self, url: str, *, start: bool = False) -> None:
        """Prepare a client; nothing is sent yet.

        Raises:
            ValueError: the address is none, or nothing can be started at it.
        """
        self.client = AsyncAnticipatoryClient(url)
        self.url = self.client.base_url
        self._start = start
        self._process: subprocess.Popen[bytes] | None = None
        if start and address(url).host not in HERE:
            raise ValueError(f"--start starts the service on this machine, and {url} is another")

    @contextmanager
    def running(self) -> Iterator[None]:
        """Start the service, unless one answers already or none is to be started; end it at the end of the block."""
        if self._start and not _answers(self.url):
            self._process = subprocess.Popen(
                _command(address(self.url).port or 80),
                cwd=PROJECT,
                env={
                    name: value for name, value in os.environ.items() if name != "VIRTUAL_ENV"
                },  # uv's, of this script
                stdin=subprocess.DEVNULL,
                stdout=sys.stderr.fileno(),  # stdout may be the protocol's
            )
        try:
            yield
        finally:
            if self._process:
                self._process.terminate()
                try:
                    self._process.wait(STOP_SECONDS)
                except subprocess.TimeoutExpired:
                    self._process.kill()

    async def ready(self, report: Report) -> None:
        """Return once a service that was started here is ready. Any other one is asked, and says itself what it is.

        Raises:
            NotStarted: it ended, or is not ready after half an hour.
        """
        if self._process is None:
            return
        for turn in range(int(MAX_START_SECONDS / POLL_SECONDS)):
            if await self.client.health():
                return
            if (status := self._process.poll()) is not None:
                raise NotStarted(f"the service ended with status {status} when it was started: its log is on stderr")
            await report(turn * POLL_SECONDS, None, "the service is starting")
            await asyncio.sleep(POLL_SECONDS)
        raise NotStarted(f"the service was started, but is not ready after {MAX_START_SECONDS} s")


def _answers(url: str) -> bool:
    """Return whether anything answers at an address."""
    try:
        httpx.get(f"{url}/health", timeout=2)
    except httpx.TransportError:
        return False
    return True


def _command(port: int) -> list[str]:
    """Return the command that starts the service in its own environment, with what it needs to make sound."""
    uv = os.environ.get("UV") or shutil.which("uv")  # `uv run` says where it is itself
    if uv is None:
        raise ValueError("--start needs uv, and there is none on the PATH")
    return [uv, "run", "--group", "audio", "python", "server.py", "--port", str(port)]
