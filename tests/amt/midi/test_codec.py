import json
import random
import struct
from collections import Counter, defaultdict, deque
from io import BytesIO
from pathlib import Path

import mido
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from amt.errors import MidiError
from amt.midi.codec import MAX_FILE_SECONDS, UNCLOSED_TICKS, read_notes, read_piece, write_notes
from amt.midi.instruments import instrument_name
from amt.midi.notes import DRUMS, Note
from amt.midi.timing import TempoChange, TimeSignature, Timing
from amt.tokens import events as ev
from tests.conftest import GOLDEN

CASES = json.loads((GOLDEN / "midi_to_events.json").read_text())
REFERENCE_LOSES = {
    "freedoom_map32": "onsets past 275.12 s are taken for controls and wrap round to the start",
    "freedoom_e1m2": "of two drum hits the first, too long by a rounding error, gets the end of the second",
}

each_file = pytest.mark.parametrize("case", CASES, ids=lambda case: Path(case["file"]).stem)


def contents(case):
    return (GOLDEN / case["file"]).read_bytes()


def sorted_notes(case):
    """What the reference's tokens say, in the order in which it writes them."""
    return ev.to_notes(ev.sort(ev.from_tokens(case["tokens"])))


def read_with_mido(file):
    """Notes by mido's reader and a plain loop; a note-off ends the oldest note."""
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


def there_and_back(notes):
    """The notes as two readers find them in the file that we write."""
    data = write_notes(notes)
    back = read_notes(data)
    assert back == read_with_mido(mido.MidiFile(file=BytesIO(data)))
    return back


def smf(*tracks, file_type=1, division=500):
    """A file of raw tracks; at 500 ticks a quarter and 120 bpm a tick is 1 ms."""
    header = b"MThd" + struct.pack(">IhhH", 6, file_type, len(tracks), division)
    return header + b"".join(b"MTrk" + struct.pack(">I", len(track)) + track for track in tracks)


def hexed(*lines):
    return b"".join(bytes.fromhex(line.split("#")[0]) for line in lines)


@each_file
def test_tokens_match_the_reference(case):
    assert ev.from_notes(read_notes(contents(case))).ravel().tolist() == case["tokens"]


@each_file
def test_notes_match_those_that_mido_reads(case):
    assert read_notes(contents(case)) == read_with_mido(mido.MidiFile(GOLDEN / case["file"]))


@each_file
def test_notes_of_a_real_file_survive_a_round_trip(case):
    assert Counter(there_and_back(sorted_notes(case))) == Counter(sorted_notes(case))


@each_file
def test_velocities_of_a_real_file_survive_a_round_trip(case):
    notes = read_notes(contents(case))
    assert Counter(there_and_back(notes)) == Counter(notes)


@pytest.mark.parametrize(
    "case",
    [
        case
        for case in CASES
        if case["notes_written_back"] is not None and Path(case["file"]).stem not in REFERENCE_LOSES
    ],
    ids=lambda case: Path(case["file"]).stem,
)
def test_a_round_trip_gives_the_notes_that_the_reference_gives(case):
    reference = [Note(*fields) for fields in case["notes_written_back"]]
    assert Counter(there_and_back(sorted_notes(case))) == Counter(reference)


def test_the_reference_reads_and_writes_the_same_notes():
    convert = pytest.importorskip("anticipation.convert")
    for case in CASES:
        assert convert.midi_to_events(str(GOLDEN / case["file"])) == case["tokens"]
        written = mido.MidiFile(file=BytesIO(write_notes(sorted_notes(case))))
        tokens = convert.compound_to_events(convert.midi_to_compound(written))
        assert Counter(ev.to_notes(ev.from_tokens(tokens))) == Counter(sorted_notes(case))


