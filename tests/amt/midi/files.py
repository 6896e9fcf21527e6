"""Files and readers that the tests of reading and of writing share."""

import json
import struct
from collections import defaultdict, deque
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import mido
import pytest

from amt.midi.codec import read_notes, write_notes
from amt.midi.notes import DRUMS, Note
from tests.conftest import GOLDEN

CASES = json.loads((GOLDEN / "midi_to_events.json").read_text())


class Difference(NamedTuple):
    """How a note of a golden file is read, and how the reference reads it; durations in ticks of 10 ms."""

    ours: int
    theirs: int
    reason: str


UNCLOSED = "never closed: it sounds until its track ends, where the reference takes 0.25 s"
DIFFERENCES = {"midi/unclosed_notes.mid": {0: Difference(542, 25, UNCLOSED), 2: Difference(500, 25, UNCLOSED)}}
"""All notes of the golden files that are read otherwise than by the reference, by their number in the file."""


def as_the_reference_reads(file):
    """Return the notes of a golden file with the durations that the reference finds."""
    notes = read_notes((GOLDEN / file).read_bytes())
    for number, difference in DIFFERENCES.get(file, {}).items():
        notes[number] = notes[number]._replace(duration=difference.theirs)
    return notes


each_file = pytest.mark.parametrize("case", CASES, ids=lambda case: Path(case["file"]).stem)


def contents(case):
    return (GOLDEN / case["file"]).read_bytes()


def read_with_mido(file):
    """Return the notes that mido's reader and a plain loop find; a note-off ends the oldest open note."""
    notes = []
    sounding = defaultdict(deque)
    programs = defaultdict(int)
    seconds = 0.0
    for message in file:
        seconds += message.time
        if message.type == "program_change":
            programs[message.channel] = message.program
        elif message.type in ("note_on", "note_off"):
            instrument = DRUMS if message.channel == 9 else programs[message.channel]
            open_notes = sounding[message.channel, instrument, message.note]
            if message.type == "note_on" and message.velocity:
                open_notes.append((len(notes), seconds))
                notes.append(Note(round(100 * seconds), 25, message.note, instrument, message.velocity))
            elif open_notes:
                index, onset_seconds = open_notes.popleft()
                notes[index] = notes[index]._replace(duration=round(100 * (seconds - onset_seconds)))
    return notes


def round_trip(notes):
    """Return the notes that our reader finds in the file that we write; mido must find the same."""
    data = write_notes(notes)
    found = read_notes(data)
    assert found == read_with_mido(mido.MidiFile(file=BytesIO(data)))
    return found


def midi_file(*tracks, file_type=1, division=500):
    """Return a file of raw tracks; at 500 file ticks per quarter note and 120 bpm a file tick is 1 ms."""
    header = b"MThd" + struct.pack(">IhhH", 6, file_type, len(tracks), division)
    return header + b"".join(b"MTrk" + struct.pack(">I", len(track)) + track for track in tracks)


def hexdump(*lines):
    """Return the bytes that lines of hexadecimal digits stand for; comments begin with #."""
    return b"".join(bytes.fromhex(line.split("#")[0]) for line in lines)


def variable_length(value):
    """Return a variable-length quantity of four bytes."""
    return bytes([*(value >> shift & 0x7F | 0x80 for shift in (21, 14, 7)), value & 0x7F])
