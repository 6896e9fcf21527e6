from amt.arranging.melody import split_melody
from amt.midi.notes import Note
from amt.midi.tracks import Tracks

PIANO = [Note(0, 50, 60, 0), Note(50, 50, 62, 0)]
VIOLIN = [Note(0, 50, 64, 40)]
NOTES = [PIANO[0], *VIOLIN, PIANO[1]]


def test_the_melody_is_all_named_instruments_and_tracks() -> None:
    tracks = Tracks(["a", "b"], [0, 1, 0])
    assert split_melody(NOTES, tracks, ["piano"], []) == (PIANO, VIOLIN)
    assert split_melody(NOTES, tracks, [], ["b"]) == (VIOLIN, PIANO)
    assert split_melody(NOTES, tracks, [40], [1]) == (NOTES, [])


def test_all_notes_are_the_melody_if_none_is_named() -> None:
    assert split_melody(NOTES, Tracks(["a", "b"], [0, 1, 0]), [], []) == (NOTES, [])
