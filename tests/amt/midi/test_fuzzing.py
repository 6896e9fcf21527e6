"""Two thousand damaged files: each is read or refused, soon, and with no fewer notes than mido finds."""

import random
import time
from io import BytesIO

import mido
import pytest

from amt.errors import MidiError
from amt.midi.codec import read_notes, read_piece, write_piece
from amt.midi.tracks import find_tracks
from tests.amt.midi.building import control, note, on, song
from tests.amt.midi.damaging import damaged_files, valid_files

MAX_SECONDS = 5
"""Far more than a file of this size takes, on any machine: what takes longer hangs."""


def notes_that_mido_finds(data):
    """How many notes mido finds in front of the first end of each track; 0 if it does not read the file at all."""
    try:
        file = mido.MidiFile(file=BytesIO(data), clip=True)
    except Exception:  # of many kinds
        return 0
    found = 0
    for track in file.tracks:
        for message in track:
            if message.type == "end_of_track" and message is not track[-1]:
                break
            found += message.type == "note_on" and message.velocity > 0
    return found


@pytest.mark.parametrize("seed", range(20))
def test_a_hundred_damaged_files_are_read_or_refused_with_all_notes_that_mido_finds(seed):
    for data in damaged_files(seed, 100):
        begun = time.monotonic()
        try:
            piece = read_piece(data)
        except MidiError:
            continue
        finally:
            assert time.monotonic() - begun < MAX_SECONDS
        n_doubled = sum(int(notice.split()[0]) for notice in piece.notices if "second arrangement" in notice)
        assert len(piece.notes) + n_doubled >= notes_that_mido_finds(data), data.hex()


@pytest.mark.parametrize("seed", range(5))
def test_damaged_files_are_given_back_with_all_notes(seed):
    for data in damaged_files(100 + seed, 60):
        try:
            piece = read_piece(data)
        except MidiError:
            continue
        assert len(find_tracks(piece.score).of_notes) == len(piece.notes)
        answer = write_piece(piece, piece.notes, [], piece.length_ticks, piece.timing)
        mido.MidiFile(file=BytesIO(answer))
        assert len(read_notes(answer)) == len(piece.notes), data.hex()


def test_the_files_that_are_damaged_are_valid():
    assert all(notes_that_mido_finds(data) <= len(read_notes(data)) for data in valid_files())


def many(*events):
    """A hundred thousand bytes of some timed messages, again and again."""
    size = len(song(list(events))) - len(song([]))
    return [
        event._replace(tick=event.tick + 100 * round_)
        for round_ in range(100_000 // size)
        for event in events
    ]  # fmt: skip


@pytest.mark.parametrize(
    "tracks",
    [
        pytest.param([many(on(0, 60))], id="one key, never closed"),
        pytest.param([many(on(0, 60), control(50, 123, 0))], id="all notes off, again and again"),
        pytest.param([many(*note(0, 50, 60))], id="one key, closed each time"),
        pytest.param([many(on(0, 60)), many(*note(0, 50, 60))], id="one key, never closed in another track"),
        pytest.param([[on(0, 60)] for _ in range(4_000)], id="thousands of tracks with one open key"),
        pytest.param([[on(0, key) for key in range(128)], many(control(0, 123, 0))], id="all notes off for nothing"),
        pytest.param([many(control(0, 64, 127), *note(10, 20, 60), control(30, 64, 0))], id="the pedal"),
    ],
)
@pytest.mark.parametrize("file_type", [1, 2])
def test_hostile_files_are_read_soon(tracks, file_type):
    data = song(*tracks, file_type=file_type)
    begun = time.monotonic()
    read_piece(data, sustained=True)
    assert time.monotonic() - begun < MAX_SECONDS


def test_open_notes_that_end_in_the_order_of_their_beginning_are_read_soon():
    keys = random.Random(0).choices(range(128), k=20_000)
    data = song([*(on(0, key) for key in keys), *(control(10, 7, 1),), *(on(20, key, velocity=0) for key in keys)])
    begun = time.monotonic()
    assert len(read_notes(data)) == 20_000
    assert time.monotonic() - begun < MAX_SECONDS
