from collections import Counter
from io import BytesIO

import mido
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from amt.midi.codec import read_notes, write_notes
from amt.midi.notes import DRUMS, Note
from amt.midi.timing import TempoChange, Timing
from tests.amt.midi.files import hexdump, midi_file, round_trip, variable_length


def test_drum_hits_whose_ends_rounding_exchanged_survive_a_round_trip():
    track = hexdump(
        "00 99 26 43  # a snare hit",
        "5D 99 26 4B  # after 93 ms another",
        "03 89 26 40  # after 96 ms the first ends",
        "01 89 26 40  # after 97 ms the second",
    )
    notes = [Note(0, 10, 38, DRUMS, 67), Note(9, 0, 38, DRUMS, 75)]
    assert read_notes(midi_file(track)) == notes
    assert round_trip(notes) == notes


def test_drum_hits_stay_on_whole_ticks_if_their_ends_are_in_order():
    notes = [Note(10, 3, 38, DRUMS), Note(12, 2, 38, DRUMS), Note(12, 9, 42, DRUMS), Note(14, 0, 38, DRUMS)]
    file = mido.MidiFile(file=BytesIO(write_notes(notes)))
    assert [message.time % 10 for message in file.tracks[1]] == [0] * len(file.tracks[1])


def has_no_half_ticks(hits):
    """Return whether no onset or duration is half a tick, which may be rounded either way."""
    return all(onset % 10 != 5 and (end - onset) % 10 != 5 for onset, end in hits)


performances = (
    st.lists(st.tuples(st.integers(0, 200), st.integers(1, 120)), min_size=2, max_size=3)
    .map(lambda hits: [sorted(onset for onset, _ in hits), sorted(onset + length for onset, length in hits)])
    .map(lambda times: list(zip(*times, strict=True)))
    .filter(has_no_half_ticks)
)
"""Hits of one drum as (onset, end) in ms, which end in the order in which they begin."""


def snare_file(hits):
    """Return a file of one drum that is hit at these times."""
    track, previous = b"", 0
    for time, velocity in sorted([(onset, 100) for onset, _ in hits] + [(end, 0) for _, end in hits]):
        track += variable_length(time - previous) + bytes([0x99, 38, velocity])
        previous = time
    return midi_file(track)


@given(performances)
@settings(max_examples=80, deadline=None)
def test_drums_with_human_timing_survive_a_round_trip(hits):
    notes = read_notes(snare_file(hits))
    assert Counter(round_trip(notes)) == Counter(notes)


@pytest.mark.parametrize("bpm", [None, 20, 87.3, 100, 300])
@given(performances)
@settings(max_examples=40, deadline=None)
def test_drums_with_human_timing_survive_a_round_trip_with_any_timing(bpm, hits):
    notes = read_notes(snare_file(hits))
    rubato = Timing(480, (TempoChange(0, 1_234_567), TempoChange(11, 345_678), TempoChange(97, 2_000_001)))
    timing = rubato if bpm is None else Timing.from_bpm(bpm)
    assert Counter(read_notes(write_notes(notes, timing=timing))) == Counter(notes)
