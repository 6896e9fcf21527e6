import pickle
import random
from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from amt.arranging.plan import (
    MAX_NOTES,
    EditPlan,
    accompany,
    continue_from_end,
    continue_from_start,
    from_nothing,
    infill,
)
from amt.decoding.sequence import Sequence
from amt.errors import ArrangementError, NoNotesError
from amt.midi import codec
from amt.midi.notes import DRUMS, Note
from amt.tokens import events as ev
from amt.tokens.vocab import MAX_WINDOW_EVENTS
from tests.conftest import GOLDEN
from worker.jobs import GenerateJob

NOTES = [Note(300, 50, 64, 1, 99), Note(0, 1_500, 60, 0, 5), Note(499, 200, 62, 0), Note(500, 50, 65, 0)]
CASTLE = codec.read_notes((GOLDEN / "midi/easyrpg_castle1.mid").read_bytes())


def round_trip(notes: list[Note]) -> Counter[Note]:
    return Counter(codec.read_notes(codec.write_notes(notes)))


def test_a_plan_from_nothing_keeps_no_notes() -> None:
    assert from_nothing(500) == EditPlan(start_ticks=0, end_ticks=500, length_ticks=500)


def test_notes_that_begin_within_the_prime_are_kept_and_are_the_prompt() -> None:
    plan = continue_from_start(NOTES, 500, 100)
    assert plan.kept == plan.prompt == [NOTES[1], NOTES[0], NOTES[2]]


def test_new_music_begins_where_the_prime_ends() -> None:
    plan = continue_from_start(NOTES, 500, 100)
    assert (plan.start_ticks, plan.end_ticks, plan.length_ticks) == (500, 600, 600)


def test_new_music_begins_at_the_end_of_a_piece_shorter_than_the_prime() -> None:
    assert continue_from_start([Note(0, 120, 60, 0), Note(50, 20, 60, 0)], 500, 100).start_ticks == 120


def test_continuing_from_the_end_keeps_all_notes_and_prompts_with_the_last() -> None:
    notes = [Note(0, 50, 60, 0), Note(900, 50, 62, 0), Note(980, 20, 64, 0)]
    plan = continue_from_end(notes, 100, 300)
    assert (plan.kept, plan.prompt) == (notes, notes[1:])
    assert (plan.start_ticks, plan.end_ticks, plan.length_ticks) == (1_000, 1_300, 1_300)


def test_continuing_from_the_end_starts_time_at_the_first_note_of_the_prompt() -> None:
    request = continue_from_end([Note(0, 50, 60, 0), Note(9_000, 70, 62, 3)], 100, 300).request()
    assert (request.start_ticks, request.end_ticks) == (70, 370)
    assert ev.to_notes(request.prompt) == [Note(0, 70, 62, 3)]


def test_decoded_events_become_notes_at_times_of_the_result() -> None:
    plan = continue_from_end([Note(0, 50, 60, 0), Note(9_000, 70, 62, 3)], 100, 300)
    decoded = ev.from_notes([Note(80, 10, 65, 3), Note(360, 50, 67, 3)])
    assert plan.new_notes(decoded) == [Note(9_080, 10, 65, 3), Note(9_360, 10, 67, 3)]


def test_all_kept_instruments_exist_for_the_decoder_though_few_are_in_the_prompt() -> None:
    notes = [Note(100 * instrument, 100, 60, instrument) for instrument in range(20)]
    request = continue_from_end(notes, 100, 300).request()
    assert request.existing_instruments == set(range(20))
    assert len(ev.instrument_codes(request.prompt)) == 1


def test_a_last_note_longer_than_the_prime_is_the_prompt() -> None:
    notes = [Note(0, 10, 60, 0), Note(100, 800, 62, 0)]
    plan = continue_from_end(notes, 100, 500)
    assert (plan.prompt, plan.start_ticks) == ([notes[1]], 900)


def test_a_piece_without_notes_is_refused() -> None:
    for call in (
        lambda: continue_from_start([], 500, 100),
        lambda: continue_from_end([], 500, 100),
        lambda: accompany([], [], 0),
        lambda: infill([], 0, 100),
    ):
        with pytest.raises(NoNotesError, match="holds no notes"):
            call()


def test_a_silent_prime_is_refused_with_the_time_of_the_first_note() -> None:
    with pytest.raises(NoNotesError, match=r"first 5 s .* the first begins at 12.3 s"):
        continue_from_start([Note(1_230, 50, 60, 0)], 500, 100)


def test_more_than_twenty_thousand_notes_are_refused() -> None:
    many = [Note(0, 500, 60, 0)] * (MAX_NOTES + 1)
    for call in (
        lambda: continue_from_start(many, 500, 100),
        lambda: continue_from_end(many, 500, 100),
        lambda: accompany(many, [], 0),
        lambda: infill(many, 100, 200),
    ):
        with pytest.raises(ArrangementError, match="at most 20000 are allowed"):
            call()


