import random
from collections import Counter
from io import BytesIO
from pathlib import Path

import mido
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from amt.midi.codec import read_notes, read_piece, write_notes
from amt.midi.instruments import instrument_name
from amt.midi.notes import DRUMS, Note
from amt.midi.timing import TempoChange, TimeSignature, Timing
from amt.tokens import events as ev
from tests.amt.midi.files import CASES, contents, each_file, read_with_mido, round_trip
from tests.conftest import GOLDEN

LOST_BY_REFERENCE = {
    "freedoom_map32": "onsets past 275.12 s are taken for controls and wrap around to the start",
    "freedoom_e1m2": "of two drum hits the first, too long by a rounding error, gets the end of the second",
}


def sorted_notes(case):
    """Return the notes of the reference's tokens, in the order in which it writes them."""
    return ev.to_notes(ev.sort(ev.from_tokens(case["tokens"])))


@each_file
def test_notes_of_a_real_file_survive_a_round_trip(case):
    assert Counter(round_trip(sorted_notes(case))) == Counter(sorted_notes(case))


@each_file
def test_velocities_of_a_real_file_survive_a_round_trip(case):
    notes = read_notes(contents(case))
    assert Counter(round_trip(notes)) == Counter(notes)


@pytest.mark.parametrize(
    "case",
    [
        case
        for case in CASES
        if case["notes_written_back"] is not None and Path(case["file"]).stem not in LOST_BY_REFERENCE
    ],
    ids=lambda case: Path(case["file"]).stem,
)
def test_a_round_trip_gives_the_notes_that_the_reference_gives(case):
    reference = [Note(*fields) for fields in case["notes_written_back"]]
    assert Counter(round_trip(sorted_notes(case))) == Counter(reference)


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
    assert round_trip(notes) == notes


def test_twenty_instruments_at_once_survive_a_round_trip():
    notes = [Note(30 * beat, 30, 60, instrument) for beat in range(8) for instrument in range(20)]
    assert Counter(round_trip(notes)) == Counter(notes)


def test_all_instruments_at_once_survive_a_round_trip():
    notes = [Note(instrument // 9, 500 - instrument, instrument % 128, instrument) for instrument in range(DRUMS + 1)]
    assert Counter(round_trip(notes)) == Counter(notes)


def test_notes_of_no_length_survive_a_round_trip():
    notes = [
        Note(0, 0, 60, 0),
        Note(0, 0, 60, 7),
        Note(5, 5, 60, 0),
        Note(10, 0, 60, 0),
        Note(10, 0, 38, DRUMS),
    ]
    assert round_trip(notes) == notes


def test_a_note_of_no_length_does_not_end_another_of_its_pitch():
    notes = [Note(0, 10, 60, 0), Note(5, 0, 60, 0, 50), Note(10, 0, 60, 0, 60), Note(10, 5, 60, 0)]
    assert Counter(round_trip(notes)) == Counter(notes)


def test_a_repeated_note_ends_before_it_begins_again():
    notes = [Note(10 * step, 10, 60, 0, 1 + step) for step in range(20)]
    file = mido.MidiFile(file=BytesIO(write_notes(notes)))
    assert {message.channel for track in file.tracks for message in track if not message.is_meta} == {0}
    kinds = [message.type for message in file.tracks[1] if message.type.startswith("note")]
    assert kinds == ["note_on", "note_off"] * 20
    assert round_trip(notes) == notes


def test_overlapping_notes_of_one_pitch_and_instrument_survive_a_round_trip():
    notes = [
        Note(0, 100, 60, 0, 11),
        Note(10, 20, 60, 0, 22),
        Note(15, 5, 60, 0, 33),
        Note(90, 50, 60, 0, 44),
    ]
    assert round_trip(notes) == notes


melodic_notes = st.lists(
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
    assert Counter(round_trip(notes)) == Counter(notes)


@given(melodic_notes)
@settings(max_examples=100, deadline=None)
def test_notes_of_any_instruments_survive_a_round_trip_if_equal_notes_do_not_overlap(notes):
    silent_from = {}
    kept = []
    for note in sorted(notes):
        if silent_from.get((note.instrument, note.pitch), 0) <= note.onset:
            silent_from[note.instrument, note.pitch] = note.onset + note.duration
            kept.append(note)
    assert Counter(round_trip(kept)) == Counter(kept)


@given(melodic_notes, st.integers(1, 128))
@settings(max_examples=50, deadline=None)
def test_no_overlap_loses_a_note(notes, n_instruments):
    notes = [note._replace(instrument=(note.instrument % n_instruments) + DRUMS + 1 - n_instruments) for note in notes]
    kept = Counter(note._replace(duration=0) for note in round_trip(notes))
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
    expected, found = piece.timing.until(last), read_piece(write_notes(piece.notes, timing=piece.timing)).timing
    finer, remainder = divmod(found.ticks_per_beat, expected.ticks_per_beat)
    assert remainder == 0
    assert [(tick // finer, tempo) for tick, tempo in found.tempos] == list(expected.tempos)
    assert [(tick // finer, *bar) for tick, *bar in found.signatures] == list(expected.signatures)


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


def test_a_timing_that_no_file_can_hold_is_replaced_by_120_bpm():
    timing = Timing(96, (TempoChange(0, 1),))  # 60 million bpm: more ticks than a file can count
    notes = [Note(0, 50, 60, 0), Note(5_000, 1, 62, 0)]
    assert write_notes(notes, 6_000, timing) == write_notes(notes, 6_000)
