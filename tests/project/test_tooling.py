"""What CI runs, and what keeps a set-up the same on every machine."""

import tomllib
from datetime import UTC, datetime

from tests.conftest import PROJECT


def test_ci_runs_the_readmes_test_command_and_the_check() -> None:
    command = "pip install uv && uv run pytest"
    ci = (PROJECT / ".ci/run").read_text()
    assert command in (PROJECT / "README.md").read_text()
    assert command in ci
    assert "\n.ci/check\n" in ci


def test_versions_are_resolved_as_of_a_moment_that_is_the_same_in_every_time_zone() -> None:
    moment = tomllib.loads((PROJECT / "pyproject.toml").read_text())["tool"]["uv"]["exclude-newer"]
    assert datetime.fromisoformat(moment) < datetime.now(UTC)
