import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import psutil
import pytest
from opentelemetry.trace import NoOpTracer

from amt.arranging.plan import from_nothing
from amt.decoding.model import load_config
from amt.decoding.request import DecodeRequest
from amt.midi.notes import Note
from amt.pooling import Pooling
from amt.tokens.vocab import CONTEXT_TOKENS
from amt.tokens.windows import Excerpt, take_excerpt
from models import ModelStore
from serving.messages import Done, Failed, FromWorker, Ready, Update
from tests.conftest import GOLDEN
from worker.embedding import MAX_CPU_BATCH_TOKENS
from worker.jobs import EmbedJob, GenerateJob, Progress
from worker.runner import Runner

LONG = take_excerpt([Note(10 * index, 5, 60, 0) for index in range(1_500)], whole=True)
SHORT = take_excerpt([Note(0, 50, 60, 0)])
UIDS = (1, 2, 3)
"""Of the jobs of each test."""


def explain(error: Exception) -> tuple[int, str]:
    return 500, repr(error)


@pytest.fixture(scope="module")
def begun() -> tuple[Runner, Ready]:
    """Return a runner that has loaded tiny, and the message that says so."""
    checkpoints: Any = dict.fromkeys(["tiny", "small", "medium", "large"], str(GOLDEN / "model"))
    running = Runner(ModelStore(checkpoints, "cpu", "float32"), "tiny", NoOpTracer(), explain)
    while True:
        for message in running.step():
            if isinstance(message, Ready):
                return running, message
        time.sleep(running.poll_timeout)  # or the thread that loads waits for this one


@pytest.fixture
def runner(begun: tuple[Runner, Ready]) -> Iterator[Runner]:
    """Yield the runner without a job; those that a test leaves behind are cancelled."""
    runner, _ = begun
    yield runner
    for uid in UIDS:
        runner.cancel(uid)
    assert runner.poll_timeout > 0


def embed_job(*excerpts: Excerpt, layer: int = -1, pooling: Pooling = "mean") -> EmbedJob:
    return EmbedJob("tiny", {}, False, excerpts, ([],) * len(excerpts), layer, pooling)


def until_done(runner: Runner, uid: int) -> list[FromWorker]:
    """Return all messages up to the end of that job."""
    messages: list[FromWorker] = []
    while not any(isinstance(each, Done | Failed) and each.uid == uid for each in messages):
        messages += runner.step()
    return messages


def test_the_capacity_fits_into_the_free_memory(begun: tuple[Runner, Ready]) -> None:
    _, ready = begun
    config = load_config(GOLDEN / "model")
    row_bytes = 2 * 4 * config.n_layer * CONTEXT_TOKENS * config.n_embd
    assert list(ready.info["capacity"]) == ["tiny"]
    assert 0 < ready.info["capacity"]["tiny"] * row_bytes < psutil.virtual_memory().total


def test_vectors_come_in_the_order_of_the_windows(runner: Runner) -> None:
    runner.add(1, embed_job(SHORT, LONG, SHORT))
    *_, done = until_done(runner, 1)
    assert isinstance(done, Done)
    assert len(done.result) == len(LONG.windows) + 2
    for excerpt, vectors in ((SHORT, done.result[:1]), (LONG, done.result[1:-1]), (SHORT, done.result[-1:])):
        runner.add(2, embed_job(excerpt))
        *_, alone = until_done(runner, 2)
        assert isinstance(alone, Done)
        np.testing.assert_allclose(np.concatenate(vectors), np.concatenate(alone.result), atol=1e-5)


def test_a_small_embed_does_not_wait_for_a_big_one(runner: Runner) -> None:
    runner.add(1, embed_job(LONG))
    runner.add(2, embed_job(SHORT))
    messages = until_done(runner, 2)
    assert [each.uid for each in messages if isinstance(each, Done)] == [2]


def test_embeds_with_different_options_take_turns(runner: Runner) -> None:
    runner.add(1, embed_job(LONG))
    runner.add(2, embed_job(SHORT, layer=0))
    runner.add(3, embed_job(SHORT, pooling="max"))
    assert [each.uid for each in until_done(runner, 1) if isinstance(each, Done)] == [2, 3, 1]


def test_a_step_computes_no_more_windows_than_a_batch_holds(runner: Runner) -> None:
    runner.add(1, embed_job(LONG))
    n_steps = 0
    while not any(isinstance(each, Done) for each in runner.step()):
        n_steps += 1
    assert n_steps + 1 >= LONG.num_tokens / MAX_CPU_BATCH_TOKENS


def test_a_cancelled_embed_stops_between_its_windows(runner: Runner) -> None:
    runner.add(1, embed_job(LONG))
    assert not list(runner.step())
    runner.cancel(1)
    assert runner.poll_timeout > 0
    assert not list(runner.step())


def test_generations_go_on_between_the_windows_of_an_embed(runner: Runner) -> None:
    runner.add(
        1, GenerateJob("tiny", {}, True, False, from_nothing(10_000_000), (DecodeRequest(end_ticks=10_000_000),))
    )
    runner.add(2, embed_job(LONG))
    updates = [each.data for each in until_done(runner, 2) if isinstance(each, Update)]
    assert isinstance(updates[-1], Progress)
    assert updates[-1].n_events >= len(LONG.windows) - 1
