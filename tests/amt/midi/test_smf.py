"""Files are commented hexdumps, as in the tests of mido."""

import re
import struct
from itertools import islice

import pytest

from amt.errors import MidiError
from amt.midi import smf
from amt.midi.kinds import META, NOTE_OFF, NOTE_ON, OTHER, PROGRAM_CHANGE, SYSEX, TEMPO, TIME_SIGNATURE
from amt.midi.smf import DEFAULT_TEMPO, Message


def parse(hexdump):
    return bytes.fromhex(re.sub(r"#.*", "", hexdump))


def chunk(name, body):
    return name + struct.pack(">I", len(body)) + body


def file(*tracks, file_type=1, division="01 E0"):
    header = chunk(b"MThd", struct.pack(">hh", file_type, len(tracks)) + bytes.fromhex(division))
    return header + b"".join(chunk(b"MTrk", parse(track)) for track in tracks)


def tracks(data):
    """Return the messages of each track of a file, without the places of their payloads."""
    read = smf.read(data)
    rows = (message._replace(begin=0, end=0) for message in read.messages.rows())
    found = [list(islice(rows, length)) for length in read.track_lengths]
    assert not list(rows)
    return found


def messages(track):
    """Return the messages of a file with this one track."""
    return tracks(file(track))[0]


def payloads(track, kind):
    """The payloads of the messages of a kind in a file with this one track."""
    read = smf.read(file(track))
    return [read.data[message.begin : message.end] for message in read.messages.rows() if message.kind == kind]


END = "00 FF 2F 00"

ONE_NOTE = """
00 90 3C 40     # note on, middle C, velocity 64
83 60 80 3C 00  # 480 ticks later: note off
00 FF 2F 00     # end of track
"""
ITS_MESSAGES = [Message(0, NOTE_ON, 0, 60, 64), Message(480, NOTE_OFF, 0, 60, 0)]


def test_a_whole_file_is_read():
    hexdump = """
    4D 54 68 64           # MThd
    00 00 00 06           # 6 bytes
    00 01                 # type 1
    00 02                 # two tracks
    00 60                 # 96 ticks a quarter note

    4D 54 72 6B           # MTrk
    00 00 00 0B           # 11 bytes
    00 FF 51 03 0F 42 40  # tempo: 1 s a quarter note
    00 FF 2F 00           # end of track

    4D 54 72 6B           # MTrk
    00 00 00 0F           # 15 bytes
    00 C3 05              # channel 4: program 5
    0A 93 3C 40           # 10 ticks later: note on
    60 83 3C 20           # 96 ticks later: note off
    00 FF 2F 00           # end of track
    """
    read = smf.read(parse(hexdump))
    assert (read.type, read.ticks_per_beat, read.seconds_per_tick) == (1, 96, None)
    assert tracks(parse(hexdump)) == [
        [Message(0, TEMPO, data1=1_000_000)],
        [
            Message(0, PROGRAM_CHANGE, 3, 5),
            Message(10, NOTE_ON, 3, 60, 64),
            Message(106, NOTE_OFF, 3, 60, 32),
        ],
    ]


@pytest.mark.parametrize("file_type", [0, 1, 2])
def test_all_three_types_are_read(file_type):
    data = file(ONE_NOTE, file_type=file_type)
    assert (smf.read(data).type, tracks(data)) == (file_type, [ITS_MESSAGES])


def test_a_riff_wrapper_is_skipped():
    inside = file(ONE_NOTE)
    wrapped = b"RMID" + b"data" + struct.pack("<I", len(inside)) + inside
    assert tracks(b"RIFF" + struct.pack("<I", len(wrapped)) + wrapped) == tracks(inside)


def test_running_status_repeats_the_last_status():
    track = """
    00 90 3C 40  # note on
    60 3C 00     # and again, with velocity 0
    00 3E 40
    """
    assert messages(track) == [
        Message(0, NOTE_ON, 0, 60, 64),
        Message(96, NOTE_ON, 0, 60, 0),
        Message(96, NOTE_ON, 0, 62, 64),
    ]