def test_a_written_file_has_a_named_track_for_each_instrument():
    notes = [Note(30, 20, 64, 40), Note(0, 50, 60, 0), Note(10, 5, 38, DRUMS), Note(10, 50, 67, 0)]
    file = mido.MidiFile(file=BytesIO(write_notes(notes)))
    assert (file.type, file.ticks_per_beat) == (1, 500)
    assert [track.name for track in file.tracks] == ["Tempo", "Acoustic Grand Piano", "Drums", "Violin"]
    assert [message for message in file.tracks[0] if message.type == "set_tempo"] == [
        mido.MetaMessage("set_tempo", tempo=500_000)
    ]
    assert [str(message) for track in file.tracks[1:] for message in track if not message.is_meta] == [
        "program_change channel=0 program=0 time=0",
        "note_on channel=0 note=60 velocity=72 time=0",
        "note_on channel=0 note=67 velocity=72 time=100",
        "note_off channel=0 note=60 velocity=64 time=400",
        "note_off channel=0 note=67 velocity=64 time=100",
        "program_change channel=9 program=0 time=0",
        "note_on channel=9 note=38 velocity=72 time=100",
        "note_off channel=9 note=38 velocity=64 time=50",
        "program_change channel=1 program=40 time=0",
        "note_on channel=1 note=64 velocity=72 time=300",
        "note_off channel=1 note=64 velocity=64 time=200",
    ]


@each_file
def test_a_track_holds_one_instrument_only(case):
    file = mido.MidiFile(file=BytesIO(write_notes(sorted_notes(case))))
    instruments = list(dict.fromkeys(note.instrument for note in sorted_notes(case)))
    assert [track.name for track in file.tracks[1:]] == [instrument_name(instrument) for instrument in instruments]
    for track, instrument in zip(file.tracks[1:], instruments, strict=True):
        played = [message for message in track if not message.is_meta]
        assert played[0].type == "program_change"
        programs = {message.program for message in played if message.type == "program_change"}
        assert programs == {0 if instrument == DRUMS else instrument}
        assert {message.channel == 9 for message in played} == {instrument == DRUMS}


@pytest.mark.parametrize("case", CASES[:8], ids=lambda case: Path(case["file"]).stem)
def test_programs_are_set_only_at_the_start_if_there_are_enough_channels(case):
    file = mido.MidiFile(file=BytesIO(write_notes(sorted_notes(case))))
    for track in file.tracks:
        assert all(message.time == 0 for message in track if message.type == "program_change")


@pytest.mark.parametrize(("length_ticks", "seconds"), [(0, 1.5), (149, 1.5), (150, 1.5), (151, 1.51), (9_000, 90)])
def test_a_file_ends_at_the_requested_time_or_with_its_last_note(length_ticks, seconds):
    file = mido.MidiFile(file=BytesIO(write_notes([Note(0, 150, 60, 0), Note(0, 10, 60, 5)], length_ticks)))
    assert [sum(message.time for message in track) for track in file.tracks] == [1_000 * seconds] * 3
    assert file.length == pytest.approx(seconds)


@pytest.mark.parametrize("length_ticks", [0, 500])
def test_writing_no_notes_gives_a_file_without_notes(length_ticks):
    data = write_notes([], length_ticks)
    assert mido.MidiFile(file=BytesIO(data)).length == length_ticks / 100
    assert read_notes(data) == []


def test_notes_can_be_written_in_any_order():
    notes = [Note(onset, 10, 60 + onset % 7, onset % 3) for onset in range(0, 100, 10)]
    shuffled = random.Random(0).sample(notes, len(notes))
    assert write_notes(shuffled) == write_notes(notes)


def test_forty_instruments_one_after_the_other_survive_a_round_trip():
    notes = [Note(20 * step, 20, 60, 3 * (step % 40)) for step in range(120)]
    assert there_and_back(notes) == notes


def test_twenty_instruments_at_once_survive_a_round_trip():
    notes = [Note(30 * beat, 30, 60, instrument) for beat in range(8) for instrument in range(20)]
    assert Counter(there_and_back(notes)) == Counter(notes)


