"""Models load beside what runs, and one may go for another."""

import json
import shutil
import time
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.trace import NoOpTracer

from amt.arranging.plan import from_nothing
from amt.midi.timing import Timing
from api import AnticipatoryAPI
from models import ModelStore
from serving.messages import Done, Failed, FromWorker, Loaded, NotLoaded, Ready, Unloaded
from tests.conftest import GOLDEN
from tests.tasks.results import golden, job_of
from worker.jobs import GenerateJob
from worker.runner import Runner

MODEL = str(GOLDEN / "model")


@pytest.fixture
def plain(tmp_path: Path) -> str:
    """The golden model, as if it had been trained without controls."""
    folder = Path(shutil.copytree(MODEL, tmp_path / "plain"))
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"anticipation": False}))
    return str(folder)


def begin(**checkpoints: str) -> Runner:
    """Return a runner that has loaded the golden model under the name tiny."""
    api = AnticipatoryAPI({}, "tiny", "cpu", 1, "float32")
    store = ModelStore({"tiny": MODEL, **checkpoints}, "cpu", "float32")
    runner = Runner(store, "tiny", NoOpTracer(), api.explain)
    until(runner, Ready)
    return runner


def until(runner: Runner, kind: Any) -> list[FromWorker]:
    """Return all messages up to the first of a kind."""
    messages: list[FromWorker] = []
    while True:
        messages += runner.step()
        if any(isinstance(message, kind) for message in messages):
            return messages
        time.sleep(runner.poll_timeout)  # or the thread that loads waits for this one


def music(group: str) -> GenerateJob:
    plan = from_nothing(100)
    return GenerateJob(group, {}, False, redraws=False, plan=plan, sequences=(plan.request(),), timing=Timing())


def run(runner: Runner, job: GenerateJob) -> FromWorker:
    """Return how a job ends."""
    runner.add(1, job)
    return until(runner, (Done, Failed))[-1]


@pytest.mark.slow
def test_one_model_goes_for_another_and_comes_back() -> None:
    runner = begin(other=MODEL)
    before = run(runner, music("tiny"))
    runner.load("other", {}, "tiny")
    unloaded, loaded = until(runner, (Loaded, NotLoaded))
    assert isinstance(unloaded, Unloaded)
    assert isinstance(loaded, Loaded)
    assert (unloaded.group, list(unloaded.info["capacity"])) == ("tiny", [])
    assert (loaded.group, list(loaded.info["capacity"])) == ("other", ["other"])
    assert not loaded.info["sizes"]["tiny"]["loaded"]
    runner.load("tiny", {}, "other")
    until(runner, Loaded)
    after = run(runner, music("tiny"))
    assert isinstance(before, Done)
    assert isinstance(after, Done)
    assert before.result[0].events.tolist() == after.result[0].events.tolist()


def test_a_model_stays_if_the_one_that_it_would_go_for_cannot_be_had(tmp_path: Path) -> None:
    runner = begin(other=str(tmp_path))
    runner.load("other", {}, "tiny")
    [refused] = until(runner, (Loaded, NotLoaded, Unloaded))
    assert isinstance(refused, NotLoaded)
    assert (refused.group, refused.status) == ("other", 503)
    assert "model other cannot be loaded" in refused.detail
    assert isinstance(run(runner, music("tiny")), Done)


@pytest.mark.slow
def test_a_model_without_controls_makes_music_but_takes_no_notes_ahead(plain: str) -> None:
    runner = begin(plain=plain)
    runner.load("plain", {})
    until(runner, Loaded)
    assert isinstance(run(runner, music("plain")), Done)
    job = job_of(task="accompany", midi_input=golden("chorale_001"), length_seconds=1)
    refused = run(runner, GenerateJob(**{**job.__dict__, "group": "plain"}))
    assert isinstance(refused, Failed)
    assert refused.status == 422
    assert "model plain cannot do task accompany" in refused.detail
    assert "it was trained without such controls" in refused.detail


@pytest.mark.parametrize("task", ["generate", "continue", "accompany", "infill", "variation"])
def test_what_tells_notes_ahead_says_so(task: str) -> None:
    spans = {"infill": {"start_seconds": 1, "end_seconds": 3}}
    given = {} if task == "generate" else {"midi_input": golden("chorale_001")}
    job = job_of(task=task, **given, **spans.get(task, {}))
    has_controls = any(len(sequence.controls) for sequence in job.sequences)
    assert has_controls == (job.controlled is not None)
    assert job.controlled in (None, task)
