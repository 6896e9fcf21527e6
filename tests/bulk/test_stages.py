"""The three stages one after the other, as Ray Data calls them, without Ray."""

import os
import shutil
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("pyarrow")

import fsspec
import pyarrow.parquet as pq

from bulk.files import Source, find_files
from bulk.job import BulkJob, Settings
from bulk.ledger import Ledger
from bulk.output import Output
from bulk.stages import Stages
from bulk.worker import Worker, probe
from tests.conftest import GOLDEN

pytestmark = pytest.mark.bulk

SETTINGS = Settings({"tiny": str(GOLDEN / "model")}, "tiny", "cpu", "bfloat16", 120.0)
NAMES = [b"a b/\xff.mid", b"bad.mid", b"c.MIDI"]


@pytest.fixture(scope="module")
def worker() -> Worker:
    return Worker(SETTINGS, is_alone_on_device=True)


@pytest.fixture(scope="module")
def info() -> dict[str, Any]:
    return probe(SETTINGS)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two copies of a piece, and a file that is none."""
    for name in NAMES:
        path = tmp_path / "in" / os.fsdecode(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(GOLDEN / "midi/chorale_001.mid", path)
    (tmp_path / "in/bad.mid").write_bytes(b"no music")
    return tmp_path


def run(job: BulkJob, worker: Worker, info: dict[str, Any], folder: Path) -> tuple[list[dict[str, Any]], Any]:
    """Return the rows of a job, and how many files it has done and failed to do."""
    source, output = find_files([f"{folder}/in/**/*.[mM]*"]), Output.at(f"{folder}/out")
    stages, ledger = Stages(job, SETTINGS, info, source, output), Ledger(output)
    ledger.plan(source.names, job.task)
    for unit in ledger.missing():
        row = {"key": unit.key, "names": [os.fsencode(name) for name in unit.names]}
        ended = stages.finish(worker(stages.prepare(row)))
        assert not ended["failure"]
    totals = ledger.finish()
    return (pq.read_table(folder / "out/rows").to_pylist() if totals.done else []), totals


@pytest.mark.parametrize(
    ("task", "fields"),
    [
        ("continue", {"prime_seconds": 2, "length_seconds": 1, "include": ["midi", "notes"]}),
        ("accompany", {"length_seconds": 1, "instruments": ["drums"]}),
        ("infill", {"start_seconds": 1, "end_seconds": 2}),
        ("variation", {"end_seconds": 2, "num_variations": 2}),
    ],
)
def test_a_piece_for_each_file_and_a_sentence_for_what_is_none(
    task: Any, fields: dict[str, Any], worker: Worker, info: dict[str, Any], folder: Path
) -> None:
    rows, totals = run(BulkJob(task, fields, 1, 10**6, 60.0), worker, info, folder)
    assert totals == (2, 1, 0)
    n = fields.get("num_variations", 1)
    assert [row["path_bytes"] for row in rows] == [name for name in (NAMES[0], NAMES[2]) for _ in range(n)]
    assert len({row["seed"] for row in rows}) == 2 * n
    assert all((row["notes"] is not None) == ("notes" in fields.get("include", ())) for row in rows)
    written = {os.fsencode(path.relative_to(folder / "out/midi")) for path in folder.glob("out/midi/**/*.*")}
    assert written == (
        {b"a b/\xff.mid", b"c.MIDI"} if n == 1 else {b"a b/\xff-1.mid", b"a b/\xff-2.mid", b"c-1.MIDI", b"c-2.MIDI"}
    )
    [error] = pq.read_table(folder / "out/errors.parquet").to_pylist()
    assert (error["path"], error["status"]) == ("bad.mid", 422)


def test_no_piece_is_written_outside_of_its_folder(worker: Worker, info: dict[str, Any], tmp_path: Path) -> None:
    fs = fsspec.filesystem("memory")
    fs.pipe_file("/bulk/up/../../x.mid", (GOLDEN / "midi/chorale_001.mid").read_bytes())
    source, output = Source(fs, "/bulk/up", ["../../x.mid"]), Output.at(f"{tmp_path}/out")
    job = BulkJob("continue", {"prime_seconds": 2, "length_seconds": 1}, 0, 10**6, 60.0)
    stages, ledger = Stages(job, SETTINGS, info, source, output), Ledger(output)
    ledger.plan(source.names, job.task)
    [unit] = ledger.missing()
    stages.finish(worker(stages.prepare({"key": unit.key, "names": [b"../../x.mid"]})))
    assert ledger.finish() == (0, 1, 0)
    [error] = output.read_table("errors.parquet")["error"].to_pylist()
    assert error == "no file can have the name '../../x.mid'"
    assert not list(tmp_path.rglob("x.mid"))


def test_vectors_are_lists_of_fixed_size(worker: Worker, info: dict[str, Any], folder: Path) -> None:
    _, totals = run(BulkJob("embed", {"normalize": True}, 0, 10**6, 60.0), worker, info, folder)
    assert totals == (2, 1, 0)
    kind = pq.read_table(folder / "out/rows").schema.field("embedding").type
    assert (str(kind.value_type), kind.list_size) == ("float", 32)


def test_files_that_cannot_be_read_or_written_do_not_end_the_job(
    worker: Worker, info: dict[str, Any], folder: Path
) -> None:
    (folder / "in/bad.mid").unlink()
    (folder / "in/bad.mid").symlink_to(folder / "nowhere")
    (folder / "out/midi/c.MIDI").mkdir(parents=True)
    (folder / "out/midi/a b").touch()
    job = BulkJob("continue", {"prime_seconds": 2, "length_seconds": 1}, 0, 10**6, 60.0)
    _, totals = run(job, worker, info, folder)
    assert totals == (0, 3, 0)
    errors = {row["path"]: row["error"] for row in pq.read_table(folder / "out/errors.parquet").to_pylist()}
    assert errors["bad.mid"] == "the file cannot be read: No such file or directory"
    assert errors["c.MIDI"].startswith("no file can have the name 'c.MIDI'")
    assert errors["a b/\ufffd.mid"].startswith("no file can have the name 'a b/\\udcff.mid'")
