"""Whatever the bytes are, a file is read or refused, and quickly."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from amt.errors import MidiError
from amt.midi.codec import MAX_FILE_SECONDS, read_notes, read_piece, write_notes
from amt.midi.notes import DRUMS
from tests.amt.midi.files import CASES, contents, midi_file

LARGE = 200_000


@pytest.mark.parametrize(
    ("start", "repeated", "n_notes"),
    [
        ("00 90 3C 40", "01 3C 40", 66_667),  # note-ons of one pitch, none ever switched off
        ("00 99 26 40", "01 26 00 00 26 40", 33_334),  # one drum, hit again whenever it ends
        ("", "00 FF 51 03 01 02 03", 0),  # tempo changes
        ("00 C0 01", "00 01", 0),  # program changes
        ("", "00 FF 59 02 0B 02", 0),  # bad key signatures
        ("", "00 F6", 0),  # the shortest messages that there are
    ],
)
def test_large_hostile_tracks_are_read(start, repeated, n_notes):
    unit = bytes.fromhex(repeated)
    assert len(read_notes(midi_file(bytes.fromhex(start) + unit * (LARGE // len(unit))))) == n_notes


@pytest.mark.parametrize(
    "chunk",
    [
        "4D 54 72 6B 00 00 00 00",  # an empty track
        "4D 54 72 6B FF FF FF FF",  # that claims the whole file and more
        "4D 54 72 6B FF FF FF FF 00 FF 2F 00",  # with an end
    ],
)
def test_thousands_of_tracks_are_read(chunk):
    unit = bytes.fromhex(chunk)
    assert read_notes(midi_file() + unit * (LARGE // len(unit))) == []


def read_or_refused(data):
    """Return the notes, after checking the range of each field; None if the file is refused."""
    try:
        notes = read_notes(data)
    except MidiError:
        return None
    for onset, duration, pitch, instrument, velocity in notes:
        assert 0 <= onset <= 100 * MAX_FILE_SECONDS
        assert duration >= 0
        assert pitch in range(128)
        assert instrument in range(DRUMS + 1)
        assert velocity in range(1, 128)
    return notes


SMALL_FILES = [contents(case) for case in CASES if len(contents(case)) < 3_000]


edits = st.one_of(
    st.tuples(st.just("flip"), st.integers(0, 2_999), st.integers(0, 7)),
    st.tuples(st.just("put"), st.integers(0, 2_999), st.sampled_from(b"\x00\x2f\x51\x7f\x80\x90\xc0\xf0\xf7\xff")),
    st.tuples(st.just("cut"), st.integers(0, 2_999), st.integers(1, 40)),
    st.tuples(st.just("copy"), st.integers(0, 2_999), st.integers(1, 400)),
    st.tuples(st.just("insert"), st.integers(0, 2_999), st.binary(min_size=1, max_size=12)),
    st.tuples(st.just("end"), st.integers(0, 2_999), st.none()),
)


def damaged(data, edits):
    """Return the data with a number of edits made to them."""
    data = bytearray(data)
    for kind, position, what in edits:
        place = position % (len(data) + 1)
        if kind == "flip" and place < len(data):
            data[place] ^= 1 << what
        elif kind == "put":
            data[place : place + 1] = bytes([what])
        elif kind == "cut":
            del data[place : place + what]
        elif kind == "copy":
            data[place:place] = data[place : place + what]
        elif kind == "insert":
            data[place:place] = what
        elif kind == "end":
            del data[place:]
    return bytes(data)


@given(st.sampled_from(SMALL_FILES), st.lists(edits, min_size=1, max_size=12))
@settings(max_examples=200, deadline=None)
def test_damaged_files_are_read_or_refused(data, damage):
    notes = read_or_refused(damaged(data, damage))
    if notes:
        assert len(read_notes(write_notes(notes))) == len(notes)
        timing = read_piece(damaged(data, damage)).timing
        assert len(read_notes(write_notes(notes, timing=timing))) == len(notes)


@given(st.sampled_from(SMALL_FILES), st.lists(edits, min_size=1, max_size=12))
@settings(max_examples=200, deadline=None)
def test_files_damaged_after_their_header_are_read_or_refused(data, damage):
    read_or_refused(data[:14] + damaged(data[14:], damage))


@given(
    st.integers(0, 3),
    st.sampled_from([1, 96, 480, 0x7FFF, 0xE728, 0xE264]),
    st.sampled_from([b"MTrk\x00\x00\x01\x00", b"MTrk\x7f\xff\xff\xff", b"MTrk\x00\x00\x01\x00\x00\x90\x3c\x40", b""]),
    st.binary(max_size=400),
)
@settings(max_examples=200, deadline=None)
def test_random_bytes_after_a_header_are_read_or_refused(file_type, division, start, noise):
    read_or_refused(midi_file(file_type=file_type, division=division) + start + noise)


@given(st.binary(max_size=200))
@settings(max_examples=100, deadline=None)
def test_random_bytes_are_refused(noise):
    with pytest.raises(MidiError):
        read_notes(noise)
