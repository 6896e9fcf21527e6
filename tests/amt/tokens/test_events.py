import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from amt.midi.notes import N_INSTRUMENTS, Note
from amt.tokens import events as ev
from amt.tokens.vocab import ANTICIPATION_TICKS, CONTROL_OFFSET, DURATION, NOTE, ONSET, REST, REST_INTERVAL_TICKS
from tests.conftest import GOLDEN

READ = {Path(case["file"]).stem: case["tokens"] for case in json.loads((GOLDEN / "midi_to_events.json").read_text())}
CASES = json.loads((GOLDEN / "ops.json").read_text())

each_file = pytest.mark.parametrize("case", CASES, ids=lambda case: Path(case["file"]).stem)

notes = st.tuples(
    st.integers(0, 3_000), st.integers(0, 999), st.integers(0, 127), st.integers(0, N_INSTRUMENTS - 1)
).map(lambda fields: Note(*fields))
sorted_events = st.lists(notes, max_size=30).map(lambda found: ev.sort(ev.from_notes(found)))


def tokens(events):
    return events.ravel().tolist()


@each_file
def test_sort_matches_the_reference(case):
    read = ev.from_tokens(READ[Path(case["file"]).stem])
    assert tokens(ev.sort(read)) == case["sorted"]


@each_file
def test_onsets_and_instruments_match_the_reference(case):
    events = ev.from_tokens(case["sorted"])
    assert (ev.onsets(events).min(), ev.onsets(events).max()) == (case["min_time"], case["max_time"])
    assert ev.instrument_codes(events) == {int(code) for code in case["instruments"]}


@each_file
@pytest.mark.parametrize("kind", ["clip_duration", "keep_duration"])
def test_clip_matches_the_reference(case, kind):
    start, end = case["clip"]["start"], case["clip"]["end"]
    clipped = ev.clip(ev.from_tokens(case["sorted"]), start, end, clip_duration=kind == "clip_duration")
    assert tokens(clipped) == case["clip"][kind]


@each_file
def test_pad_matches_the_reference(case):
    events = ev.from_tokens(case["sorted"])
    assert tokens(ev.pad(events)) == case["pad"]


@each_file
def test_translate_matches_the_reference(case):
    events = ev.from_tokens(case["sorted"])
    assert tokens(ev.translate(events, -case["min_time"])) == case["translated_to_zero"]


@each_file
def test_split_instruments_matches_the_reference(case):
    expected = case["controls_from_instrument"]
    others, controls = ev.split_instruments(ev.from_tokens(case["sorted"]), [expected["instrument"]])
    assert tokens(others) == expected["events"]
    assert tokens(controls) == expected["controls"]


@each_file
def test_anticipate_matches_the_reference(case):
    expected = case["controls_from_instrument"]
    padded = ev.pad(ev.from_tokens(expected["events"]), case["max_time"])
    interleaved, left_over = ev.anticipate(padded, ev.from_tokens(expected["controls"]))
    assert tokens(interleaved) == expected["anticipated"]
    assert tokens(left_over) == expected["unconsumed"]


@given(st.lists(notes, max_size=30))
@settings(max_examples=100, deadline=None)
def test_notes_survive_a_round_trip_through_tokens(found):
    assert ev.to_notes(ev.from_notes(found)) == found


@given(st.lists(notes, max_size=30))
@settings(max_examples=50, deadline=None)
def test_controls_hold_the_same_notes_as_events(found):
    assert ev.to_notes(ev.as_controls(ev.from_notes(found))) == found


def test_a_duration_of_ten_seconds_or_more_becomes_the_longest_token():
    events = ev.from_notes([Note(0, 999, 60, 0), Note(0, 1_000, 60, 0), Note(0, 100_000, 60, 0)])
    assert (events[:, 1] - DURATION.offset).tolist() == [999, 999, 999]


def test_an_onset_larger_than_the_vocabulary_is_not_a_control():
    onset = CONTROL_OFFSET + 15
    assert ev.to_notes(ev.from_notes([Note(onset, 10, 60, 0)])) == [Note(onset, 10, 60, 0)]


def test_notes_have_the_requested_velocity():
    assert ev.to_notes(ev.from_notes([Note(0, 10, 60, 0, velocity=101)]), velocity=33)[0].velocity == 33


def test_rests_do_not_become_notes():
    assert ev.to_notes(ev.from_tokens([100, DURATION.offset, REST])) == []


@given(st.lists(notes.map(lambda note: note._replace(onset=note.onset % 3)), max_size=80))
@settings(max_examples=50, deadline=None)
def test_sort_keeps_the_order_of_simultaneous_events(found):
    by_onset = sorted(found, key=lambda note: note.onset)
    assert ev.to_notes(ev.sort(ev.from_notes(found))) == by_onset


def test_clip_keeps_events_at_both_ends():
    events = ev.from_notes([Note(onset, 1, 60, 0) for onset in (9, 10, 20, 21)])
    assert ev.onsets(ev.clip(events, 10, 20)).tolist() == [10, 20]


