"""How the server of the protocol is started, and what it starts and ends."""

import asyncio
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from mcp import Client, StdioServerParameters

import mcp_server
from agents.catalogue import SPECS
from tests.agents.conftest import PROJECT
from tests.agents.connecting import answers, environment, fields_of, flags, free_port, over_stdio, wait_until

pytestmark = pytest.mark.agents

ENDING_SECONDS = 60


def test_one_line_starts_it_in_an_environment_of_its_own(tmp_path: Path) -> None:
    command = os.environ.get("UV") or shutil.which("uv")
    assert command
    parameters = StdioServerParameters(
        command=command, args=["run", "mcp_server.py", "--files", str(tmp_path)], cwd=PROJECT, env=environment()
    )

    async def session() -> None:
        async with Client(parameters) as client:
            assert fields_of(await client.call_tool("describe", {}))["listing"] == {"files": [], "more": 0}

    asyncio.run(session())


def test_a_service_that_is_started_is_waited_for_and_ends_with_its_client(tmp_path: Path) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    told: list[str | None] = []

    async def listen(done: float, total: float | None, text: str | None) -> None:
        told.append(text)

    async def session() -> None:
        async with over_stdio(url, tmp_path, "--start", ANTICIPATORY_DEFAULT_MODEL="tiny") as client:
            result = await client.call_tool("compose", {"length_bars": 1}, progress_callback=listen)
            assert fields_of(result)["bars"] == 1

    asyncio.run(session())
    assert told[0] == "the service is starting"
    wait_until(url, answering=False)


def test_a_signal_ends_the_service_too(tmp_path: Path) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    command = [sys.executable, *flags(url, tmp_path, "--start")]
    variables = environment(ANTICIPATORY_DEFAULT_MODEL="tiny")
    with subprocess.Popen(command, cwd=PROJECT, env=variables, stdin=subprocess.PIPE) as process:
        wait_until(url, answering=True)
        process.send_signal(signal.SIGTERM)
        assert process.wait(ENDING_SECONDS) == 0
    assert not answers(url)


@pytest.mark.parametrize(
    ("more", "problem"),
    [
        (["--http", "8000", "--host", "0.0.0.0"], "set ANTICIPATORY_MCP_TOKEN"),
        (["--http", "8000", "--host", "127.0.0.2"], "set ANTICIPATORY_MCP_TOKEN"),
        (["--http", "99999"], "is no port"),
        (["--root", "/nowhere"], "is no folder"),
        (["--url", "localhost"], "is not an address"),
        (["--url", "http://example.org", "--start"], "is another"),
    ],
    ids=str,
)
def test_settings_that_cannot_be_are_refused(more: list[str], problem: str, tmp_path: Path) -> None:
    command = [sys.executable, *flags("http://127.0.0.1:1", tmp_path, *more)]
    done = subprocess.run(command, cwd=PROJECT, env=environment(), capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert problem in done.stderr
    assert not re.search("Traceback", done.stderr)


def test_a_short_token_is_refused(tmp_path: Path) -> None:
    command = [sys.executable, *flags("http://127.0.0.1:1", tmp_path, "--http", "8000")]
    variables = environment(ANTICIPATORY_MCP_TOKEN="short")
    done = subprocess.run(command, cwd=PROJECT, env=variables, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert "must have 16 characters at least" in done.stderr


PAGE = (PROJECT / "docs" / "agents.md").read_text()


def documented() -> list[list[str]]:
    """The flags of every command and of every host's configuration in docs/agents.md."""
    hosts = [json.loads(text) for text in re.findall(r"^```json\n(.*?)^```", PAGE, flags=re.MULTILINE | re.DOTALL)]
    calls = [server["args"] for host in hosts for servers in host.values() for server in servers.values()]
    calls += [shlex.split(line) for line in re.findall(r"^.*uv run .*mcp_server\.py.*$", PAGE, flags=re.MULTILINE)]
    places = [next(place for place, word in enumerate(call) if word.endswith("mcp_server.py")) for call in calls]
    return [call[place + 1 :] for call, place in zip(calls, places, strict=True)]


def test_documented_settings_are_settings() -> None:
    calls = documented()
    assert len(calls) == 5
    for call in calls:
        assert mcp_server.make_parser().parse_args(call)


def test_the_table_of_settings_is_that_of_the_command() -> None:
    rows = set(re.findall(r"^\| `(--[\w-]+)` \|", PAGE, flags=re.MULTILINE))
    command = [sys.executable, "mcp_server.py", "--help"]
    said = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=True).stdout
    assert rows == set(re.findall(r"^  (--[\w-]+)", said, flags=re.MULTILINE))


def test_the_table_of_tools_is_that_of_the_server() -> None:
    assert re.findall(r"^\| `(\w+)` \|", PAGE, flags=re.MULTILINE) == [spec.name for spec in SPECS]