def test_all_instruments_at_once_survive_a_round_trip():
    notes = [Note(instrument // 9, 500 - instrument, instrument % 128, instrument) for instrument in range(DRUMS + 1)]
    assert Counter(there_and_back(notes)) == Counter(notes)


def test_notes_of_no_length_survive_a_round_trip():
    notes = [
        Note(0, 0, 60, 0),
        Note(0, 0, 60, 7),
        Note(5, 5, 60, 0),
        Note(10, 0, 60, 0),
        Note(10, 0, 38, DRUMS),
    ]
    assert there_and_back(notes) == notes


def test_a_note_of_no_length_does_not_end_another_of_its_pitch():
    notes = [Note(0, 10, 60, 0), Note(5, 0, 60, 0, 50), Note(10, 0, 60, 0, 60), Note(10, 5, 60, 0)]
    assert Counter(there_and_back(notes)) == Counter(notes)


def test_a_repeated_note_ends_before_it_begins_again():
    notes = [Note(10 * step, 10, 60, 0, 1 + step) for step in range(20)]
    file = mido.MidiFile(file=BytesIO(write_notes(notes)))
    assert {message.channel for track in file.tracks for message in track if not message.is_meta} == {0}
    kinds = [message.type for message in file.tracks[1] if message.type.startswith("note")]
    assert kinds == ["note_on", "note_off"] * 20
    assert there_and_back(notes) == notes


def test_overlapping_notes_of_one_pitch_and_instrument_survive_a_round_trip():
    notes = [
        Note(0, 100, 60, 0, 11),
        Note(10, 20, 60, 0, 22),
        Note(15, 5, 60, 0, 33),
        Note(90, 50, 60, 0, 44),
    ]
    assert there_and_back(notes) == notes


def test_drum_hits_whose_ends_rounding_exchanged_survive_a_round_trip():
    track = hexed(
        "00 99 26 43  # a snare hit",
        "5D 99 26 4B  # after 93 ms another",
        "03 89 26 40  # after 96 ms the first ends",
        "01 89 26 40  # after 97 ms the second",
    )
    notes = [Note(0, 10, 38, DRUMS, 67), Note(9, 0, 38, DRUMS, 75)]
    assert read_notes(smf(track)) == notes
    assert there_and_back(notes) == notes


def test_drum_hits_stay_on_whole_ticks_if_their_ends_are_in_order():
    notes = [Note(10, 3, 38, DRUMS), Note(12, 2, 38, DRUMS), Note(12, 9, 42, DRUMS), Note(14, 0, 38, DRUMS)]
    file = mido.MidiFile(file=BytesIO(write_notes(notes)))
    assert [message.time % 10 for message in file.tracks[1]] == [0] * len(file.tracks[1])


def on_no_half_tick(hits):
    return all(onset % 10 != 5 and (end - onset) % 10 != 5 for onset, end in hits)


performances = (
    st.lists(st.tuples(st.integers(0, 200), st.integers(1, 120)), min_size=2, max_size=3)
    .map(lambda hits: [sorted(onset for onset, _ in hits), sorted(onset + length for onset, length in hits)])
    .map(lambda times: list(zip(*times, strict=True)))
    .filter(on_no_half_tick)
)
"""Hits of one drum, (onset, end) in ms, none ending before the one before. Half ticks round either way."""


@given(performances)
@settings(max_examples=150, deadline=None)
def test_drums_with_human_timing_survive_a_round_trip(hits):
    track, previous = b"", 0
    for time, velocity in sorted([(onset, 100) for onset, _ in hits] + [(end, 0) for _, end in hits]):
        track += quantity(time - previous) + bytes([0x99, 38, velocity])
        previous = time
    notes = read_notes(smf(track))
    assert Counter(there_and_back(notes)) == Counter(notes)


notes_of_programs = st.lists(
    st.tuples(
        st.integers(0, 400),
        st.integers(0, 120),
        st.integers(58, 62),
        st.integers(0, 127),
        st.integers(1, 127),
    ).map(lambda fields: Note(*fields)),
    max_size=120,
)


@given(
    st.lists(
        st.tuples(st.integers(0, 30_000), st.integers(0, 999), st.integers(0, 127), st.integers(0, 127)),
        max_size=15,
    )
)
@settings(max_examples=100, deadline=None)
def test_notes_that_overlap_survive_a_round_trip_while_there_are_free_channels(rows):
    notes = [Note(*row) for row in rows]
    assert Counter(there_and_back(notes)) == Counter(notes)


@given(notes_of_programs)
@settings(max_examples=100, deadline=None)
def test_notes_of_any_instruments_survive_a_round_trip_if_equal_notes_do_not_overlap(notes):
    silent_from = {}
    kept = []
    for note in sorted(notes):
        if silent_from.get((note.instrument, note.pitch), 0) <= note.onset:
            silent_from[note.instrument, note.pitch] = note.onset + note.duration
            kept.append(note)
    assert Counter(there_and_back(kept)) == Counter(kept)


@given(notes_of_programs, st.integers(1, 128))
@settings(max_examples=50, deadline=None)
def test_no_overlap_loses_a_note(notes, n_instruments):
    notes = [note._replace(instrument=(note.instrument % n_instruments) + DRUMS + 1 - n_instruments) for note in notes]
    kept = Counter(note._replace(duration=0) for note in there_and_back(notes))
    assert kept == Counter(note._replace(duration=0) for note in notes)


timed = pytest.mark.parametrize("bpm", [None, 20, 87.3, 100, 300], ids=lambda bpm: f"at {bpm}")


@timed
@each_file
def test_notes_of_a_real_file_survive_a_round_trip_with_any_timing(case, bpm):
    piece = read_piece(contents(case))
    timing = piece.timing if bpm is None else piece.timing.with_tempo(bpm)
    data = write_notes(piece.notes, timing=timing)
    assert Counter(read_notes(data)) == Counter(piece.notes)
    assert read_notes(data) == read_with_mido(mido.MidiFile(file=BytesIO(data)))


@each_file
def test_tempo_map_and_time_signatures_of_a_real_file_survive_a_round_trip(case):
    piece = read_piece(contents(case))
    last = 10 * max((note.onset + note.duration for note in piece.notes), default=0)
    wanted, back = piece.timing.until(last), read_piece(write_notes(piece.notes, timing=piece.timing)).timing
    finer, remainder = divmod(back.ticks_per_beat, wanted.ticks_per_beat)
    assert remainder == 0
    assert [(tick // finer, tempo) for tick, tempo in back.tempos] == list(wanted.tempos)
    assert [(tick // finer, *bar) for tick, *bar in back.signatures] == list(wanted.signatures)


@timed
@given(performances)
@settings(max_examples=40, deadline=None)
def test_drums_with_human_timing_survive_a_round_trip_with_any_timing(bpm, hits):
    order = sorted([(onset, 100) for onset, _ in hits] + [(end, 0) for _, end in hits])
    steps = zip([0, *(time for time, _ in order)], order, strict=False)
    notes = read_notes(smf(b"".join(quantity(time - last) + bytes([0x99, 38, level]) for last, (time, level) in steps)))
    rubato = Timing(480, (TempoChange(0, 1_234_567), TempoChange(11, 345_678), TempoChange(97, 2_000_001)))
    timing = rubato if bpm is None else Timing.from_bpm(bpm)
    assert Counter(read_notes(write_notes(notes, timing=timing))) == Counter(notes)


def test_tempos_and_time_signatures_are_written_at_their_times():
    timing = Timing(480, (TempoChange(0, 600_000), TempoChange(1440, 400_000)), (TimeSignature(1440, 3, 8, 12),))
    file = mido.MidiFile(file=BytesIO(write_notes([Note(180, 40, 60, 0)], 300, timing)))
    assert [str(message) for message in file.tracks[0][1:-1]] == [
        "MetaMessage('set_tempo', tempo=600000, time=0)",
        "MetaMessage('time_signature', numerator=3, denominator=8, clocks_per_click=12, "
        "notated_32nd_notes_per_beat=8, time=4320)",
        "MetaMessage('set_tempo', tempo=400000, time=0)",
    ]
    assert file.ticks_per_beat == 3 * 480
    assert file.length == pytest.approx(3.0)


def test_at_the_tempo_of_the_music_quarter_notes_begin_on_the_beats_of_the_file():
    notes = [Note(60 * beat, 30, 60, 0) for beat in range(8)]  # quarter notes at 100 bpm
    file = mido.MidiFile(file=BytesIO(write_notes(notes, timing=Timing.from_bpm(100))))
    onsets, now = [], 0
    for message in file.tracks[1]:
        now += message.time
        onsets += [now] if message.type == "note_on" else []
    assert onsets == [file.ticks_per_beat * beat for beat in range(8)]


@pytest.mark.parametrize(
    "timing",
    [
        Timing(96, (TempoChange(0, 1),)),  # 60 million bpm: more ticks than a file can count
        Timing(20_000, (TempoChange(0, 16_000_000),)),  # not 4 bpm, with a tick that cannot be halved
    ],
)
def test_a_timing_that_no_file_can_hold_is_replaced_by_120_bpm(timing):
    notes = [Note(0, 50, 60, 0), Note(5_000, 1, 62, 0)]
    assert write_notes(notes, 6_000, timing) == write_notes(notes, 6_000)


def test_files_in_smpte_frames_or_of_type_2_have_the_default_timing():
    tempo = hexed("00 FF 51 03 01 00 00", "00 90 3C 40")
    assert read_piece(smf(tempo, division=0xE728)).timing == Timing()
    assert read_piece(smf(tempo, file_type=2, division=96)).timing == Timing()


def test_more_than_ten_thousand_tempo_changes_are_not_kept():
    assert read_piece(smf(hexed("01 FF 51 03 01 02 03") * 10_001)).timing == Timing()


@pytest.mark.parametrize("bad", ["03 04 02 18", "04 00 02 18 08", "04 04 08 18 08", "04 04 FF 18 08"])
def test_a_bad_time_signature_is_ignored(bad):
    track = hexed(f"00 FF 58 {bad}", "00 FF 58 04 06 03 24 08", "64 90 3C 40")
    assert read_piece(smf(track)).timing.signatures == (TimeSignature(0, 6, 8, 36),)


def test_of_two_changes_at_one_file_tick_the_later_counts():
    track = hexed("00 FF 51 03 01 02 03", "00 FF 58 04 03 02 18 08", "00 FF 51 03 06 05 04", "00 FF 58 04 04 02 18 08")
    assert read_piece(smf(track)).timing == Timing(500, (TempoChange(0, 0x060504),), (TimeSignature(0, 4, 4),))


NOTE = hexed("00 90 3C 40", "83 74 80 3C 00")  # 500 ms


def test_a_type_0_file_is_read_like_a_type_1_file():
    assert read_notes(smf(NOTE, file_type=0)) == read_notes(smf(NOTE, file_type=1)) == [Note(0, 50, 60, 0, 64)]


def test_tracks_of_a_type_1_file_sound_together():
    other = hexed("00 C1 28", "0A 91 40 40", "0A 81 40 00")
    assert read_notes(smf(NOTE, other)) == [Note(0, 50, 60, 0, 64), Note(1, 1, 64, 40, 64)]


def test_patterns_of_a_type_2_file_follow_one_another():
    other = hexed("0A 90 40 40", "0A 80 40 00")
    assert read_notes(smf(NOTE, other, NOTE, file_type=2)) == [
        Note(0, 50, 60, 0, 64),
        Note(51, 1, 64, 0, 64),
        Note(52, 50, 60, 0, 64),
    ]


def test_patterns_of_a_type_2_file_share_neither_programs_nor_open_notes():
    opened = hexed("00 C0 28", "00 90 3C 40", "00 FF 51 03 01 00 00")
    closing = hexed("64 80 3C 40", "00 90 3E 40", "64 80 3E 40")
    assert read_notes(smf(opened, closing, file_type=2)) == [
        Note(0, UNCLOSED_TICKS, 60, 40, 64),
        Note(10, 10, 62, 0, 64),
    ]


def test_notes_in_a_riff_wrapper_are_read():
    inside = contents(CASES[0])
    wrapped = b"RIFF" + struct.pack("<I", len(inside) + 12) + b"RMIDdata" + struct.pack("<I", len(inside)) + inside
    assert read_notes(wrapped) == read_notes(inside)


def test_tempos_do_not_count_in_a_file_of_smpte_frames():
    track = hexed("00 FF 51 03 01 00 00", "64 90 3C 40", "64 80 3C 40")
    assert read_notes(smf(track, division=0xE728)) == [Note(10, 10, 60, 0, 64)]  # 25 frames of 40 ticks: 1 ms


def test_a_tempo_holds_from_its_time_on_in_every_track():
    tempo = hexed("64 FF 51 03 0F 42 40  # after 100 ms: 60 bpm, a tick is 2 ms")
    track = hexed("00 90 3C 40", "81 48 80 3C 40")
    assert read_notes(smf(tempo, track)) == [Note(0, 30, 60, 0, 64)]


def test_a_tempo_of_zero_is_ignored():
    track = hexed("00 FF 51 03 00 00 00", "64 90 3C 40", "64 80 3C 40")
    assert read_notes(smf(track)) == [Note(10, 10, 60, 0, 64)]


def test_a_note_keeps_the_program_with_which_it_began():
    track = hexed(
        "00 C0 05",
        "00 90 3C 40",
        "64 C0 28     # while it sounds",
        "64 80 3C 40  # ends nothing: the reference looks for a note of the new program",
        "00 90 3C 40",
        "64 80 3C 40",
    )
    assert read_notes(smf(track)) == [Note(0, UNCLOSED_TICKS, 60, 5, 64), Note(20, 10, 60, 40, 64)]


def test_program_changes_on_the_drum_channel_are_ignored():
    assert read_notes(smf(hexed("00 C9 28", "00 99 26 40", "64 89 26 40"))) == [Note(0, 10, 38, DRUMS, 64)]


@pytest.mark.parametrize("track", [b"", hexed("00 FF 2F 00"), hexed("00 80 3C 40"), hexed("00 C0 05 00 B0 40 7F")])
def test_a_file_without_notes_is_read_as_no_notes(track):
    assert read_notes(smf(track)) == []


def test_a_bad_key_signature_and_a_bad_data_byte_do_not_reject_a_file():
    track = hexed("00 FF 59 02 0B 02", "00 B0 07 FF", "00 F0 03 01 02 03") + NOTE
    with pytest.raises(Exception):  # noqa: B017, PT011 - whatever it is: mido's own reader gives up
        mido.MidiFile(file=BytesIO(smf(track)))
    assert read_notes(smf(track)) == [Note(0, 50, 60, 0, 64)]


def quantity(value):
    """As a variable length of four bytes."""
    return bytes([*(value >> shift & 0x7F | 0x80 for shift in (21, 14, 7)), value & 0x7F])


@pytest.mark.parametrize(("hours", "is_read"), [(23, True), (25, False), (10_000, False)])
def test_a_file_of_more_than_a_day_is_refused(hours, is_read):
    seconds = 3_600 * hours
    tempo = hexed("00 FF 51 03 0F 42 40  # 60 bpm: at 1 tick a quarter note, ticks are seconds")
    track = tempo + quantity(seconds) + hexed("90 3C 40", "01 80 3C 40")
    if is_read:
        assert read_notes(smf(track, division=1)) == [Note(100 * seconds, 100, 60, 0, 64)]
    else:
        assert seconds > MAX_FILE_SECONDS
        with pytest.raises(MidiError, match=f"{hours} hours: at most 24"):
            read_notes(smf(track, division=1))


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
    assert len(read_notes(smf(bytes.fromhex(start) + unit * (LARGE // len(unit))))) == n_notes


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
    assert read_notes(smf() + unit * (LARGE // len(unit))) == []


def read_or_refused(data):
    """The notes, each one fit for tokens and for writing; or none when the file is refused."""
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


def edited(data, edits):
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
@settings(max_examples=400, deadline=None)
def test_damaged_files_are_read_or_refused(data, damage):
    notes = read_or_refused(edited(data, damage))
    if notes:
        assert len(read_notes(write_notes(notes))) == len(notes)
        timing = read_piece(edited(data, damage)).timing
        assert len(read_notes(write_notes(notes, timing=timing))) == len(notes)


@given(st.sampled_from(SMALL_FILES), st.lists(edits, min_size=1, max_size=12))
@settings(max_examples=200, deadline=None)
def test_files_damaged_after_their_header_are_read_or_refused(data, damage):
    read_or_refused(data[:14] + edited(data[14:], damage))


@given(
    st.integers(0, 3),
    st.sampled_from([1, 96, 480, 0x7FFF, 0xE728, 0xE264]),
    st.sampled_from([b"MTrk\x00\x00\x01\x00", b"MTrk\x7f\xff\xff\xff", b"MTrk\x00\x00\x01\x00\x00\x90\x3c\x40", b""]),
    st.binary(max_size=400),
)
@settings(max_examples=200, deadline=None)
def test_random_bytes_after_a_header_are_read_or_refused(file_type, division, start, noise):
    read_or_refused(smf(file_type=file_type, division=division) + start + noise)


@given(st.binary(max_size=200))
@settings(max_examples=100, deadline=None)
def test_random_bytes_are_refused(noise):
    with pytest.raises(MidiError):
        read_notes(noise)
