import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import PROJECT

CALLER = """
import callee
from amt.gpt2.cpu.compiling import compiled, digest

_number = callee.number

def _compile(sources):
    @compiled()
    def twice():
        sources
        return 2 * _number()

    return twice

print(_compile(digest(callee))())
"""


@pytest.mark.slow
def test_code_that_calls_other_files_is_compiled_again_when_they_change(tmp_path: Path) -> None:
    (tmp_path / "caller.py").write_text(CALLER)
    found = []
    for number in (1, 1, 4):
        (tmp_path / "callee.py").write_text(
            f"from amt.gpt2.cpu.compiling import compiled\n\n@compiled()\ndef number():\n    return {number}\n"
        )
        run = subprocess.run(
            [sys.executable, "caller.py"],
            cwd=tmp_path,
            env={"PYTHONPATH": str(PROJECT)},
            capture_output=True,
            check=True,
        )
        found.append(int(run.stdout))
    assert found == [2, 2, 8]
    assert len(list((tmp_path / "__pycache__").glob("caller.*.nbc"))) == 2
