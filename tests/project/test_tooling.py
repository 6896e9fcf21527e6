"""Format, lint and types are tests too, so that one command runs what CI runs."""

import subprocess
import sys

import pytest

from tests.conftest import PROJECT


@pytest.mark.parametrize(
    "command", [["ruff", "format", "--check"], ["ruff", "check"], ["mypy"]], ids=["format", "lint", "types"]
)
def test_the_code_is_in_order(command: list[str]) -> None:
    done = subprocess.run([sys.executable, "-m", *command], cwd=PROJECT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_ci_runs_the_readmes_test_command() -> None:
    command = "pip install uv && uv run pytest"
    assert command in (PROJECT / "README.md").read_text()
    assert command in (PROJECT / ".ci/run").read_text()