def test_the_melody_is_kept_whole_and_becomes_the_controls() -> None:
    melody = [Note(0, 50, 70, 73), Note(600, 100, 72, 73), Note(2_000, 100, 72, 73)]
    plan = accompany(melody, [], 0, 500)
    assert (plan.kept, plan.controls, list(plan.prompt)) == (melody, melody[:2], [])
    assert (plan.start_ticks, plan.end_ticks, plan.length_ticks) == (0, 500, 2_100)


def test_the_accompaniment_within_the_prime_is_kept_and_is_the_prompt() -> None:
    melody = [Note(0, 900, 70, 73)]
    accompaniment = [Note(0, 50, 50, 32), Note(199, 50, 52, 32), Note(200, 50, 53, 32)]
    plan = accompany(melody, accompaniment, 200)
    assert plan.prompt == accompaniment[:2]
    assert plan.kept == [*melody, *accompaniment[:2]]
    assert (plan.start_ticks, plan.end_ticks) == (200, 900)


def test_a_new_accompaniment_lasts_no_longer_than_two_minutes() -> None:
    plan = accompany([Note(0, 20_000, 60, 0)], [], 300)
    assert (plan.end_ticks, plan.length_ticks) == (12_300, 20_000)


def test_a_melody_that_ends_before_the_prime_is_refused_with_its_end() -> None:
    with pytest.raises(NoNotesError, match="ends at 3 s, before prime_seconds"):
        accompany([Note(0, 300, 60, 0)], [], 400)


def test_infilling_keeps_all_notes_outside_the_span() -> None:
    notes = [Note(0, 500, 60, 0), Note(200, 10, 62, 0), Note(299, 50, 64, 1), Note(300, 50, 65, 0)]
    plan = infill(notes, 200, 300)
    assert plan.kept == [notes[0], notes[3]]
    assert (plan.prompt, plan.controls) == ([notes[0]], [notes[3]])
    assert (plan.start_ticks, plan.end_ticks, plan.length_ticks) == (200, 300, 500)


def test_infilling_replaces_only_the_named_instruments_and_the_others_are_controls() -> None:
    notes = [Note(0, 50, 60, 0), Note(10, 50, 60, 1), Note(210, 10, 62, 0), Note(220, 10, 64, 1), Note(310, 50, 65, 0)]
    plan = infill(notes, 200, 300, {0})
    assert plan.kept == [notes[0], notes[1], notes[3], notes[4]]
    assert (plan.prompt, plan.controls) == ([notes[0]], [notes[1], notes[3], notes[4]])


def test_locked_notes_stay_within_the_span_and_are_told_ahead() -> None:
    notes = [Note(0, 50, 60, 0), Note(210, 10, 62, 0), Note(210, 10, 62, 0), Note(250, 10, 64, 0), Note(310, 5, 65, 0)]
    plan = infill(notes, 200, 300, locked=[notes[2], notes[3]])
    assert plan.kept == [notes[0], *notes[2:]]  # of two equal notes one
    assert (plan.prompt, plan.controls) == ([notes[0]], notes[2:])


def test_new_notes_may_come_between_notes_that_are_all_locked() -> None:
    plan = infill(CASTLE, 400, 800, locked=CASTLE)
    assert Counter(plan.kept) == Counter(CASTLE)
    assert (plan.start_ticks, plan.end_ticks) == (400, 800)


def test_a_span_past_the_last_note_is_refused_with_the_range() -> None:
    with pytest.raises(ArrangementError, match=r"end_seconds must be in range 0\.\.5, .* got 5\.1"):
        infill([Note(0, 500, 60, 0)], 100, 510)


def test_a_span_without_notes_around_it_is_refused() -> None:
    with pytest.raises(NoNotesError, match="100 s before the span or in the 5 s after it"):
        infill([Note(150, 500, 60, 0)], 100, 300)


def test_no_more_notes_are_sent_than_a_window_can_hold() -> None:
    notes = [Note(10 * step, 10, 60, step % 3) for step in range(9_000)]
    request = infill(notes, 60_000, 61_000, {1}).request()
    assert len(request.prompt) + len(request.controls) < MAX_WINDOW_EVENTS + 200
    assert len(continue_from_end(notes, 6_000, 1_000).request().prompt) <= MAX_WINDOW_EVENTS


@pytest.mark.parametrize("rewritten", [None, {0}, {99}])
def test_every_span_of_a_piece_can_be_decoded(rewritten: set[int] | None) -> None:
    end = max(note.onset + note.duration for note in CASTLE)
    for start in range(0, end - 500, 1_500):
        Sequence(infill(CASTLE, start, start + 500, rewritten).request())


