import pickle
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from amt.errors import ModelUnavailableError
from bulk.job import BulkJob, Failure, Settings
from bulk.units import Unit, piece_names
from bulk.worker import MAX_CPU_ROWS, Worker, probe
from tests.conftest import GOLDEN, PROJECT

pytestmark = pytest.mark.bulk

GOLDEN_MODEL = Settings({"tiny": str(GOLDEN / "model")}, "tiny", "cpu", "bfloat16", 120.0)


def rows_of(job: BulkJob, names: list[str], size: int, data: bytes | None = None) -> list[dict[str, Any]]:
    """Units as they come from the first stage, the last job of each missing."""
    api = GOLDEN_MODEL.new_api()
    units = [Unit(str(start), names[start : start + size]) for start in range(0, len(names), size)]
    made = [[api.decode_request(job.request(name, data), {}, {}, streams=False) for name in unit] for _, unit in units]
    return [{"key": unit.key, "jobs": pickle.dumps([*jobs, None])} for unit, jobs in zip(units, made, strict=True)]


def outcomes(worker: Worker, rows: list[dict[str, Any]], n_threads: int) -> list[Any]:
    with ThreadPoolExecutor(n_threads) as threads:
        return [pickle.loads(row["outcomes"]) for row in threads.map(worker, map(dict, rows))]


def test_music_is_the_same_however_many_units_share_a_batch() -> None:
    job = BulkJob("generate", {"length_seconds": 1, "model_size": "tiny"}, 0, 0, 60.0)
    rows = rows_of(job, piece_names(MAX_CPU_ROWS + 8), 5)  # more than a batch holds
    worker = Worker(GOLDEN_MODEL, is_alone_on_device=True)
    together, alone = outcomes(worker, rows, 8), outcomes(worker, rows, 1)
    assert len(together) == 8
    for one, other in zip(together, alone, strict=True):
        *made, nothing = one
        assert nothing is None
        assert [each[0].seed for each in made] == [each[0].seed for each in other[:-1]]
        assert all((a[0].events == b[0].events).all() for a, b in zip(made, other, strict=False))


def test_what_fails_in_the_worker_says_what_the_service_would() -> None:
    job = BulkJob("embed", {"embed_layer": 9, "model_size": "tiny"}, 0, 10**6, 60.0)
    rows = rows_of(job, ["a.mid"], 1, (GOLDEN / "midi/chorale_001.mid").read_bytes())
    [[failure, _]] = outcomes(Worker(GOLDEN_MODEL, is_alone_on_device=True), rows, 1)
    assert failure == Failure(422, "embed_layer must be in range -4..3 for this model, got 9")


def test_a_model_that_cannot_be_had_is_said_before_anything_is_done() -> None:
    missing = Settings({"tiny": "/nowhere"}, "tiny", "cpu", "auto", 120.0)
    with pytest.raises(ModelUnavailableError, match="model tiny cannot be loaded from /nowhere"):
        probe(missing)


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ("with limited(0.1): time.sleep(20)", 1),
        ("with limited(0.1): pass\ntime.sleep(0.3)", 0),
        ("dog = Watchdog(-0.9)\ndog.is_alive()\ntime.sleep(20)", 1),
        ("dog = Watchdog(-0.9)\ndog.is_alive()\ndog.rest()\ntime.sleep(0.3)", 0),
    ],
)
def test_a_process_that_hangs_ends(body: str, status: int) -> None:
    code = f"import time\nfrom bulk.watchdog import Watchdog, limited\n{body}"
    assert subprocess.run([sys.executable, "-c", code], cwd=PROJECT, capture_output=True).returncode == status
