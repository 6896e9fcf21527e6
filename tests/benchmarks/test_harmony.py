import numpy as np
import pytest

from amt.midi.notes import DRUMS, Note
from amt.midi.timing import Timing
from benchmarks import harmony


def chord(onset: int, duration: int, *pitches: int) -> list[Note]:
    return [Note(onset, duration, pitch, 0) for pitch in pitches]


def table_of(notes: list[Note]) -> harmony.Table:
    return harmony.sounding(harmony.Piece(b"", notes, Timing(), 0))


def test_the_fullest_part_has_most_notes_and_a_bare_melody_one_at_a_time() -> None:
    piano = [note for beat in range(8) for note in chord(beat * 50, 50, 48, 52, 55)]
    voice = [Note(beat * 50, 50, 72, 52) for beat in range(8)]
    bass = [Note(beat * 50, 50, 36, 32) for beat in range(8)]
    drums = [Note(tick, 5, 42, DRUMS) for tick in range(0, 400, 5)]
    notes = [*piano, *voice, *bass, *drums]
    assert harmony.fullest_part(notes) == 0
    assert harmony.bare_melody(notes) == 52
    assert harmony.bare_melody(piano) is None
    assert harmony.polyphony(piano) == 3


def test_notes_are_in_tune_with_what_sounds_at_their_onset() -> None:
    given = table_of([*chord(0, 1_000, 60, 64, 67), *chord(1_000, 1_000, 65, 69, 72)])
    c_then_f = [Note(600, 50, 76, 40), Note(1_200, 50, 77, 40)]
    assert harmony.in_tune(c_then_f, given).now == 1
    assert harmony.in_tune([note._replace(pitch=note.pitch + 1) for note in c_then_f[:1]], given).now == 0
    assert harmony.in_tune([note._replace(pitch=60) for note in c_then_f], given) == harmony.Share(1, 1)
    assert harmony.in_tune(c_then_f, given).moved < 0.8


def test_an_onset_just_ahead_of_a_change_is_in_tune_with_what_comes() -> None:
    given = table_of([*chord(0, 1_000, 60), *chord(1_000, 1_000, 62)])
    assert harmony.in_tune([Note(997, 50, 62, 40)], given).now == 1
    assert harmony.in_tune([Note(990, 50, 62, 40)], given).now == 0


def test_notes_to_silence_and_drums_do_not_count() -> None:
    given = table_of(chord(500, 100, 60))
    notes = [Note(550, 50, 60, 40), Note(900, 50, 61, 40), Note(550, 50, 61, DRUMS)]
    assert harmony.in_tune(notes, given).now == 1
    assert np.isnan(harmony.in_tune(notes[2:], given).now)


def test_whatever_a_composer_wrote_is_in_the_chords_that_it_implies() -> None:
    notes = [
        note for bar in range(10) for note in chord(bar * 200, 200, *(60 + pitch + bar % 2 * 5 for pitch in (0, 4, 7)))
    ]
    table = harmony.implied(harmony.Piece(b"", notes, Timing(), 0))
    assert set(np.flatnonzero(table[100])) == {0, 4, 7}
    assert set(np.flatnonzero(table[300])) == {5, 9, 0}
    assert harmony.in_tune(filter(harmony.is_new, notes), table).now == pytest.approx(1)
