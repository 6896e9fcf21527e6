"""Real jobs on a real Ray: what comes out is exactly what went in, whatever dies meanwhile."""

import base64
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import psutil
import pytest

from tests.bulk.conftest import ADDRESS, Namespace, wait_until
from tests.conftest import GOLDEN, Service

pytest.importorskip("pyarrow")

import pyarrow.parquet as pq

pytestmark = pytest.mark.bulk

BULK = (sys.executable, "-m", "bulk")
LONG = GOLDEN / "midi" / "freedoom_map32.mid"


def corpus(folder: Path, n_files: int) -> set[bytes]:
    """Fill a folder with copies of a long piece; return their names, all unusual."""
    names = {b"a/%d.mid" % n if n % 2 else b"b \xff/[%d]::x.mid" % n for n in range(n_files)}
    for name in names:
        path = folder / os.fsdecode(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(LONG, path)
    return names


def rows(out: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = pq.read_table(out / "rows").to_pylist()
    return sorted(found, key=lambda row: row["path_bytes"])


def errors(out: Path) -> dict[bytes, str]:
    return {row["path_bytes"]: row["error"] for row in pq.read_table(out / "errors.parquet").to_pylist()}


def n_units(out: Path) -> int:
    return len(list(out.glob("_job/ledger/*.parquet")))


def predict(service: Service, **body: Any) -> Any:
    answer = httpx.post(f"{service.url}/predict", json=body, timeout=60)
    return answer.json() if answer.status_code == 200 else answer.json()["detail"]


def encoded(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode()


def test_vectors_and_errors_are_those_of_the_service_and_a_second_run_does_nothing(
    namespace: Namespace, start: Callable[..., Service], tmp_path: Path
) -> None:
    files = {path.name.encode(): path for path in sorted(GOLDEN.glob("midi/*.mid"))[:6]}
    folder = tmp_path / "in"
    (folder / "b c").mkdir(parents=True)
    for number, (name, path) in enumerate(files.items()):
        shutil.copy(path, folder / ("b c" if number % 2 else "") / os.fsdecode(b"\xff" + name))
    (folder / "bad.mid").write_bytes(b"no music")
    (folder / "silent.mid").write_bytes((GOLDEN / "midi/stray_note_offs.mid").read_bytes()[:14])
    out = tmp_path / "out"
    command = (*BULK, "embed", f"{folder}/**/*.mid", "--out", f"file://{out}", "--model", "tiny", "--windows", "each")

    status, output = namespace.run(*command)
    assert status == 1, output
    assert f"{out}: {len(files)} files done; 2 failed, see " in output
    service = start("--default-model", "tiny", OMP_NUM_THREADS="1")
    service.wait_until_ready()
    found: dict[bytes, list[dict[str, Any]]] = {}
    for row in rows(out):
        found.setdefault(row["path_bytes"], []).append(row)
    assert {name.rpartition(b"\xff")[2] for name in found} == files.keys()
    for name, own in found.items():
        path = folder / os.fsdecode(name)
        windows = predict(service, task="embed", midi_input=encoded(path), windows="each")["windows"]
        own.sort(key=lambda row: row["window"])
        assert [row["start_seconds"] for row in own] == [window["start_seconds"] for window in windows]
        vectors = np.array([window["embedding"] for window in windows], np.float32)
        assert np.array_equal(np.array([row["embedding"] for row in own], np.float32), vectors)
    for name, error in errors(out).items():
        path = folder / os.fsdecode(name)
        assert error == predict(service, task="embed", midi_input=encoded(path), windows="each")
    assert errors(out).keys() == {b"bad.mid", b"silent.mid"}

    written = {path: path.stat().st_mtime_ns for path in out.rglob("*.parquet") if path.name != "errors.parquet"}
    status, output = namespace.run(*command)
    assert status == 1, output
    assert written == {path: path.stat().st_mtime_ns for path in written}
    assert namespace.run(*command[:-1], "all")[0] == 1  # another job


@pytest.mark.slow
def test_music_is_that_of_the_service_and_the_same_on_one_node_or_three(
    cluster: tuple[Namespace, psutil.Process], service: Service, tmp_path: Path
) -> None:
    namespace, _ = cluster
    namespace.start_node(23_000)
    one, three = tmp_path / "one", tmp_path / "three"
    fields = ("--request", '{"model_size": "tiny", "length_seconds": 2, "seed": 5}', "--num-variations", "2")
    for out, more in ((one, ()), (three, ("--address", ADDRESS))):
        status, output = namespace.run(*BULK, "generate", "--count", "9", "--out", out, *fields, *more)
        assert status == 0, output
    assert rows(one) == rows(three)
    assert [row["path"] for row in rows(one)] == [f"{n // 2:06}.mid" for n in range(18)]
    midis = {path.relative_to(one): path.read_bytes() for path in one.glob("midi/*.mid")}
    assert midis == {path.relative_to(three): path.read_bytes() for path in three.glob("midi/*.mid")}
    assert len(midis) == 18
    first = next(row for row in rows(one) if row["variation"] == 1)
    answer = predict(service, task="generate", length_seconds=2, seed=first["seed"], model_size="tiny")
    assert midis[Path("midi/000000-1.mid")] == base64.b64decode(answer["variations"][0]["midi_base64"])


@pytest.mark.slow
def test_the_death_of_a_node_costs_nothing(cluster: tuple[Namespace, psutil.Process], tmp_path: Path) -> None:
    namespace, node = cluster
    names, out = corpus(tmp_path / "in", 24), tmp_path / "out"
    command = (*BULK, "embed", tmp_path / "in/**/*.mid", "--model", "tiny", "--windows", "all")
    job = namespace.start(*command, "--out", out, "--address", ADDRESS)
    wait_until(lambda: n_units(out) or job.poll() is not None)
    node.kill()
    output, _ = job.communicate(timeout=200)
    assert job.returncode == 0, output
    assert [row["path_bytes"] for row in rows(out)] == sorted(names)
    assert not errors(out)


@pytest.mark.slow  # CI has it with an object store
def test_after_the_death_of_the_driver_the_same_command_goes_on(namespace: Namespace, tmp_path: Path) -> None:
    names, out = corpus(tmp_path / "in", 24), tmp_path / "out"
    command = (*BULK, "embed", tmp_path / "in/**/*.mid", "--out", out, "--model", "tiny", "--windows", "all")
    job = namespace.start(*command)
    wait_until(lambda: n_units(out) or job.poll() is not None)
    [driver] = namespace.processes("-m bulk")
    driver.kill()
    job.communicate(timeout=60)
    done = n_units(out)
    assert 1 <= done < 6
    status, output = namespace.run(*command)
    assert status == 0, output
    assert "/24 [" in output
    assert [row["path_bytes"] for row in rows(out)] == sorted(names)


@pytest.mark.slow
def test_a_file_on_which_the_process_dies_is_listed_and_no_other_is_lost(namespace: Namespace, tmp_path: Path) -> None:
    """Nobody ever writes to the named pipe, so who reads it hangs, until its watchdog ends the process."""
    names, out = corpus(tmp_path / "in", 7), tmp_path / "out"
    os.mkfifo(tmp_path / "in/a/pipe.mid")
    command = (*BULK, "embed", tmp_path / "in/**/*.mid", "--out", out, "--model", "tiny")
    status, output = namespace.run("env", "ANTICIPATORY_TIMEOUT=5", *command)
    assert status == 1, output
    assert [row["path_bytes"] for row in rows(out)] == sorted(names)
    assert errors(out) == {
        b"a/pipe.mid": "the process died or hung each of the 3 times that it worked on this file alone"
    }