def test_running_status_holds_after_a_meta_message():
    track = """
    00 90 3C 40           # note on
    00 FF 01 03 61 62 63  # text: abc
    60 3C 00              # note on with velocity 0
    """
    assert messages(track) == [
        Message(0, NOTE_ON, 0, 60, 64),
        Message(0, META | 0x01),
        Message(96, NOTE_ON, 0, 60, 0),
    ]


@pytest.mark.parametrize(
    "ignored",
    [
        "A0 3C 40",  # polyphonic pressure
        "B0 40 7F",  # pedal
        "D0 40",  # channel pressure
        "E0 00 40",  # pitch wheel
        "F0 05 7E 7F 09 01 F7",  # system exclusive: General MIDI on
        "F0 03 7E 7F 09",  # without its end
        "F7 03 F3 01 F8",  # escaped bytes
        "F1 40",  # time code quarter frame
        "F2 00 40",  # song position
        "F3 01",  # song select
        "F6",  # tune request
        "F8",  # clock
        "FE",  # active sensing
        "F4",  # undefined
        "FF 01 02 61 62",  # text
        "FF 59 02 00 00",  # key signature
        "FF 59 02 0B 02",  # bad key signature: eleven sharps, mode 2
        "FF 59 01 00",  # bad key signature: one byte
        "FF 58 02 04 02",  # bad time signature: two bytes
        "FF 54 05 FF FF FF FF FF",  # bad SMPTE offset
        "FF 00 00",  # sequence number that is not there
        "FF 20 01 99",  # channel prefix over 15
        "FF 7F 03 00 00 41",  # sequencer's own
        "FF 6E 02 01 02",  # unknown
        "FF 51 02 07 A1",  # tempo of two bytes
        "FF 51 03 00 00 00",  # tempo of nothing
    ],
)
def test_other_messages_take_their_time_and_hide_no_note_whatever_they_hold(ignored):
    first, *others = messages(f"0A {ignored} {ONE_NOTE}")
    assert (first.tick, first.kind in (NOTE_ON, NOTE_OFF)) == (10, False)
    assert others == [
        Message(10, NOTE_ON, 0, 60, 64),
        Message(490, NOTE_OFF, 0, 60, 0),
    ]


def test_the_bytes_of_a_time_signature_are_kept_unchecked():
    track = """
    0A FF 58 04 06 03 24 08  # 6/8
    00 FF 58 04 00 FF 00 00  # nonsense
    """
    assert messages(track) == [
        Message(10, TIME_SIGNATURE, data1=0x06032408),
        Message(10, TIME_SIGNATURE, data1=0x00FF0000),
    ]


def test_a_data_byte_over_127_is_read_as_127():
    track = """
    00 C0 80     # program
    00 90 FE 40  # pitch
    00 90 3C FF  # velocity
    00 90 3E 40
    """
    assert messages(track) == [
        Message(0, PROGRAM_CHANGE, 0, 127),
        Message(0, NOTE_ON, 0, 127, 64),
        Message(0, NOTE_ON, 0, 60, 127),
        Message(0, NOTE_ON, 0, 62, 64),
    ]


@pytest.mark.parametrize("cut", range(1, 8))
def test_the_messages_before_the_cut_of_a_file_are_kept(cut):
    """The last 9 bytes are the note off and the end of track."""
    whole = file(ONE_NOTE)
    found = tracks(whole[:-cut])[0]
    assert found == (ITS_MESSAGES if cut <= 4 else ITS_MESSAGES[:1])


@pytest.mark.parametrize("length", ["00 00 10 00", "7F FF FF FF", "FF FF FF FF"])
def test_a_chunk_that_claims_more_than_the_file_ends_with_its_end_of_track(length):
    data = file() + parse(f"4D 54 72 6B {length} {ONE_NOTE}") + file(ONE_NOTE, ONE_NOTE)[14:]
    assert tracks(data) == [ITS_MESSAGES] * 3


@pytest.mark.parametrize("others", [0, 1])
@pytest.mark.parametrize("claimed", range(13))
def test_a_chunk_that_claims_too_little_ends_with_its_end_of_track(claimed, others):
    """The 13 bytes of the track are cut within messages, and between them."""
    data = file() + parse(f"4D 54 72 6B 00 00 00 {claimed:02X} {ONE_NOTE}") + others * file(ONE_NOTE)[14:]
    assert tracks(data) == [ITS_MESSAGES] * (1 + others)
    assert f"track 1 claims {13 - claimed} byte" in smf.read(data).notices[-1]


