"""Every command and example of the README, as it stands there, against a real service."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import GOLDEN, PROJECT, Service

README = (PROJECT / "README.md").read_text()
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```", README, flags=re.MULTILINE | re.DOTALL)
SHELL = [text for language, text in BLOCKS if language == "bash"]
CALLS = [text for text in SHELL if "curl" in text or "client.py" in text]
SERVERS = [line for text in SHELL for line in text.replace("\\\n", "").splitlines() if "python server.py" in line]
PYTHON = [text for language, text in BLOCKS if language == "python"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An empty folder with the files that the examples assume."""
    shutil.copy(GOLDEN / "midi/freedoom_e1m2.mid", tmp_path / "input.mid")
    shutil.copy(GOLDEN / "midi/scale_type0.mid", tmp_path / "melody.mid")
    for collection, pieces in (("chorales", "chorale_*.mid"), ("quartets", "*_m*.mid")):
        (tmp_path / collection).mkdir()
        for piece in (GOLDEN / "midi").glob(pieces):
            shutil.copy(piece, tmp_path / collection)
    shutil.copy(PROJECT / "client.py", tmp_path)
    shutil.copy(PROJECT / "commands.py", tmp_path)
    return tmp_path


def environment(service: Service) -> dict[str, str]:
    # `uv run python` is this interpreter: uv itself need not be there to run the tests.
    return os.environ | {
        "ANTICIPATORY_URL": service.url,
        "PYTHONPATH": str(PROJECT),
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }


@pytest.mark.parametrize("script", CALLS)
def test_commands_that_call_the_service_work(script: str, service: Service, folder: Path) -> None:
    script = script.replace("http://localhost:2011", service.url).replace("uv run python", "python")
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=folder, env=environment(service), capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert '"detail"' not in done.stdout


@pytest.mark.parametrize("script", PYTHON)
def test_python_examples_work(script: str, service: Service, folder: Path) -> None:
    script = script.replace("AnticipatoryClient()", f"AnticipatoryClient({service.url!r})")
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=folder,
        env=environment(service),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("line", sorted(set(SERVERS)))
def test_commands_that_start_the_service_have_valid_settings(line: str) -> None:
    words = shlex.split(line.split("#")[0].rpartition("&&")[2])
    variables = dict(word.split("=", 1) for word in words[: words.index("uv")])
    flags = words[words.index("server.py") + 1 :]
    code = "from server import Settings; print(Settings(_cli_parse_args=True))"
    done = subprocess.run(
        [sys.executable, "-c", code, *flags], cwd=PROJECT, env=os.environ | variables, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_setting_is_in_the_table() -> None:
    from server import Settings

    for name, field in Settings.model_fields.items():
        assert f"| `--{name.replace('_', '-')}` | `ANTICIPATORY_{name.upper()}` | `{field.default}` |" in README


def test_the_file_tree_names_every_module() -> None:
    tree = next(text for language, text in BLOCKS if language == "text")
    for path in [*PROJECT.glob("*.py"), *PROJECT.glob("amt/*.py"), *PROJECT.glob("serving/*.py")]:
        assert path.name in tree or path.name == "__init__.py"
