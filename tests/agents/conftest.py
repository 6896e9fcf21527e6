"""Agents' tools are tested in two environments: in the project's all but the protocol, in the script's own the rest.

The second is what `docs/development.md` says. What is above this folder needs the project's environment.
"""

import os
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from agents.service import Service

collect_ignore_glob = [] if find_spec("mcp") else ["test_session*.py"]

PROJECT = Path(__file__).parents[2]
MIDI = PROJECT / "tests" / "data" / "golden" / "midi"
KEY = "the key of the tests"


@pytest.fixture(scope="session")
def music_service() -> Iterator[str]:
    """The address of a real service with a key, in the project's environment."""
    from tests.agents.connecting import free_port, until_ready

    os.environ |= {"LIT_SERVER_API_KEY": KEY, "ANTICIPATORY_DEFAULT_MODEL": "tiny"}
    service = Service(f"http://127.0.0.1:{free_port()}", start=True)
    with service.running():
        until_ready(service)
        yield service.url
