"""No more new notes in a row than a dozen are those of the piece."""

import random
from collections.abc import Iterable
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from amt.decoding.constraints import Constraints
from amt.decoding.copying import MAX_COPIED_NOTES, PART_END, CopyGuard, keys_in_order
from amt.decoding.engine import Engine
from amt.decoding.request import DecodeRequest
from amt.decoding.sequence import Sequence
from amt.gpt2.network import GPT2
from amt.midi.notes import DRUMS, N_PITCHES, Note
from amt.tokens import events as ev
from amt.tokens.vocab import DURATION, NOTE

RUN = MAX_COPIED_NOTES + 1
SCALE = list(range(60, 80))

Begun = tuple[int, int]
"""(onset, key) of a new note."""


def runs(keys: list[int]) -> set[tuple[int, ...]]:
    """Return all that is too long to be copied."""
    return {tuple(keys[start : start + RUN]) for start in range(len(keys) - MAX_COPIED_NOTES)}


def keys_of(new: Iterable[Begun]) -> list[int]:
    return [key for _, key in sorted(new)]


def observed(piece: list[int], new: Iterable[Begun]) -> CopyGuard:
    guard = CopyGuard(piece)
    for onset, key in new:
        guard.observe(onset, key)
    return guard


@st.composite
def pieces(draw: st.DrawFn) -> list[Begun]:
    """Draw chords of few different notes, so that much of the piece is like the rest of it."""
    n_keys = draw(st.integers(1, 14))
    chord = st.sets(st.integers(0, n_keys - 1), min_size=1)
    return [(onset, key) for onset, keys in enumerate(draw(st.lists(chord, min_size=1, max_size=30))) for key in keys]


@settings(max_examples=60, deadline=None)
@given(pieces(), st.randoms(use_true_random=False))
def test_exactly_the_notes_that_would_complete_a_run_are_forbidden(piece: list[Begun], rng: random.Random) -> None:
    keys = keys_of(piece)
    guard, new, onset, place = CopyGuard(keys), list[Begun](), 0, 0
    for _ in range(40):
        for key in set(keys):
            would = runs(keys_of([*new, (onset + 1, key)]))
            if (onset, key) not in new:
                would |= runs(keys_of([*new, (onset, key)]))
            assert (key in guard.forbidden) == bool(would & runs(keys)), key
        if rng.random() < 0.1:
            place = rng.randrange(len(piece))  # copy from elsewhere
        begins, key = piece[place % len(piece)]
        later = begins != piece[place % len(piece) - 1][0] or rng.random() < 0.1
        place += 1
        if key not in guard.forbidden and (onset + later, key) not in new:
            onset += later
            new.append((onset, key))
            guard.observe(onset, key)


def test_a_dozen_notes_may_be_copied_and_the_next_may_not() -> None:
    new = [(10 * index, key) for index, key in enumerate(SCALE)]
    assert observed(SCALE, new[: MAX_COPIED_NOTES - 1]).forbidden == frozenset()
    assert observed(SCALE, new[:MAX_COPIED_NOTES]).forbidden == {SCALE[MAX_COPIED_NOTES]}


def test_the_order_in_which_a_chord_is_decoded_does_not_matter() -> None:
    chords = [(index // 3, key) for index, key in enumerate(SCALE)]
    backwards = sorted(chords[:MAX_COPIED_NOTES], key=lambda each: (each[0], -each[1]))
    assert observed(SCALE, backwards).forbidden == {SCALE[MAX_COPIED_NOTES]}


def test_a_note_that_would_complete_a_run_within_a_chord_is_forbidden() -> None:
    new = [(index, key) for index, key in enumerate(SCALE[:11])]
    assert observed(SCALE, [*new, (11, SCALE[12])]).forbidden == {SCALE[11]}


def test_a_run_does_not_go_on_over_the_end_of_a_part() -> None:
    piece = [*SCALE[:MAX_COPIED_NOTES], PART_END, *SCALE[MAX_COPIED_NOTES:]]
    new = [(index, key) for index, key in enumerate(SCALE)]
    assert all(not observed(piece, new[:length]).forbidden for length in range(len(new)))


def test_parts_are_told_in_order_of_onset_and_key() -> None:
    first = [Note(10, 1, 60, 1), Note(0, 1, 64, 0), Note(10, 1, 62, 0)]
    assert keys_in_order(first, [], first[:1]) == (64, 62, N_PITCHES + 60, PART_END, N_PITCHES + 60, PART_END)


def played(constraints: Constraints, keys: list[int]) -> Sequence:
    sequence = Sequence(DecodeRequest(end_ticks=10**6, constraints=constraints))
    for index, key in enumerate(keys):
        sequence.append((30 * index, DURATION.offset + 5, NOTE.offset + key))
    return sequence


def test_a_sequence_may_not_go_on_with_what_would_complete_a_run() -> None:
    legal = played(Constraints(copied=tuple(SCALE)), SCALE[:MAX_COPIED_NOTES]).legal_notes
    assert legal is not None
    assert [index for index in range(NOTE.size) if not legal[index]] == [SCALE[MAX_COPIED_NOTES]]


def test_given_notes_do_not_count_among_the_new_ones() -> None:
    constraints = Constraints(copied=tuple(SCALE))
    prompt = ev.from_notes([Note(index, 1, key, 0) for index, key in enumerate(SCALE[:MAX_COPIED_NOTES])])
    request = DecodeRequest(end_ticks=1_000, start_ticks=50, prompt=prompt, constraints=constraints)
    assert Sequence(request).legal_notes is None


@pytest.mark.parametrize("groups", [(), (frozenset({0}),)])
def test_a_run_goes_on_if_no_other_note_is_legal(groups: tuple[frozenset[int], ...]) -> None:
    excluded = frozenset(range(1, 129))
    only = Constraints(groups=groups, excluded=excluded, pitch_range=(60, 60), copied=(60,) * 20)
    sequence = played(only, [60] * 15)
    assert sequence.legal_notes is only.legal_notes


def test_a_beat_that_would_go_on_as_before_does_not(tiny: GPT2) -> None:
    drums = [Note(25 * step, 10, pitch, DRUMS) for step in range(40) for pitch in (36, 42)]
    copied, engine = keys_in_order(drums), Engine(tiny)
    free = Constraints(groups=(frozenset({DRUMS}),))
    bound = replace(free, copied=copied)
    requests = [
        DecodeRequest(1_400, 1_000, ev.from_notes(drums), constraints=constraints, seed=seed)
        for seed in range(3)
        for constraints in (free, bound)
    ]
    sequences = [engine.add(request) for request in requests]
    while not engine.is_idle:
        engine.step()
    has_copied = [
        bool(runs(list(keys_in_order(ev.to_notes(sequence.generated)))) & runs(list(copied))) for sequence in sequences
    ]
    assert any(has_copied[::2])
    assert not any(has_copied[1::2])
