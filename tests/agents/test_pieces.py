from pathlib import Path
from typing import Any

import pytest

from agents.errors import PieceRefused
from agents.files import Files
from agents.pieces import MAX_NOTES, SENT_VELOCITY, take_piece, write_beats
from agents.summary import Analysis, say_description
from agents.words import pitch_name
from amt.errors import InstrumentError
from amt.midi.codec import read_piece, write_notes
from amt.midi.notes import DRUMS, TICKS_PER_SECOND
from tests.agents.conftest import MIDI

NOTES: list[dict[str, Any]] = [
    {"onset": 0, "duration": 1, "pitch": 60},
    {"onset": 0, "duration": 1, "pitch": 63},
    {"onset": 1.5, "duration": 0.5, "pitch": 67, "instrument": "Violin", "velocity": 100},
    {"onset": 4, "duration": 1, "pitch": 36, "instrument": "drums"},
]


def described(data: bytes, start_bar: int | None = None, end_bar: int | None = None) -> str:
    return "\n".join(say_description("it", Analysis(read_piece(data)).describe(start_bar, end_bar)))


def test_notes_in_beats_become_a_file_with_their_tempo_and_metre() -> None:
    piece = read_piece(write_beats(NOTES, 96, "3/4"))
    beat = TICKS_PER_SECOND * 60 / 96
    expected = [
        (0, round(beat), 60, 0, 80),
        (0, round(beat), 63, 0, 80),
        (round(1.5 * beat), round(beat / 2), 67, 40, 100),
        (round(4 * beat), round(beat), 36, DRUMS, 80),
    ]
    assert [tuple(note) for note in piece.notes] == expected
    summary = Analysis(piece).summary()
    assert (summary.bpm, summary.time_signature, summary.bars) == (96, "3/4", 2)


def test_a_velocity_that_is_not_said_is_the_services() -> None:
    from tasks.notes import SENT_VELOCITY as OF_THE_SERVICE  # what the other environment does not have

    assert OF_THE_SERVICE == SENT_VELOCITY


@pytest.mark.parametrize(
    ("note", "problem"),
    [
        ({"onset": 0, "duration": 1}, r"notes\[0\]: pitch: Field required"),
        ({"onset": -1, "duration": 1, "pitch": 60}, "onset: .*greater than or equal to 0"),
        ({"onset": 0, "duration": 0, "pitch": 60}, "duration: .*greater than 0"),
        ({"onset": 0, "duration": 1, "pitch": 128}, "pitch: .*less than or equal to 127"),
        ({"onset": 0, "duration": 1, "pitch": 60, "length": 2}, "length: Extra inputs"),
        ({"onset": 0, "duration": 1, "pitch": 60, "instrument": "strings"}, "is a family"),
        ({"onset": float("nan"), "duration": 1, "pitch": 60}, "onset"),
    ],
)
def test_a_note_that_is_none_is_refused(note: dict[str, Any], problem: str) -> None:
    with pytest.raises(PieceRefused, match=problem):
        write_beats([note], 120)


def test_what_is_wrong_with_a_piece_is_said(tmp_path: Path) -> None:
    files = Files(tmp_path)
    for midi, notes, bpm, metre, problem in (
        (None, None, None, None, "one of the two"),
        ("x", NOTES, None, None, "one of the two"),
        (None, [], None, None, f"1 to {MAX_NOTES} notes"),
        (None, NOTES * MAX_NOTES, None, None, f"1 to {MAX_NOTES} notes"),
        (None, NOTES, 5.0, None, "bpm must be in range 20..300"),
        (None, NOTES, None, "4/5", "time_signature must be like 3/4"),
        (None, NOTES, None, "four", "time_signature must be like 3/4"),
    ):
        with pytest.raises(PieceRefused, match=problem):
            take_piece(files, midi, notes, bpm, metre)
    with pytest.raises(InstrumentError, match="did you mean"):
        write_beats([NOTES[0] | {"instrument": "Violine"}], 120)


def test_a_small_piece_is_described_as_it_is() -> None:
    assert described(write_beats(NOTES, 96, "3/4"), 1, 3) == (
        "it: 2 bars, 3/4, 96 bpm, 3.1 s, fits C minor, 1.3 notes/s\n"
        "Acoustic Grand Piano: 2 notes, C4-Eb4\n"
        "Violin: 1 note, G4-G4\n"
        "Drums: 1 note\n"
        "chords: Cm | Cm\n"
        "bar 1: Acoustic Grand Piano 1: C4 Eb4 (1); Violin 2.5: G4 (0.5)\n"
        "bar 2: Drums 2: 36\n"
        "who plays in which bars:\n"
        "#. Acoustic Grand Piano\n"
        "#. Violin\n"
        ".# Drums\n"
        "notes (# begins, - sounds):\n"
        "   G4 ....#-..|........\n"
        "  Gb4 ........|........\n"
        "   F4 ........|........\n"
        "   E4 ........|........\n"
        "  Eb4 #--.....|........\n"
        "   D4 ........|........\n"
        "  Db4 ........|........\n"
        "   C4 #--.....|........\n"
        "drums ........|..#....."
    )


@pytest.mark.agents  # not because of the protocol: together they take a second
@pytest.mark.parametrize("path", sorted(MIDI.glob("*.mid")), ids=lambda path: path.stem)
def test_any_file_is_described_in_few_words(path: Path) -> None:
    data = path.read_bytes()
    if read_piece(data).notes:
        assert len(described(data)) < 4_000
        assert len(described(data, 1, 1_000_000)) < 12_000


def test_a_file_without_notes_is_described_too() -> None:
    assert described(write_notes([], 400)).startswith(
        "it: 1 bar, 4/4, 120 bpm, 0 s, fits no key, 0 notes/s\nchords: none\n"
    )


def test_pitches_have_the_names_of_their_key() -> None:
    assert [pitch_name(pitch) for pitch in (0, 60, 61, 127)] == ["C-1", "C4", "C#4", "G9"]
    assert pitch_name(61, flats=True) == "Db4"
