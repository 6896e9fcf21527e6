import struct
from io import BytesIO

import mido
import pytest

from amt.errors import MidiError
from amt.midi.codec import MAX_FILE_SECONDS, read_notes, read_piece
from amt.midi.notes import DRUMS, Note
from amt.midi.timing import TempoChange, TimeSignature, Timing
from amt.tokens import events as ev
from amt.tokens.vocab import DURATION
from tests.amt.midi.files import (
    CASES,
    DIFFERENCES,
    contents,
    each_file,
    hexdump,
    midi_file,
    read_with_mido,
    variable_length,
)
from tests.conftest import GOLDEN


@each_file
def test_tokens_match_the_reference_but_for_what_sounds_otherwise(case):
    expected = list(case["tokens"])
    for number, difference in DIFFERENCES.get(case["file"], {}).items():
        assert expected[3 * number + 1] == DURATION.offset + difference.theirs
        expected[3 * number + 1] = DURATION.offset + difference.ours
    assert ev.from_notes(read_notes(contents(case))).ravel().tolist() == expected


@each_file
def test_notes_match_those_that_mido_reads_but_for_what_sounds_otherwise(case):
    expected = read_with_mido(mido.MidiFile(GOLDEN / case["file"]))
    for number, difference in DIFFERENCES.get(case["file"], {}).items():
        assert expected[number].duration == difference.theirs
        expected[number] = expected[number]._replace(duration=difference.ours)
    assert read_notes(contents(case)) == expected


def test_files_in_smpte_frames_or_of_type_2_have_the_default_timing():
    tempo = hexdump("00 FF 51 03 01 00 00", "00 90 3C 40")
    assert read_piece(midi_file(tempo, division=0xE728)).timing == Timing()
    assert read_piece(midi_file(tempo, file_type=2, division=96)).timing == Timing()


def test_a_tempo_map_of_any_length_is_kept():
    timing = read_piece(midi_file(hexdump("01 FF 51 03 01 02 03", "01 FF 51 03 01 02 04") * 10_000)).timing
    assert len(timing.tempos) == 20_001


@pytest.mark.parametrize("bad", ["03 04 02 18", "04 00 02 18 08", "04 04 08 18 08", "04 04 FF 18 08"])
def test_a_bad_time_signature_is_ignored(bad):
    track = hexdump(f"00 FF 58 {bad}", "00 FF 58 04 06 03 24 08", "64 90 3C 40")
    assert read_piece(midi_file(track)).timing.signatures == (TimeSignature(0, 6, 8, 36),)


def test_of_two_changes_at_one_file_tick_the_later_counts():
    track = hexdump(
        "00 FF 51 03 01 02 03", "00 FF 58 04 03 02 18 08", "00 FF 51 03 06 05 04", "00 FF 58 04 04 02 18 08"
    )
    assert read_piece(midi_file(track)).timing == Timing(500, (TempoChange(0, 0x060504),), (TimeSignature(0, 4, 4),))


NOTE = hexdump("00 90 3C 40", "83 74 80 3C 00")  # 500 ms


def test_a_type_0_file_is_read_like_a_type_1_file():
    assert (
        read_notes(midi_file(NOTE, file_type=0)) == read_notes(midi_file(NOTE, file_type=1)) == [Note(0, 50, 60, 0, 64)]
    )


def test_tracks_of_a_type_1_file_sound_together():
    other = hexdump("00 C1 28", "0A 91 40 40", "0A 81 40 00")
    assert read_notes(midi_file(NOTE, other)) == [Note(0, 50, 60, 0, 64), Note(1, 1, 64, 40, 64)]


def test_patterns_of_a_type_2_file_follow_one_another():
    other = hexdump("0A 90 40 40", "0A 80 40 00")
    assert read_notes(midi_file(NOTE, other, NOTE, file_type=2)) == [
        Note(0, 50, 60, 0, 64),
        Note(51, 1, 64, 0, 64),
        Note(52, 50, 60, 0, 64),
    ]


