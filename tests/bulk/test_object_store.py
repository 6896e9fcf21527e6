"""Jobs whose files are objects of S3, on a server that stands in for it."""

import os
import shutil
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.bulk.conftest import Namespace, wait_until
from tests.conftest import GOLDEN

pytest.importorskip("pyarrow")

from tests.bulk.test_jobs import BULK, errors, rows

pytestmark = pytest.mark.bulk

PORT = "5055"
STORE = [
    *("env", f"AWS_ENDPOINT_URL=http://127.0.0.1:{PORT}", "AWS_DEFAULT_REGION=us-east-1"),
    *("AWS_ACCESS_KEY_ID=any", "AWS_SECRET_ACCESS_KEY=any"),
]
"""Precedes a command that is to find the server."""

NAMES = [f"a/{n}.mid" if n % 2 else f"b \u00e9/[{n}] x.mid" for n in range(12)]


class Bucket:
    """A bucket on a server of S3 within a namespace."""

    def __init__(self, namespace: Namespace, log: Path) -> None:
        self._namespace, self._log = namespace, log
        server = f"exec {sys.executable} -m moto.server -p {PORT} > {log} 2>&1"
        log.touch()
        self._process = namespace.start("bash", "-c", server)
        wait_until(lambda: "Running on" in log.read_text())
        self.do("fs.mkdir('bucket')")

    def close(self) -> None:
        """End the server."""
        for each in self._namespace.processes("moto.server"):
            each.kill()
        self._process.communicate()

    def do(self, line: str) -> None:
        """Run a line of Python in which `fs` is its file system."""
        script = f"import s3fs; fs = s3fs.S3FileSystem(); {line}"
        status, output = self._namespace.run(*STORE, sys.executable, "-c", script)
        assert status == 0, output

    def fetch(self, name: str, folder: Path) -> Path:
        """Return a folder with all that is below a name."""
        self.do(f"fs.get('bucket/{name}', '{folder}/', recursive=True)")
        return folder / name

    def n_written(self, name: str) -> int:
        """Return how often anything below a name has been written."""
        return self._log.read_text().count(f'"PUT /bucket/{name}')


@pytest.fixture
def bucket(namespace: Namespace, tmp_path: Path) -> Iterator[Bucket]:
    for name in ("moto", "s3fs"):
        if find_spec(name) is None:
            pytest.skip(f"{name} is not installed: see docs/development.md")
    running = Bucket(namespace, tmp_path / "server.log")
    yield running
    running.close()


def test_a_job_over_objects_goes_on_after_the_death_of_its_driver(
    namespace: Namespace, bucket: Bucket, tmp_path: Path
) -> None:
    for name in NAMES:
        path = tmp_path / "in" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(GOLDEN / "midi/freedoom_map32.mid", path)
    (tmp_path / "in/bad.mid").write_bytes(b"no music")
    bucket.do(f"fs.put('{tmp_path}/in', 'bucket/', recursive=True)")
    command = [*STORE, *BULK, "embed", "s3://bucket/in/**/*.mid", "--out", "s3://bucket/out"]
    command += ["--model", "tiny", "--windows", "all"]
    job = namespace.start(*command)
    wait_until(lambda: bucket.n_written("out/_job/ledger/") or job.poll() is not None)
    [driver] = namespace.processes("-m bulk")
    driver.kill()
    job.communicate(timeout=60)

    status, output = namespace.run(*command)
    assert status == 1, output
    assert "s3://bucket/out: 12 files done; 1 failed, see s3://bucket/out/errors.parquet" in output
    assert bucket.n_written("out/_job/ledger/") == 4  # units: none is done twice
    out = bucket.fetch("out", tmp_path)
    assert [os.fsdecode(row["path_bytes"]) for row in rows(out)] == sorted(NAMES)
    assert errors(out).keys() == {b"bad.mid"}
    assert not (out / "_job/tmp").exists()


def test_pieces_become_objects(namespace: Namespace, bucket: Bucket, tmp_path: Path) -> None:
    command = [*BULK, "generate", "--count", "2", "--out", "s3://bucket/pieces", "--model", "tiny"]
    status, output = namespace.run(*STORE, *command, "--length-seconds", "1")
    assert status == 0, output
    out = bucket.fetch("pieces", tmp_path)
    assert [row["path"] for row in rows(out)] == ["000000.mid", "000001.mid"]
    assert all((out / "midi" / row["path"]).read_bytes().startswith(b"MThd") for row in rows(out))


def test_a_server_that_does_not_answer_is_said_in_a_sentence(namespace: Namespace, bucket: Bucket) -> None:
    command = [
        *STORE,
        "AWS_ENDPOINT_URL=http://127.0.0.1:9",
        *BULK,
        "embed",
        "s3://bucket/*.mid",
        "--out",
        "s3://bucket",
    ]
    status, output = namespace.run(*command)
    assert status == 2, output
    assert "error: s3://bucket/*.mid cannot be reached: Could not connect to the endpoint URL" in output
