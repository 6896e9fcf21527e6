"""What is compiled for CPUs does the same as PyTorch on any device."""

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from amt.decoding import biases, kernels, legality
from amt.decoding.chord_tones import ChordTones
from amt.decoding.onset_grid import OnsetGrid
from amt.harmony.chords import ChordSpan
from amt.midi.grid import Grid
from amt.midi.notes import N_INSTRUMENTS
from amt.tokens.vocab import NOTE

START = 700


def random(seed: int, *shape: int, spread: float = 4) -> Tensor:
    return spread * torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def grid(every: int) -> Tensor:
    lines = np.arange(START, START + 3_000, every)
    levels = np.resize(np.array([3, 0, 1, 0, 2, 0, 1, 0], dtype=np.int8), len(lines))
    return torch.from_numpy(OnsetGrid(Grid(lines, 10.0 * lines, levels), START, START + 2_000, ends_too=True).levels)


def test_onsets_and_notes_are_forbidden_and_biased_alike() -> None:
    onsets, notes, n_rows = random(0, 4, 10_000), random(1, 4, NOTE.size), 4
    earliest = torch.tensor([-torch.inf, 50.5, 3_000, -torch.inf])
    latest = torch.tensor([torch.inf, 400, torch.inf, 700.25])
    by_instrument = random(2, n_rows, N_INSTRUMENTS + 1)
    by_instrument[0], by_instrument[1, 5] = 0, -torch.inf
    for module, name, logits, arguments in (
        (legality, "forbid_past", onsets, (torch.tensor([0.0, 1, 9_999, 10_000]),)),
        (legality, "forbid_notes", notes, (random(3, n_rows, NOTE.size) > 0,)),
        (biases, "bias_onsets", onsets, (earliest, latest, 35.0)),
        (biases, "bias_notes", notes, (by_instrument,)),
    ):
        by_torch, compiled = logits.clone(), logits.clone()
        getattr(module, name)(by_torch, *arguments)
        getattr(kernels, name)(compiled, *arguments)
        torch.testing.assert_close(compiled, by_torch, rtol=1e-6, atol=1e-4)
        assert not torch.equal(compiled, logits)


PLACES = st.tuples(st.integers(0, 2), st.integers(START, 9_950), st.integers(0, 1)).map(
    lambda place: (place[0], place[1], place[1] + 100, place[2])
)


@settings(max_examples=20, deadline=None)
@given(places=st.lists(PLACES, min_size=1, max_size=3), every=st.integers(3, 200), seed=st.integers(0, 9))
def test_onsets_are_kept_on_a_grid_alike(places: list[tuple[int, ...]], every: int, seed: int) -> None:
    logits = random(seed, len(places), 10_000)
    legality.forbid_past(logits, torch.tensor([place[1] for place in places]))
    shift = torch.arange(len(places)).float() * 300 - START
    arguments = torch.tensor(places).float(), shift, grid(every).expand(len(places), -1).contiguous()
    by_torch, compiled = logits.clone(), logits.clone()
    legality.keep_on_grid(by_torch, *arguments)
    kernels.keep_on_grid(compiled, *arguments)
    torch.testing.assert_close(compiled, by_torch, rtol=1e-4, atol=1e-4)


@settings(max_examples=20, deadline=None)
@given(places=st.lists(PLACES, min_size=1, max_size=3), every=st.integers(3, 200), rests=st.booleans())
def test_ends_are_kept_on_a_grid_alike(places: list[tuple[int, ...]], every: int, rests: bool) -> None:
    onsets = torch.tensor([place[2] if rests else place[1] for place in places])
    shift = torch.arange(len(places)).float() * 300 - START
    arguments = onsets, torch.tensor(places).float(), shift, grid(every).expand(len(places), -1).contiguous()
    by_torch, compiled = torch.zeros(len(places), 1_000), torch.zeros(len(places), 1_000)
    legality.end_on_grid(by_torch, *arguments)
    kernels.end_on_grid(compiled, *arguments)
    assert torch.equal(compiled, by_torch)


CHORDS = st.lists(st.tuples(st.integers(0, 300), st.frozensets(st.integers(0, 11), max_size=4)), min_size=1, max_size=5)


@settings(max_examples=20, deadline=None)
@given(
    chords=CHORDS,
    strengths=st.lists(st.sampled_from([0.0, 0.5, 8.0]), min_size=1, max_size=3),
    key=st.sampled_from([0.0, -4.0, -torch.inf]),
    start=st.integers(0, 1_000),
    duration=st.integers(0, 999),
)
def test_pitches_are_led_alike(
    chords: list[tuple[int, frozenset[int]]], strengths: list[float], key: float, start: int, duration: int
) -> None:
    spans, now = [], START
    for gap, pitch_classes in chords:
        spans.append(ChordSpan(now, pitch_classes, ""))
        now += gap + 1
    n_rows = len(strengths)
    table = torch.from_numpy(ChordTones(spans, 0.8, START).table)
    by_class = torch.zeros(n_rows, 12)
    by_class[0, [1, 3, 6, 8, 10]] = key
    arguments = (
        by_class,
        torch.tensor(strengths),
        table.expand(n_rows, -1, -1).contiguous(),
        torch.full((n_rows,), start),
        torch.full((n_rows,), duration),
    )
    logits = random(start, n_rows, NOTE.size, spread=1)
    logits[:, 5 * 128 : 6 * 128] = -torch.inf  # as where an instrument may not play
    by_torch, compiled = logits.clone(), logits.clone()
    biases.lead_pitches(by_torch, *arguments)
    kernels.lead_pitches(compiled, *arguments)
    torch.testing.assert_close(compiled, by_torch, rtol=1e-4, atol=1e-4)
