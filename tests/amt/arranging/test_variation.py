"""Which notes of a piece a variation keeps."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from amt.arranging.plan import infill
from amt.arranging.variation import find_strengths, vary
from amt.decoding.sequence import Sequence
from amt.errors import ArrangementError, NoNotesError
from amt.midi import codec
from amt.midi.grid import Grid
from amt.midi.notes import Note
from tests.conftest import GOLDEN

CASTLE = codec.read_notes((GOLDEN / "midi/easyrpg_castle1.mid").read_bytes())
END = max(note.onset + note.duration for note in CASTLE)
STRENGTHS = find_strengths(CASTLE)

EIGHTHS = Grid(np.arange(0, 2_000, 25), np.arange(0, 20_000, 250.0), np.array([3, 1, 2, 1, 2, 1, 2, 1] * 10, np.int8))


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, END - 500),
    st.integers(100, 500),
    st.sampled_from([None, *sorted({note.instrument for note in CASTLE})]),
    st.floats(0, 1),
    st.integers(0, 2**63 - 1),
)
def test_the_share_of_the_varied_notes_that_was_asked_for_stays(
    start: int, length: int, instrument: int | None, similarity: float, seed: int
) -> None:
    instruments = None if instrument is None else {instrument}
    end = start + length
    varied = [
        note for note in CASTLE if start <= note.onset < end and (instrument is None or note.instrument == instrument)
    ]
    if not varied:
        with pytest.raises(NoNotesError, match="nothing to vary"):
            vary(CASTLE, start, end, instruments, similarity, seed, STRENGTHS)
        return
    plan = vary(CASTLE, start, end, instruments, similarity, seed, STRENGTHS)
    replaced = Counter(CASTLE) - Counter(plan.kept)
    assert len(plan.kept) == len(CASTLE) - replaced.total()
    assert replaced.total() == len(varied) - round(similarity * len(varied))
    assert not replaced - Counter(varied)


def test_the_notes_of_the_strongest_beats_stay() -> None:
    notes = [Note(25 * step, 25, 60, 0) for step in range(80)]
    strengths = find_strengths(notes, EIGHTHS)
    plan = vary(notes, 0, 2_000, None, 0.5, 1, strengths)
    assert Counter(note.onset % 200 // 25 for note in plan.kept) == {0: 10, 2: 10, 4: 10, 6: 10}


def test_seeds_choose_among_notes_of_equal_strength() -> None:
    kept = {tuple(vary(CASTLE, 0, 2_000, None, 0.5, seed, STRENGTHS).kept) for seed in range(5)}
    assert len(kept) == 5
    again = vary(CASTLE, 0, 2_000, None, 0.5, 3, STRENGTHS)
    assert again == vary(CASTLE, 0, 2_000, None, 0.5, 3, STRENGTHS)


def test_all_but_one_chord_stay_or_go_as_a_whole() -> None:
    chords = [Note(50 * step, 50, pitch, 0) for step in range(40) for pitch in (60, 64, 67)]
    for seed in range(5):
        kept = Counter(
            note.onset for note in vary(chords, 0, 2_000, None, 0.4, seed, dict.fromkeys(range(0, 2_000, 50), 0)).kept
        )
        assert sum(count < 3 for count in kept.values()) <= 1


def test_a_variation_that_keeps_all_has_no_time_for_new_notes() -> None:
    plan = vary(CASTLE, 0, END, None, 1, 0, STRENGTHS)
    assert Counter(plan.kept) == Counter(CASTLE)
    assert plan.start_ticks == plan.end_ticks
    assert plan.length_ticks == END
    Sequence(plan.request())


def test_a_whole_piece_can_be_varied_with_nothing_kept() -> None:
    plan = vary(CASTLE, 0, END, None, 0, 0, STRENGTHS)
    assert (plan.kept, plan.prompt, plan.controls) == ([], [], [])
    Sequence(plan.request())


def test_a_variation_without_similarity_is_an_infill_of_its_span() -> None:
    assert vary(CASTLE, 400, 900, None, 0, 7, STRENGTHS) == infill(CASTLE, 400, 900)


def test_a_span_past_the_end_is_refused_whatever_stays() -> None:
    for similarity in (0, 1):
        with pytest.raises(ArrangementError, match=r"end_seconds must be in range 0\.\."):
            vary(CASTLE, 0, END + 1, None, similarity, 0, STRENGTHS)


def test_notes_near_a_line_have_its_strength_and_others_none() -> None:
    notes = [Note(onset, 10, 60, 0) for onset in (0, 24, 51, 100, 62, 201, 210)]
    assert find_strengths(notes, EIGHTHS) == {0: 3, 24: 1, 51: 2, 100: 2, 62: 0, 201: 3, 210: 0}


def test_freely_played_notes_have_the_strength_of_the_beat_that_they_keep_themselves() -> None:
    beats = [Note(13 + 61 * step, 20, 60, 0) for step in range(30)]
    between = Note(13 + 61 * 20 + 30, 20, 72, 0)
    strengths = find_strengths([*beats, between], EIGHTHS)
    assert [strengths[note.onset] for note in [*beats[20:], between]] == [2] * 10 + [0]
