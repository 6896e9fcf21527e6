"""A network and processes of their own, in which Ray runs and ends with the test."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path

import psutil
import pytest

from tests.conftest import PROJECT

ADDRESS = "127.0.0.1:6399"
TIMEOUT_SECONDS = 600
"""On a machine with other things to do; a test takes a tenth of that on an idle one."""

INSIDE = "hostname localhost; ip link set lo up; echo ready; exec sleep infinity"

ENVIRONMENT = os.environ | {"RAY_AUTH_MODE": "disabled", "OMP_NUM_THREADS": "1", "PYTHONPATH": str(PROJECT)}


def wait_until(condition: Callable[[], object]) -> None:
    """Return once a condition holds."""
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


class Namespace:
    """Run commands where there is only the loopback network, and whose processes all end with it."""

    def __init__(self) -> None:
        flags = ("--net", "--pid", "--fork", "--kill-child", "--mount-proc", "--uts")
        self._process = subprocess.Popen(
            ["unshare", *flags, "bash", "-c", INSIDE], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        assert self._process.stdout
        assert self._process.stderr
        if self._process.stdout.readline() != "ready\n":
            pytest.skip(f"there are no namespaces here: {self._process.stderr.read().strip()}")
        [init] = psutil.Process(self._process.pid).children()
        self._init = init.pid
        self._folder = tempfile.TemporaryDirectory(prefix="ray")  # a short path, for its sockets

    def start(self, *command: str | Path, folder: Path = PROJECT) -> subprocess.Popen[str]:
        """Start a command in a folder; Python finds the project in any."""
        into = ["nsenter", "-t", str(self._init), "--net", "--pid", "--mount", "--uts"]
        script = f'cd {folder} && exec "$@"'
        return subprocess.Popen(
            [*into, "bash", "-c", script, "-", *map(str, command)],
            env=ENVIRONMENT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="surrogateescape",
        )

    def run(self, *command: str | Path, folder: Path = PROJECT) -> tuple[int, str]:
        """Return the exit status of a command, and what it has printed."""
        process = self.start(*command, folder=folder)
        output, _ = process.communicate(timeout=TIMEOUT_SECONDS)
        return process.returncode, output

    def processes(self, word: str) -> list[psutil.Process]:
        """Return the processes in it that have a word in their command line."""
        namespace = Path(f"/proc/{self._init}/ns/pid").readlink()
        found = []
        for process in psutil.process_iter():
            try:
                if Path(f"/proc/{process.pid}/ns/pid").readlink() == namespace and word in " ".join(process.cmdline()):
                    found.append(process)
            except (OSError, psutil.Error):  # it has just ended, or is of others
                continue
        return found

    def start_node(self, ports_from: int, *, is_head: bool = False) -> psutil.Process:
        """Start a node of Ray with one core; return the process whose end is the node's."""
        port = ADDRESS.rpartition(":")[2]
        before = {each.pid for each in self.processes("raylet/raylet")}
        first = ("--head", f"--port={port}", "--include-dashboard=false", f"--temp-dir={self._folder.name}")
        status, output = self.run(
            *(Path(sys.executable).parent / "ray", "start", "--node-ip-address=127.0.0.1", "--num-cpus=1"),
            *(first if is_head else (f"--address={ADDRESS}",)),
            *("--object-store-memory=100000000", f"--min-worker-port={ports_from}"),
            *(f"--max-worker-port={ports_from + 999}", "--disable-usage-stats"),
        )
        assert status == 0, output
        [raylet] = [each for each in self.processes("raylet/raylet") if each.pid not in before]
        return raylet

    def close(self) -> None:
        """End all that runs in it."""
        os.kill(self._init, signal.SIGKILL)
        self._process.communicate()
        self._folder.cleanup()


@pytest.fixture
def namespace() -> Iterator[Namespace]:
    """A network without anything, and with all that bulk jobs need."""
    for name in ("ray", "pyarrow", "tqdm"):
        if find_spec(name) is None:
            pytest.skip(f"{name} is not installed: uv run --group bulk pytest -m bulk")
    inside = Namespace()
    yield inside
    inside.close()


@pytest.fixture
def cluster(namespace: Namespace) -> tuple[Namespace, psutil.Process]:
    """Two nodes of Ray, and the process of the second one."""
    namespace.start_node(21_000, is_head=True)
    return namespace, namespace.start_node(22_000)