@pytest.mark.parametrize("surplus", range(1, 60))
def test_a_chunk_that_claims_too_much_costs_no_track_behind_it(surplus):
    """The claimed end is within the second track, at its end, or behind the file."""
    data = file() + parse(f"4D 54 72 6B 00 00 00 {13 + surplus:02X} {ONE_NOTE}") + file(ONE_NOTE, ONE_NOTE)[14:]
    assert tracks(data) == [ITS_MESSAGES] * 3
    assert f"track 1 claims {surplus} byte{'s' * (surplus > 1)} too many" in smf.read(data).notices


def test_notes_that_look_like_the_name_of_a_chunk_do_not_end_a_track_that_claims_too_little():
    """Without a length that fits into the file they are no chunk."""
    many = "00 90 3C 40" + 30 * "30 3C 40"  # printable, all of it
    data = file() + parse(f"4D 54 72 6B 00 00 00 08 {many} {END}")
    assert len(tracks(data)[0]) == 31


def test_what_comes_behind_an_end_of_track_is_no_music():
    data = file(f"10 FF 2F 00 {ONE_NOTE}", ONE_NOTE)
    assert tracks(data) == [[], ITS_MESSAGES]
    assert smf.read(data).notices == ["track 1 has 13 bytes behind its end that are not read"]
    assert smf.read(data).track_ends == [16, 480]


def test_a_track_header_within_a_system_exclusive_message_begins_no_track():
    inside = "4D 54 72 6B 00 00 00 04 00 FF 2F 00"
    data = file(f"00 F0 0D {inside} F7 {ONE_NOTE}", ONE_NOTE)
    assert [track[-2:] for track in tracks(data)] == [ITS_MESSAGES] * 2
    assert payloads(f"00 F0 0D {inside} F7 {ONE_NOTE}", SYSEX) == [parse(inside + "F7")]


def test_a_track_within_a_chunk_of_another_kind_is_no_track_of_the_song():
    data = file() + chunk(b"XTRA", file(ONE_NOTE)[14:]) + file(ONE_NOTE)[14:]
    assert tracks(data) == [ITS_MESSAGES]


def test_a_chunk_of_another_kind_that_claims_more_than_the_file_hides_no_track():
    data = file() + b"XTRA" + struct.pack(">I", 10_000) + b"text" + file(ONE_NOTE)[14:]
    assert tracks(data) == [ITS_MESSAGES]


@pytest.mark.parametrize("padding", [b"\0", b"\0\0\0", b"\xff" * 5])
def test_padding_between_chunks_is_passed_over(padding):
    data = file() + file(ONE_NOTE)[14:] + padding + file(ONE_NOTE)[14:] + padding
    assert tracks(data) == [ITS_MESSAGES] * 2


def test_a_track_needs_no_end_of_track():
    assert messages(ONE_NOTE.replace(END, "")) == ITS_MESSAGES


def test_unknown_chunks_are_skipped():
    junk = chunk(b"XFIH", b"karaoke")
    data = file() + junk + file(ONE_NOTE)[14:] + junk + file(ONE_NOTE)[14:] + junk
    assert tracks(data) == [ITS_MESSAGES, ITS_MESSAGES]


def test_the_number_of_tracks_in_the_header_is_ignored():
    data = file(ONE_NOTE, ONE_NOTE)
    wrong = data[:10] + b"\x00\x09" + data[12:]
    assert tracks(wrong) == tracks(data)
    assert smf.read(wrong).notices == ["the header claims 9 tracks: there are 2"]


@pytest.mark.parametrize("file_type", [0, 3, 0xFFFF])
def test_several_tracks_sound_together_whatever_type_the_header_claims(file_type):
    data = file(ONE_NOTE, ONE_NOTE, file_type=file_type - 0x10000 * (file_type > 0x7FFF))
    assert (smf.read(data).type, tracks(data)) == (1, [ITS_MESSAGES] * 2)
    assert smf.read(data).notices == [
        f"the header says type {file_type}: the tracks are read as sounding together, as in type 1"
    ]


