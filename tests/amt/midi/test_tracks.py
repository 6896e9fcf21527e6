import pytest

from amt.errors import ArrangementError
from amt.midi import codec
from amt.midi.notes import Note
from amt.midi.score import read_score
from amt.midi.tracks import Tracks, find_tracks
from tests.conftest import GOLDEN

TYPE_0 = bytes.fromhex(
    "4d546864 00000006 0000 0001 01e0"  # type 0, 480 ticks a quarter note
    "4d54726b 00000022"
    "00 ff03 03 c37265"  # name, in Latin-1
    "00 93 3c 50"  # channel 4
    "00 90 40 50"  # channel 1
    "8360 83 3c 40"
    "00 80 40 40"
    "00 93 43 50"
    "00 ff2f 00"
)
PAIR = [Note(0, 50, 60, 0), Note(0, 50, 64, 40), Note(50, 50, 62, 0)]


@pytest.mark.parametrize("path", sorted((GOLDEN / "midi").glob("*.mid")), ids=lambda path: path.stem)
def test_every_note_has_a_track(path) -> None:
    data = path.read_bytes()
    tracks = find_tracks(read_score(data))
    assert len(tracks.of_notes) == len(codec.read_notes(data))
    assert set(tracks.of_notes) == set(range(len(tracks.names)))


def test_tracks_without_notes_are_not_counted() -> None:
    assert find_tracks(read_score(codec.write_notes(PAIR))) == Tracks(["Acoustic Grand Piano", "Violin"], [0, 1, 0])


def test_the_channels_of_a_type_0_file_are_read_as_tracks() -> None:
    assert find_tracks(read_score(TYPE_0)) == Tracks(["Ãre", "Ãre"], [1, 0, 1])


def test_tracks_are_found_by_number_from_one_and_by_name_in_any_case() -> None:
    tracks = Tracks(["Voice", "Piano", "piano "], [])
    assert tracks.find(1) == {0}
    assert tracks.find("PIANO") == {1, 2}


@pytest.mark.parametrize("wanted", [0, 4, -1, "", "Voi ce"])
def test_an_unknown_track_is_refused_with_a_list_of_the_tracks(wanted: int | str) -> None:
    with pytest.raises(ArrangementError, match="those that hold notes are 1 'Voice', 2 'Piano'"):
        Tracks(["Voice", "Piano"], []).find(wanted)