def test_patterns_of_a_type_2_file_share_neither_programs_nor_open_notes():
    opened = hexdump("00 C0 28", "00 90 3C 40", "00 FF 51 03 01 00 00")
    closing = hexdump("64 80 3C 40", "00 90 3E 40", "64 80 3E 40")
    assert read_notes(midi_file(opened, closing, file_type=2)) == [
        Note(0, 0, 60, 40, 64),
        Note(10, 10, 62, 0, 64),
    ]


def test_notes_in_a_riff_wrapper_are_read():
    inside = contents(CASES[0])
    wrapped = b"RIFF" + struct.pack("<I", len(inside) + 12) + b"RMIDdata" + struct.pack("<I", len(inside)) + inside
    assert read_notes(wrapped) == read_notes(inside)


def test_tempos_do_not_count_in_a_file_of_smpte_frames():
    track = hexdump("00 FF 51 03 01 00 00", "64 90 3C 40", "64 80 3C 40")
    assert read_notes(midi_file(track, division=0xE728)) == [Note(10, 10, 60, 0, 64)]  # 25 frames of 40 ticks: 1 ms


def test_a_tempo_holds_from_its_time_on_in_every_track():
    tempo = hexdump("64 FF 51 03 0F 42 40  # after 100 ms: 60 bpm, a tick is 2 ms")
    track = hexdump("00 90 3C 40", "81 48 80 3C 40")
    assert read_notes(midi_file(tempo, track)) == [Note(0, 30, 60, 0, 64)]


def test_a_tempo_of_zero_is_ignored():
    track = hexdump("00 FF 51 03 00 00 00", "64 90 3C 40", "64 80 3C 40")
    assert read_notes(midi_file(track)) == [Note(10, 10, 60, 0, 64)]


def test_a_note_keeps_the_program_with_which_it_began():
    track = hexdump(
        "00 C0 05",
        "00 90 3C 40",
        "64 C0 28     # while it sounds",
        "64 80 3C 40",
        "00 90 3C 40",
        "64 80 3C 40",
    )
    assert read_notes(midi_file(track)) == [Note(0, 20, 60, 5, 64), Note(20, 10, 60, 40, 64)]


def test_program_changes_on_the_drum_channel_are_ignored():
    assert read_notes(midi_file(hexdump("00 C9 28", "00 99 26 40", "64 89 26 40"))) == [Note(0, 10, 38, DRUMS, 64)]


@pytest.mark.parametrize(
    "track", [b"", hexdump("00 FF 2F 00"), hexdump("00 80 3C 40"), hexdump("00 C0 05 00 B0 40 7F")]
)
def test_a_file_without_notes_is_read_as_no_notes(track):
    assert read_notes(midi_file(track)) == []


def test_a_bad_key_signature_and_a_bad_data_byte_do_not_reject_a_file():
    track = hexdump("00 FF 59 02 0B 02", "00 B0 07 FF", "00 F0 03 01 02 03") + NOTE
    with pytest.raises(Exception):  # noqa: B017, PT011 - mido's own reader fails, with whatever error
        mido.MidiFile(file=BytesIO(midi_file(track)))
    assert read_notes(midi_file(track)) == [Note(0, 50, 60, 0, 64)]


@pytest.mark.parametrize(("hours", "is_read"), [(23, True), (25, False), (10_000, False)])
def test_a_file_of_more_than_a_day_is_refused(hours, is_read):
    seconds = 3_600 * hours
    tempo = hexdump("00 FF 51 03 0F 42 40  # 60 bpm: at 1 tick a quarter note, ticks are seconds")
    track = tempo + variable_length(seconds) + hexdump("90 3C 40", "01 80 3C 40")
    if is_read:
        assert read_notes(midi_file(track, division=1)) == [Note(100 * seconds, 100, 60, 0, 64)]
    else:
        assert seconds > MAX_FILE_SECONDS
        with pytest.raises(MidiError, match=f"{hours} hours: at most 24"):
            read_notes(midi_file(track, division=1))
