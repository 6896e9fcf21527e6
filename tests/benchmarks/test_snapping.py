import numpy as np

from amt.harmony.chords import ChordSpan
from amt.midi.grid import Grid
from amt.midi.notes import DRUMS, Note
from amt.tokens import events as ev
from benchmarks.snapping import snap_onsets, snap_pitches, snap_to_scale

LINES = Grid(np.array([0, 10, 20]), np.array([0.0, 100, 200]), np.array([3, 0, 2], dtype=np.int8))


def test_onsets_go_to_the_nearest_line_and_equal_notes_become_one() -> None:
    notes = [Note(0, 5, 60, 0), Note(3, 5, 60, 0), Note(9, 5, 62, 0), Note(16, 5, 60, 0)]
    snapped = snap_onsets(ev.from_notes(notes), LINES)
    assert snapped.events[:, 0].tolist() == [0, 10, 20]
    assert snapped.moved == 20  # ms: (0 + 3 + 1 + 4) ticks of four notes
    assert snapped.merged == 0.25


def test_pitches_go_to_the_nearest_chord_tone_of_their_time_but_drums_stay() -> None:
    chords = [ChordSpan(0, frozenset({0, 4, 7}), "C"), ChordSpan(100, frozenset(), "N.C.")]
    notes = [Note(0, 5, 61, 0), Note(0, 5, 61, DRUMS), Note(50, 5, 66, 0), Note(100, 5, 61, 0)]
    snapped = snap_pitches(ev.from_notes(notes), chords)
    assert [note.pitch for note in ev.to_notes(snapped.events)] == [60, 61, 67, 61]
    assert snapped.moved == 0.5
    assert snapped.merged == 0


def test_pitches_stay_within_midi() -> None:
    snapped = snap_to_scale(ev.from_notes([Note(0, 5, 0, 0), Note(0, 5, 127, 0)]), frozenset({3, 4}))
    assert [note.pitch for note in ev.to_notes(snapped.events)] == [3, 124]
