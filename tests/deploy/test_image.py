"""The image serves as it is meant to run: as its user, on a read-only root file system, until SIGTERM.

Build it as docs/deployment.md says and name it: `ANTICIPATORY_IMAGE=anticipatory:cpu`. buildah runs it, as root,
without a daemon and on this machine's network.
"""

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import httpx
import pytest

from tests.conftest import reserved_port
from tests.deploy.conftest import run

pytestmark = pytest.mark.deploy

MAX_BYTES = 1_500_000_000
TIMEOUT_SECONDS = 120.0

READ_ONLY = """
mount --bind "$1" "$1"
mount -o remount,ro,bind "$1"
mount -t tmpfs tmpfs "$1/run" # buildah writes there
mount -t tmpfs -o mode=1777 tmpfs "$1/tmp"
mount -t tmpfs -o mode=700,uid=10001,gid=10001 tmpfs "$1/cache"
shift
exec "$@"
"""
"""Mounts what `docker run --read-only --tmpfs /tmp --volume hub:/cache` mounts."""


class Container:
    """A container of the image, with the service in it."""

    def __init__(self, buildah: str, image: str, log: Path) -> None:
        self._name = run(buildah, "from", "--pull-never", image).strip()
        self._buildah, self._log = buildah, log
        self.root = Path(run(buildah, "mount", self._name).strip())
        self.configuration = json.loads(run(buildah, "inspect", self._name))["Docker"]["config"]
        self._port = reserved_port()
        self.url = f"http://127.0.0.1:{self._port}"
        with log.open("w") as output:
            self._process = subprocess.Popen(
                ["unshare", "--mount", "sh", "-euc", READ_ONLY, "sh", self.root, *self._command("Entrypoint")],
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    def _command(self, *keys: str) -> list[str]:
        """What runs a command of the image's configuration in this container."""
        command = self.configuration
        for key in keys:
            command = command[key]
        command = [word for word in command if word != "CMD"]
        variables = ["--env", f"ANTICIPATORY_PORT={self._port}", "--env", "ANTICIPATORY_HOST=127.0.0.1"]
        return [self._buildah, "run", "--isolation", "chroot", *variables, self._name, "--", *command]

    def is_healthy(self) -> bool:
        """Whether the image's health check succeeds."""
        return subprocess.run(self._command("Healthcheck", "Test"), capture_output=True, timeout=60).returncode == 0

    def wait_until_ready(self) -> None:
        """Return once /health says ok."""
        deadline = time.monotonic() + TIMEOUT_SECONDS
        while self._process.poll() is None and time.monotonic() < deadline:
            with suppress(httpx.TransportError):
                if httpx.get(f"{self.url}/health").text == "ok":
                    return
            time.sleep(0.1)
        pytest.fail(self._log.read_text())

    @property
    def service(self) -> Path:
        """The /proc of the service's first process, somewhere below buildah's."""
        for folder in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):  # it has just ended
                is_server = folder.joinpath("cmdline").read_bytes().startswith(b"python\0server.py")
                if (
                    is_server
                    and f"ANTICIPATORY_PORT={self._port}\0".encode() in folder.joinpath("environ").read_bytes()
                ):
                    return folder
        raise AssertionError(self._log.read_text())

    def stop(self) -> int:
        """Send the service SIGTERM, and return the exit status of what ran it."""
        os.kill(int(self.service.name), signal.SIGTERM)
        return self._process.wait(timeout=40)

    def remove(self) -> None:
        """Remove the container, and kill what still runs in it."""
        if self._process.poll() is None:
            os.kill(int(self.service.name), signal.SIGKILL)
            self._process.wait()
        run(self._buildah, "rm", self._name)


@pytest.fixture(scope="module")
def start_container(
    tool: Callable[[str], str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[], Container]]:
    """Starts containers of the image that ANTICIPATORY_IMAGE names."""
    image = os.environ.get("ANTICIPATORY_IMAGE")
    if image is None:
        pytest.skip("ANTICIPATORY_IMAGE names no image")
    buildah, containers = tool("buildah"), []

    def start() -> Container:
        containers.append(Container(buildah, image, tmp_path_factory.mktemp("container") / "log"))
        return containers[-1]

    yield start
    for each in containers:
        each.remove()


@pytest.fixture(scope="module")
def container(start_container: Callable[[], Container]) -> Container:
    """A container whose service is ready."""
    started = start_container()
    started.wait_until_ready()
    return started


def test_it_is_small(container: Container) -> None:
    assert int(run("du", "-sxb", container.root).split()[0]) < MAX_BYTES


def test_it_answers(container: Container) -> None:
    answer = httpx.post(f"{container.url}/predict", json={"length_seconds": 1, "seed": 1}, timeout=60)
    assert answer.status_code == 200
    assert answer.json()["metadata"]["model_size"] == "tiny"


def test_its_process_is_nobody_and_may_write_nothing_but_its_folders(container: Container) -> None:
    user = container.configuration["User"].partition(":")[0]
    status = (container.service / "status").read_text()
    assert f"Uid:\t{user}\t{user}\t{user}\t{user}" in status
    mounts = [line.split() for line in (container.service / "mounts").read_text().splitlines()]
    options = {words[1]: words[3].split(",") for words in mounts}
    assert "ro" in options["/"]
    assert all("rw" in options[folder] for folder in ("/tmp", "/cache"))


def test_it_compiles_nothing_that_was_compiled_when_it_was_built(container: Container) -> None:
    def files(folder: str) -> set[str]:
        top = container.service / "root" / folder
        return {str(path.relative_to(top)) for path in top.rglob("*")}

    assert files("tmp/numba-cache") == files("app/numba-cache") != set()


def test_its_health_check_tells_whether_it_is_ready(start_container: Callable[[], Container]) -> None:
    own = start_container()
    assert not own.is_healthy()  # it has only just begun
    own.wait_until_ready()
    assert own.is_healthy()
    assert own.stop() == 0
