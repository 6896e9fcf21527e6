"""Buffers that are written only where something has changed hold what fresh ones would."""

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from amt.decoding.constraints import NO_CONSTRAINTS, Constraints
from amt.decoding.inputs import InputBuffers
from amt.decoding.request import DecodeRequest, in_every_slot
from amt.decoding.sequence import Sequence
from amt.gpt2.sampling_params import SamplingParams
from amt.harmony.chords import ChordSpan
from amt.midi.grid import Grid
from amt.tokens.vocab import DURATION, NOTE

CPU = torch.device("cpu")

LINES = Grid(np.arange(0, 10_000, 25), np.arange(0, 100_000, 250.0), np.zeros(400, dtype=np.int8))

REQUESTS = [
    DecodeRequest(10_000, constraints=constraints, seed=seed, sampling=in_every_slot(SamplingParams(top_p=top_p)))
    for seed, (constraints, top_p) in enumerate(
        [
            (NO_CONSTRAINTS, 0.95),
            (Constraints(groups=(frozenset({0}),)), 0.9),
            (Constraints(density=5.0), 0.8),
            (Constraints(groups=(frozenset({0}), frozenset({32})), balance=3.0, allow_repetition=False), 0.7),
            (Constraints(grid=LINES, key=frozenset({0, 4}), variety=0.2), 0.7),
            (Constraints(chords=(ChordSpan(0, frozenset({0}), "C"), ChordSpan(500, frozenset({5}), "F"))), 0.7),
        ]
    )
]


def dense(tensor: Tensor | None, neutral: float) -> np.ndarray:
    return np.array(neutral) if tensor is None else tensor.float().numpy()


@settings(max_examples=20, deadline=None)
@given(moves=st.lists(st.sampled_from(["join", "leave", "play"]), min_size=5, max_size=25), data=st.data())
def test_reused_buffers_equal_fresh_ones(moves: list[str], data: st.DataObject) -> None:
    buffers, sequences = InputBuffers(CPU), [Sequence(REQUESTS[0])]
    for move in moves:
        if move == "join":
            sequences.append(Sequence(data.draw(st.sampled_from(REQUESTS))))
        elif move == "leave" and len(sequences) > 1:
            row = data.draw(st.integers(0, len(sequences) - 1))
            sequences[row] = sequences[-1]  # as the engine does
            sequences.pop()
        for sequence in sequences:
            sequence.append((sequence.earliest_onset // 25 * 25 + 25, DURATION.offset + 5, NOTE.offset + 60))
        reused, fresh = buffers.load(sequences), InputBuffers(CPU).load(sequences)
        assert torch.equal(reused.numbers, fresh.numbers)
        np.testing.assert_array_equal(dense(reused.legal, 1), dense(fresh.legal, 1))
        np.testing.assert_array_equal(dense(reused.biases, 0), dense(fresh.biases, 0))
        if reused.recent:
            assert fresh.recent
            assert torch.equal(reused.recent[1], fresh.recent[1])
            used = fresh.recent[1] != 0
            assert torch.equal(reused.recent[0][used], fresh.recent[0][used])
        for row, sequence in enumerate(sequences):
            if sequence.grid:
                assert reused.levels is not None
                np.testing.assert_array_equal(reused.levels[row], sequence.grid.levels)
            if sequence.chord_tones:
                assert reused.chords is not None
                np.testing.assert_array_equal(reused.chords[row], sequence.chord_tones.table)
        assert (reused.recent is None) == (fresh.recent is None)
        everything = buffers.all(len(sequences), is_steered=True)
        np.testing.assert_array_equal(
            dense(everything.legal, 1), np.broadcast_to(dense(fresh.legal, 1), everything.legal.shape)
        )
        np.testing.assert_array_equal(
            dense(everything.biases, 0), np.broadcast_to(dense(fresh.biases, 0), everything.biases.shape)
        )