def note_among(instruments: int, ticks: int, longest: int) -> st.SearchStrategy[Note]:
    """Draw notes of few pitches, so that many overlap."""
    onsets, lengths = st.integers(0, ticks), st.integers(0, longest)
    numbers = st.tuples(onsets, lengths, st.integers(60, 61), st.integers(DRUMS + 1 - instruments, DRUMS))
    return numbers.map(lambda each: Note(*each))


def ordered_drums(notes: list[Note]) -> list[Note]:
    """Return the notes that a file can hold: the hits of a drum end in the order in which they begin."""
    kept: dict[int, Note] = {}
    chosen = []
    for note in sorted(notes):
        before = kept.get(note.pitch)
        if note.instrument == DRUMS:
            if before and before.onset + before.duration > note.onset + note.duration:
                continue
            kept[note.pitch] = note
        chosen.append(note)
    return chosen


@settings(max_examples=150, deadline=None)
@given(st.lists(note_among(5, 60, 40), max_size=14), st.lists(note_among(20, 60, 40), max_size=40), st.integers(0, 40))
def test_kept_notes_survive_a_round_trip_with_any_new_notes_among_them(
    kept: list[Note], new: list[Note], start: int
) -> None:
    kept = ordered_drums(kept)
    plan = EditPlan(start, start + 20, 100, kept)
    new_notes = plan.new_notes(ev.from_notes(new))
    assert round_trip([*kept, *new_notes]) >= round_trip(kept)
    assert all(start <= note.onset and note.onset + note.duration <= start + 20 for note in new_notes)


def test_real_pieces_survive_a_round_trip_with_new_notes_among_them() -> None:
    rng = np.random.default_rng(0)
    for path in sorted((GOLDEN / "midi").glob("*.mid"))[:12]:
        notes = sorted(codec.read_notes(path.read_bytes()))
        plan = EditPlan(0, 3_000, 3_000, notes)
        copies = [notes[index] for index in rng.integers(0, len(notes), 400)]
        moved = [note._replace(onset=max(note.onset + int(rng.integers(-50, 50)), 0)) for note in copies]
        new_notes = plan.new_notes(ev.from_notes(moved))
        assert round_trip([*notes, *new_notes]) >= round_trip(notes), path.name
        assert new_notes


def test_a_new_note_within_a_kept_one_of_its_pitch_ends_no_earlier() -> None:
    plan = continue_from_start([Note(490, 100, 38, 128)], 500, 200)
    new_notes = plan.new_notes(ev.from_notes([Note(510, 10, 38, 128), Note(520, 10, 36, 128)]))
    assert new_notes == [Note(510, 80, 38, 128), Note(520, 10, 36, 128)]


def test_a_new_note_ends_where_a_kept_one_of_its_pitch_begins() -> None:
    plan = EditPlan(100, 310, 310, [Note(300, 10, 60, 0)])
    assert plan.new_notes(ev.from_notes([Note(250, 60, 60, 0)])) == [Note(250, 50, 60, 0)]


@pytest.mark.parametrize("onset", [150, 200])
def test_a_new_note_that_would_cut_a_kept_one_short_is_left_out(onset: int) -> None:
    kept = [Note(100, 300, 60, 0), Note(200, 10, 60, 0)]  # sounds past the span; begins at the same time
    assert EditPlan(140, 300, 400, kept).new_notes(ev.from_notes([Note(onset, 20, 60, 0)])) == []


def test_infilling_any_span_keeps_notes_of_the_piece_in_order() -> None:
    rng = random.Random(0)
    for _ in range(20):
        start = rng.randrange(0, 4_000)
        plan = infill(CASTLE, start, start + rng.randrange(10, 1_000), {rng.choice(CASTLE).instrument})
        assert not Counter(plan.kept) - Counter(CASTLE)
        assert all(first.onset <= second.onset for first, second in pairwise(plan.kept))


def test_the_plan_is_not_sent_to_the_worker() -> None:
    plan = continue_from_end(CASTLE, 500, 100)
    job = GenerateJob("tiny", {}, streams=False, redraws=False, plan=plan, sequences=(plan.request(),))
    received = pickle.loads(pickle.dumps(job.for_worker()))
    assert not hasattr(received, "plan")
    assert (received.sequences[0].prompt == job.sequences[0].prompt).all()


def test_new_notes_are_lengthened_only_if_that_is_allowed() -> None:
    plan = EditPlan(0, 500, 500, [Note(0, 400, 60, 0)])
    inside = ev.from_notes([Note(100, 20, 60, 0), Note(100, 20, 64, 0)])
    assert plan.new_notes(inside) == [Note(100, 300, 60, 0), Note(100, 20, 64, 0)]
    assert plan.new_notes(inside, lengthens=False) == [Note(100, 20, 64, 0)]