@pytest.mark.parametrize("claimed", [0, 4, 5, 7, 10, 14, 18, 1_000, 0xFFFFFFFF])
def test_a_header_that_claims_another_length_costs_no_track(claimed):
    data = file(ONE_NOTE, ONE_NOTE)
    assert tracks(data[:4] + struct.pack(">I", claimed) + data[8:]) == tracks(data)


def test_the_rest_of_a_longer_header_is_skipped():
    header = chunk(b"MThd", parse("00 01 00 01 01 E0  DE AD BE EF"))
    assert tracks(header + file(ONE_NOTE)[14:]) == tracks(file(ONE_NOTE))


def test_data_bytes_without_a_status_stop_their_track_only():
    assert tracks(file("00 3C 40", ONE_NOTE)) == [[], ITS_MESSAGES]


def test_a_message_that_reaches_past_its_chunk_is_not_read():
    assert tracks(file("00 90 3C", ONE_NOTE)) == [[], ITS_MESSAGES]


def test_a_meta_message_that_reaches_past_its_chunk_does_not_hide_the_next_track():
    assert tracks(file("00 FF 01 7F 61", ONE_NOTE)) == [[Message(0, OTHER)], ITS_MESSAGES]


def test_texts_and_system_exclusive_messages_know_where_their_payload_is():
    track = "00 FF 05 02 4C 61  00 F0 03 7E 09 F7  00 FF 05 00"
    assert (payloads(track, META | 0x05), payloads(track, SYSEX)) == ([b"La", b""], [b"\x7e\x09\xf7"])


@pytest.mark.parametrize(
    ("quantity", "ticks"),
    [
        ("00", 0),
        ("7F", 127),
        ("81 00", 128),
        ("FF 7F", 16_383),
        ("FF FF FF 7F", 268_435_455),
        ("80 80 80 05", 5),
        ("80 80 80 80 80 85 05", 645),
        ("FF FF FF FF 7F", 268_435_455),
    ],
)
def test_a_variable_length_quantity_has_one_to_four_bytes_or_more(quantity, ticks):
    assert messages(f"{quantity} 90 3C 40")[0].tick == ticks


@pytest.mark.parametrize(
    ("division", "seconds"),
    [
        ("E8 50", 1 / (24 * 80)),
        ("E7 28", 1 / 1_000),  # 25 frames a second of 40 ticks
        ("E3 64", 1_001 / (30_000 * 100)),  # 29 means 29.97, "drop frame"
        ("E2 64", 1 / (30 * 100)),
    ],
)
def test_a_division_can_count_smpte_frames(division, seconds):
    read = smf.read(file(ONE_NOTE, division=division))
    assert read.tick_seconds(DEFAULT_TEMPO) == read.tick_seconds(1) == pytest.approx(seconds)


def test_a_division_counts_ticks_a_quarter_note():
    assert smf.read(file(ONE_NOTE, division="01 E0")).tick_seconds(480_000) == pytest.approx(0.001)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "MThd"),
        (b"MThd", "cut short"),
        (b"Dear listener, this is not a MIDI file.", "MThd"),
        (b"\x89PNG\r\n\x1a\n" + bytes(100), "MThd"),
        (bytes(1_000), "MThd"),
        (b"RIFF\x24\x08\x00\x00WAVEfmt " + bytes(100), "MThd"),
        (b"RIFF" + bytes(8) + b"RMIDdata" + bytes(4) + b"MThd\x00", "cut short"),
        (file()[:13], "cut short"),
        (file(), "no track"),
        (file() + b"MTr", "no track"),
        (file() + chunk(b"XFIH", b"karaoke"), "no track"),
        (file(ONE_NOTE, division="00 00"), "0 ticks a quarter note: it must be in range 1..32767"),
        (file(ONE_NOTE, division="E7 00"), "SMPTE time code: 25 x 0"),
        (file(ONE_NOTE, division="80 50"), "SMPTE time code: 128 x 80"),
    ],
)
def test_bytes_that_cannot_be_read_are_refused_with_the_reason(data, reason):
    with pytest.raises(MidiError, match=re.escape(reason)):
        smf.read(data)


def test_a_track_chunk_without_a_body_is_an_empty_track():
    assert tracks(file() + b"MTrk" + bytes(4)) == [[]]
    assert tracks(file("")) == [[]]
