"""Whatever the schema allows or forbids is answered as the schema says, and never with a failure of ours."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import GOLDEN, Service


@pytest.mark.slow
def test_answers_are_those_of_the_schema(start: Callable[..., Service]) -> None:
    # Every size is the golden model, so that none is missing and all are quick.
    sizes = [
        word for size in ("tiny", "small", "medium", "large") for word in (f"--model-{size}", str(GOLDEN / "model"))
    ]
    own = start(*sizes)
    own.wait_until_ready()
    command = [str(Path(sys.executable).parent / "schemathesis"), "run", f"{own.url}/openapi.json"]
    done = subprocess.run(
        # The schema cannot say which strings are MIDI files.
        [
            *command,
            "--max-examples",
            "100",
            "--seed",
            "0",
            "--request-timeout",
            "120",
            "--exclude-checks",
            "positive_data_acceptance",
        ],
        capture_output=True,
        text=True,
        timeout=1_500,
    )
    assert own.stop() == 0
    assert done.returncode == 0, done.stdout
