"""Real servers of the protocol, and the official client on them."""

import asyncio
import os
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
from mcp import Client, StdioServerParameters
from mcp.client.streamable_http import streamable_http_client
from mcp.shared._httpx_utils import create_mcp_http_client
from mcp.types import CallToolResult, TextContent

from agents.service import Service
from tests.agents.conftest import KEY, MIDI, PROJECT

TOKEN = "the token of the tests"
STARTING_SECONDS = 180


def free_port() -> int:
    """Return a port that was free a moment ago."""
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        port: int = holder.getsockname()[1]
        return port


def until_ready(service: Service) -> None:
    """Return once a service that was started is ready. Fail at once if it ended."""

    async def report(done: float, total: float | None, text: str) -> None:
        pass

    async def wait() -> None:
        async with service.client:
            await service.ready(report)

    asyncio.run(wait())


def answers(url: str) -> bool:
    """Whether a service is there and ready."""
    try:
        return httpx.get(f"{url}/health").is_success
    except httpx.TransportError:
        return False


def wait_until(url: str, *, answering: bool) -> None:
    """Return once a service answers, or does not any more."""
    deadline = time.monotonic() + STARTING_SECONDS
    while answers(url) != answering:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def environment(**variables: str) -> dict[str, str]:
    """What a server of the protocol inherits here."""
    return dict(os.environ) | {"LIT_SERVER_API_KEY": KEY} | variables


def flags(url: str, folder: Path, *more: str) -> list[str]:
    return ["mcp_server.py", "--url", url, "--files", str(folder), "--root", str(MIDI), *more]


def over_stdio(url: str, folder: Path, *more: str, **variables: str) -> Client:
    """A client that starts its server."""
    command = flags(url, folder, *more)
    return Client(
        StdioServerParameters(command=sys.executable, args=command, cwd=PROJECT, env=environment(**variables))
    )


def over_stdio_as_before(url: str, folder: Path) -> Client:
    """The same with the protocol of 2025, which begins with a handshake."""
    return Client(over_stdio(url, folder).server, mode="legacy")


@asynccontextmanager
async def serving(url: str, folder: Path, *more: str, **variables: str) -> AsyncIterator[str]:
    """The address of a server over HTTP."""
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, *flags(url, folder, "--http", str(port), *more)], cwd=PROJECT, env=environment(**variables)
    )
    try:
        deadline = time.monotonic() + STARTING_SECONDS
        while time.monotonic() < deadline:
            assert process.poll() is None
            with suppress(OSError):
                socket.create_connection(("127.0.0.1", port)).close()
                break
            await asyncio.sleep(0.05)
        yield f"http://127.0.0.1:{port}/mcp"
    finally:
        process.terminate()
        assert process.wait(timeout=20) == 0


@asynccontextmanager
async def over_http(url: str, folder: Path, mode: str = "auto") -> AsyncIterator[Client]:
    """A client of a server over HTTP that wants a token."""
    async with (
        serving(url, folder, ANTICIPATORY_MCP_TOKEN=TOKEN) as address,
        create_mcp_http_client({"Authorization": f"Bearer {TOKEN}"}) as http,
        Client(streamable_http_client(address, http_client=http), mode=mode) as client,
    ):
        yield client


def over_http_as_before(url: str, folder: Path) -> AbstractAsyncContextManager[Client]:
    """The same with the protocol of 2025."""
    return over_http(url, folder, mode="legacy")


CONNECT = {"stdio": over_stdio, "http": over_http}
"""Ways to a client, each an asynchronous context manager of a service's address and a folder."""

CONNECT_AS_BEFORE = {"stdio-2025": over_stdio_as_before, "http-2025": over_http_as_before}


def text_of(result: CallToolResult) -> str:
    """What a tool says in words."""
    first = result.content[0]
    assert isinstance(first, TextContent)
    return first.text


def fields_of(result: CallToolResult) -> dict[str, Any]:
    """What a tool says in fields, of a call that went well."""
    assert not result.is_error, text_of(result)
    assert result.structured_content is not None
    return result.structured_content


def count_of(url: str, status: str) -> float:
    """How many requests a service has answered so."""
    lines = httpx.get(f"{url}/metrics", headers={"X-API-Key": KEY}).text.splitlines()
    counted = [line for line in lines if line.startswith("anticipatory_requests_total{") and f'"{status}"' in line]
    return sum(float(line.rpartition(" ")[2]) for line in counted)
