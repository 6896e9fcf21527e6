"""Steps padded as CUDA graphs need them, on any device; steps recorded as graphs are tested where there is a GPU."""

import numpy as np
import pytest
import torch

from amt.decoding.constraints import Constraints
from amt.decoding.engine import Engine
from amt.decoding.graphs import padded_length, padded_rows
from amt.decoding.model import load_model
from amt.decoding.request import DecodeRequest, in_every_slot
from amt.gpt2.linear import OutputRange
from amt.gpt2.network import GPT2
from amt.gpt2.sampling_params import SamplingParams
from amt.harmony.chords import ChordSpan
from amt.midi.grid import Grid
from amt.midi.notes import Note
from amt.tokens import events as ev
from amt.tokens.vocab import CONTROL_OFFSET
from tests.conftest import PROJECT

NOTES = ev.from_notes(Note(20 * index, 15, 40 + index % 30, index % 3) for index in range(200))

REQUESTS = [
    DecodeRequest(end_ticks=400, seed=1),
    DecodeRequest(end_ticks=4_500, start_ticks=4_000, prompt=NOTES, seed=2),
    DecodeRequest(end_ticks=600, controls=NOTES[:20] + CONTROL_OFFSET, seed=3),
    DecodeRequest(
        end_ticks=400, seed=4, constraints=Constraints(groups=(frozenset({0}), frozenset({32})), density=5.0)
    ),
    DecodeRequest(end_ticks=400, seed=5, sampling=in_every_slot(SamplingParams(temperature=0.0))),
    DecodeRequest(
        end_ticks=400,
        seed=6,
        constraints=Constraints(
            grid=Grid(np.arange(0, 500, 25), np.arange(0, 5_000, 250.0), np.zeros(20, dtype=np.int8)),
            key=frozenset({0, 2, 4, 5, 7, 9, 11}),
            chords=(ChordSpan(0, frozenset({0, 4, 7}), "C"), ChordSpan(200, frozenset({5, 9, 0}), "F")),
            variety=0.3,
        ),
    ),
]


def decode(engine: Engine) -> list[list[tuple[int, int, int]]]:
    """Return the events of each request; they join one after another, so that the number of rows changes."""
    sequences = []
    for request in REQUESTS:
        sequences.append(engine.add(request))
        engine.step()
        engine.step()
    while not engine.is_idle:
        engine.step()
    return [sequence.decoded for sequence in sequences]


def test_steps_padded_for_graphs_decode_the_same_events(tiny: GPT2) -> None:
    expected = decode(Engine(tiny, as_graphs=False))
    assert all(expected)
    assert decode(Engine(tiny, as_graphs=True)) == expected


def test_steps_are_padded_before_their_inputs_are_loaded(tiny: GPT2) -> None:
    decoded = []
    for as_graphs in (False, True):
        engine = Engine(tiny, as_graphs=as_graphs)
        sequences = [engine.add(request) for request in REQUESTS[:3]]  # the first step is of three rows, padded to four
        engine.step()
        decoded.append([sequence.decoded for sequence in sequences])
    assert decoded[0] == decoded[1]


def test_what_was_recorded_with_smaller_inputs_is_void(tiny: GPT2) -> None:
    decoded = []
    for as_graphs in (False, True):
        engine = Engine(tiny, as_graphs=as_graphs)
        first, *others = [engine.add(DecodeRequest(10**6, seed=seed)) for seed in range(5)]
        for each in others:  # the cache has room for them from now on, and the inputs do not yet
            engine.remove(each)
        engine.step()
        second = engine.add(DecodeRequest(10**6, seed=5))
        engine.step()
        engine.remove(second)
        for _ in range(3):
            engine.step()
        decoded.append(first.decoded)
    assert decoded[0] == decoded[1]


@pytest.mark.gpu
@pytest.mark.parametrize("device", [f"cuda:{index}" for index in range(max(torch.cuda.device_count(), 1))])
def test_steps_recorded_as_cuda_graphs_decode_the_same_events(device: str) -> None:
    model = load_model(PROJECT / "weights/tiny", torch.float32, torch.device(device))
    engine = Engine(model, max_rows=2)  # so that the cache grows, and what was recorded is void
    assert decode(engine) == decode(Engine(model, as_graphs=False))
    assert engine.graphs
    assert engine.graphs.recordings
    assert not engine.graphs.has_failed


@pytest.mark.gpu
@pytest.mark.parametrize("lengths", [(0, 3, 150), (0, 1, 2, 3, 42, 43, 150, 200)], ids=["few rows", "many rows"])
def test_a_gpu_decodes_what_a_cpu_does_by_kernels_of_its_own(lengths: tuple[int, ...]) -> None:
    """The most probable tokens, of float32: elsewhere last digits may decide."""
    greedy = in_every_slot(SamplingParams(temperature=0.0))
    requests = [DecodeRequest(10**9, prompt=NOTES[:n], start_ticks=20 * n, sampling=greedy) for n in lengths]
    decoded = []
    for device in ("cpu", "cuda"):
        model = load_model(PROJECT / "weights/tiny", torch.float32, torch.device(device))
        assert model.is_fused == (device == "cuda")
        engine = Engine(model)
        sequences = [engine.add(request) for request in requests]
        for _ in range(40):
            engine.step()
        decoded.append([sequence.decoded for sequence in sequences])
    assert decoded[0] == decoded[1]


@pytest.mark.gpu
def test_all_kinds_of_steps_can_be_recorded_ahead() -> None:
    engine = Engine(load_model(PROJECT / "weights/tiny", torch.bfloat16, torch.device("cuda")), max_rows=4)
    while engine.record_next():
        pass
    assert engine.graphs
    assert {kind.n_rows for kind in engine.graphs.recordings} == {1, 2, 4}
    assert all(recording.seconds > 0 for recording in engine.graphs.recordings.values())


@pytest.mark.gpu
def test_logits_on_a_gpu_are_summed_to_float32() -> None:
    embeddings, hidden = torch.randn(16_513, 64).bfloat16(), torch.randn(3, 64).bfloat16()
    logits = OutputRange(embeddings, torch.bfloat16, torch.device("cuda")).logits(hidden.cuda())
    assert logits.dtype is torch.float32
    torch.testing.assert_close(logits.cpu(), hidden.float() @ embeddings.float().T, atol=1e-4, rtol=1e-4)


def test_rows_and_lengths_are_rounded_up_to_few_sizes() -> None:
    assert [padded_rows(n) for n in (1, 2, 3, 5, 8, 9, 16, 33, 64)] == [1, 2, 4, 8, 8, 16, 16, 40, 64]
    assert [padded_length(n) for n in (3, 256, 257, 1_023, 1_024)] == [256, 256, 512, 1_024, 1_024]
