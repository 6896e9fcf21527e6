"""What CI runs, and what keeps a set-up the same on every machine."""

import re
import tomllib
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

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


def test_ci_tests_and_checks_the_server_for_agents_in_its_own_environment() -> None:
    own = "uv run --no-project --with-requirements mcp_server.py "
    assert f"\n{own}--with 'pytest" in (PROJECT / ".ci/run").read_text()
    assert f"\n{own}--with 'mypy" in (PROJECT / ".ci/check").read_text()


def test_the_server_for_agents_takes_the_projects_versions_where_both_use_a_library() -> None:
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())
    comment = re.search(
        r"^# /// script\n(.*?)^# ///$", (PROJECT / "mcp_server.py").read_text(), re.MULTILINE | re.DOTALL
    )
    assert comment
    script = tomllib.loads(re.sub(r"^# ?", "", comment[1], flags=re.MULTILINE))
    assert script["tool"]["uv"]["exclude-newer"] == project["tool"]["uv"]["exclude-newer"]
    wanted = dict(by_name(project["project"]["dependencies"]))
    assert {name: wanted.get(name, bounds) for name, bounds in by_name(script["dependencies"])} == dict(
        by_name(script["dependencies"])
    )


def by_name(requirements: list[Any]) -> Iterator[tuple[str, str]]:
    """Yield the name and the bounds of each requirement."""
    for requirement in requirements:
        name, bounds = re.fullmatch(r"([\w-]+)(.*)", requirement).groups()  # type: ignore[union-attr]
        yield name, bounds
