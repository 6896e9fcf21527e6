"""What is promised of steered music holds, and nobody beside it notices."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from amt.decoding.constraints import NO_CONSTRAINTS, Constraints
from amt.decoding.engine import Engine
from amt.decoding.request import DecodeRequest
from amt.errors import ConstraintError, SequenceError
from amt.gpt2.network import GPT2
from amt.harmony.chords import ChordSpan
from amt.midi.grid import Grid
from amt.midi.notes import Note
from amt.tokens import events as ev

C_MAJOR = frozenset({0, 2, 4, 5, 7, 9, 11})
END = 400


def every(ticks: int) -> Grid:
    lines = np.arange(0, 2 * END, ticks)
    return Grid(lines, 10.0 * lines, np.resize(np.array([3, 0, 1, 0, 2, 0, 1, 0], dtype=np.int8), len(lines)))


CONSTRAINTS = st.builds(
    Constraints,
    grid=st.sampled_from([None, every(12), every(25), every(150)]),
    grid_durations=st.booleans(),
    key=st.sampled_from([None, C_MAJOR, frozenset({1, 6})]),
    key_is_strict=st.booleans(),
    chords=st.sampled_from([(), (ChordSpan(0, frozenset({9, 0, 4}), "Am"), ChordSpan(200, frozenset(), "N.C."))]),
    variety=st.sampled_from([None, 0.3]),
    density=st.sampled_from([None, 8.0]),
    max_polyphony=st.sampled_from([None, 2]),
    allow_repetition=st.booleans(),
    pitch_range=st.sampled_from([None, (60, 72)]),
)


def decode(model: GPT2, *requests: DecodeRequest) -> list[list[Note]]:
    engine = Engine(model)
    sequences = [engine.add(request) for request in requests]
    while not engine.is_idle:
        engine.step()
    return [ev.to_notes(sequence.generated) for sequence in sequences]


@settings(max_examples=12, deadline=None)
@given(constraints=CONSTRAINTS, seed=st.integers(0, 99), start=st.sampled_from([0, 37]))
def test_every_new_note_is_what_it_must_be(tiny: GPT2, constraints: Constraints, seed: int, start: int) -> None:
    request = DecodeRequest(END, start, constraints=constraints, seed=seed)
    notes, again = decode(tiny, request, request)
    assert again == notes
    for note in notes:
        if constraints.grid:
            assert note.onset in constraints.grid.ticks
            if constraints.grid_durations and note.onset + note.duration < END:
                assert note.duration
                assert note.onset + note.duration in constraints.grid.ticks
        if constraints.key and constraints.key_is_strict and note.instrument < 128:
            assert note.pitch % 12 in constraints.key


def test_steered_rows_leave_their_neighbours_as_they_are(tiny: GPT2) -> None:
    steered = Constraints(
        grid=every(25), key=C_MAJOR, chords=(ChordSpan(0, frozenset({0, 4, 7}), "C"),), variety=0.2, grid_durations=True
    )
    alone, bound = DecodeRequest(END, seed=3), DecodeRequest(END, seed=4, constraints=steered)
    assert decode(tiny, bound, alone, replace(bound, seed=5)) == [
        *decode(tiny, bound), *decode(tiny, alone), *decode(tiny, replace(bound, seed=5))
    ]  # fmt: skip


def test_a_piece_that_begins_later_is_steered_at_its_own_times() -> None:
    moved = Constraints(grid=every(25), chords=(ChordSpan(300, frozenset({0}), "C"),)).moved(-150)
    assert moved.grid
    assert moved.grid.ticks[:2].tolist() == [-150, -125]
    assert moved.grid.milliseconds[:2].tolist() == [-1_500, -1_250]
    assert moved.chords[0].start_ticks == 150


def test_chords_and_keys_are_followed_as_far_as_asked_for(tiny: GPT2) -> None:
    triad = frozenset({1, 6, 10})
    shares = []
    for constraints in (NO_CONSTRAINTS, Constraints(chords=(ChordSpan(0, triad, "F#"),)), Constraints(key=triad)):
        pieces = decode(tiny, *(DecodeRequest(600, seed=seed, constraints=constraints) for seed in range(4)))
        pitches = [note.pitch for notes in pieces for note in notes if note.instrument < 128]
        shares.append(np.mean([pitch % 12 in triad for pitch in pitches]))
    assert shares[0] < 0.5 < 0.7 < min(shares[1:])


@pytest.mark.parametrize("groups", [(), (frozenset({0}),), (frozenset({0}), frozenset({128}))])
def test_a_pitch_range_without_a_pitch_of_the_key_is_refused(groups: tuple[frozenset[int], ...]) -> None:
    with pytest.raises(ConstraintError, match="without a pitch of the key"):
        Constraints(key=C_MAJOR, key_is_strict=True, groups=groups, pitch_range=(61, 61))


def test_drums_have_no_key() -> None:
    assert Constraints(key=C_MAJOR, key_is_strict=True, groups=(frozenset({128}),), pitch_range=(61, 61))


def test_more_than_a_table_holds_is_refused(tiny: GPT2) -> None:
    with pytest.raises(SequenceError, match=r"less than 122\.88 s"):
        Engine(tiny).add(DecodeRequest(20_000, constraints=Constraints(grid=every(25))))
    chords = tuple(ChordSpan(start, frozenset({start % 12}), "") for start in range(1_024))
    with pytest.raises(SequenceError, match="fewer than 1,024 chords"):
        Engine(tiny).add(DecodeRequest(2_000, constraints=Constraints(chords=chords)))