def test_clip_treats_controls_like_events():
    found = [Note(0, 50, 60, 0), Note(10, 50, 61, 0), Note(90, 50, 62, 0)]
    clipped = ev.clip(ev.as_controls(ev.from_notes(found)), 5, 40, clip_duration=True)
    assert ev.is_control(clipped).all()
    assert ev.to_notes(clipped) == [Note(10, 30, 61, 0)]


def test_clip_does_not_change_its_argument():
    events = ev.from_notes([Note(0, 50, 60, 0)])
    ev.clip(events, 0, 10, clip_duration=True)
    assert ev.to_notes(events) == [Note(0, 50, 60, 0)]


@given(sorted_events, st.integers(0, 4_000))
@settings(max_examples=100, deadline=None)
def test_pad_leaves_no_second_without_an_event(events, end_ticks):
    padded = ev.pad(events, end_ticks)
    last = max(end_ticks, *ev.onsets(events).tolist(), 0)
    times = np.concatenate([[0], ev.onsets(padded), [last]])
    assert (np.diff(times) >= 0).all()
    assert (np.diff(times) <= REST_INTERVAL_TICKS).all()


@given(sorted_events, st.integers(0, 4_000))
@settings(max_examples=100, deadline=None)
def test_unpad_undoes_pad(events, end_ticks):
    assert tokens(ev.unpad(ev.pad(events, end_ticks))) == tokens(events)


@pytest.mark.parametrize(
    ("end_ticks", "rests"), [(None, []), (0, []), (100, []), (101, [100]), (200, [100]), (201, [100, 200])]
)
def test_no_rest_stands_at_the_end(end_ticks, rests):
    assert ev.onsets(ev.pad(ev.empty(), end_ticks)).tolist() == rests


def test_a_rest_has_the_rest_token_in_its_note_slot():
    assert ev.pad(ev.empty(), 101).tolist() == [[ONSET.offset + 100, DURATION.offset, REST]]


def anticipate_plainly(events, controls):
    """Controls one by one, as the paper describes: each enters once the onset before is 5 s or less ahead."""
    waiting = list(controls)
    found = []
    previous = 0
    for event in events:
        while waiting and previous >= waiting[0][0] - CONTROL_OFFSET - ANTICIPATION_TICKS:
            found.append(waiting.pop(0))
        found.append(event)
        previous = event[0]
    return found, waiting


@given(sorted_events, sorted_events.map(ev.as_controls))
@settings(max_examples=150, deadline=None)
def test_anticipate_agrees_with_a_plain_loop(events, controls):
    interleaved, left_over = ev.anticipate(events, controls)
    assert (interleaved.tolist(), left_over.tolist()) == anticipate_plainly(events.tolist(), controls.tolist())


@given(sorted_events, sorted_events.map(ev.as_controls))
@settings(max_examples=50, deadline=None)
def test_anticipate_keeps_all_events_and_controls_in_order(events, controls):
    interleaved, left_over = ev.anticipate(events, controls)
    assert tokens(interleaved[~ev.is_control(interleaved)]) == tokens(events)
    assert tokens(interleaved[ev.is_control(interleaved)]) + tokens(left_over) == tokens(controls)


@given(sorted_events, st.integers(-500, 500))
@settings(max_examples=50, deadline=None)
def test_translate_moves_events_and_controls_alike(events, ticks):
    both = np.concatenate([events, ev.as_controls(events)])
    assert (ev.onsets(ev.translate(both, ticks)) - ev.onsets(both) == ticks).all()


def test_a_rest_counts_as_an_instrument():
    events = ev.pad(ev.from_notes([Note(150, 10, 60, 128)]))
    assert ev.instrument_codes(events) == {128, 129}


def test_splitting_off_no_instrument_gives_no_controls():
    events = ev.from_notes([Note(0, 10, 60, 0), Note(5, 10, 60, 128)])
    others, controls = ev.split_instruments(events, [])
    assert others.tolist() == events.tolist()
    assert len(controls) == 0


@pytest.mark.parametrize(
    "operation",
    [
        ev.sort,
        ev.pad,
        ev.unpad,
        ev.as_controls,
        lambda events: ev.clip(events, 0, 100, clip_duration=True),
        lambda events: ev.translate(events, 5),
        lambda events: ev.split_instruments(events, [0])[0],
        lambda events: ev.split_instruments(events, [0])[1],
        lambda events: ev.anticipate(events, events)[0],
        lambda events: ev.anticipate(events, events)[1],
    ],
)
def test_every_operation_works_without_events(operation):
    assert operation(ev.empty()).shape == (0, 3)
    assert operation(ev.empty()).dtype == np.int64


def test_no_notes_become_no_events():
    assert ev.from_notes([]).shape == ev.from_tokens([]).shape == (0, 3)
    assert ev.to_notes(ev.empty()) == []
    assert ev.instrument_codes(ev.empty()) == set()


def test_a_note_token_is_128_times_the_instrument_plus_the_pitch():
    assert ev.from_notes([Note(7, 3, 60, 5)]).tolist() == [[7, DURATION.offset + 3, NOTE.offset + 5 * 128 + 60]]
