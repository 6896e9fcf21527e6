from itertools import pairwise

import numpy as np
import pytest

from amt.errors import NoNotesError
from amt.midi.notes import Note
from amt.tokens import events as ev
from amt.tokens.vocab import MAX_ONSET_TICKS, MAX_WINDOW_EVENTS
from amt.tokens.windows import Excerpt, take_excerpt

DENSE = [Note(10 * index, 5, 60, 0) for index in range(500)]
SPARSE = [Note(0, 5, 60, 0), Note(30_000, 5, 60, 0)]
MIXED = [*DENSE, *(Note(5_000 + 130 * index, 300, 40, 32) for index in range(600))]


def joined(excerpt: Excerpt) -> ev.Events:
    """The events of all windows, with their onsets from the first note."""
    start = excerpt.windows[0].start_ticks
    return np.concatenate([ev.translate(each.events, each.start_ticks - start) for each in excerpt.windows])


def test_a_short_piece_fits_into_one_window() -> None:
    excerpt = take_excerpt([Note(0, 50, 60, 0), Note(250, 50, 62, 0)])
    assert excerpt.num_tokens == excerpt.original_tokens == 3 * (2 + 2)  # two rests in the silence


def test_a_long_piece_is_cut_at_whole_events() -> None:
    excerpt = take_excerpt(DENSE)
    assert (excerpt.num_tokens, excerpt.original_tokens) == (1_023, 1_500)


def test_a_sparse_piece_is_cut_before_100_seconds() -> None:
    excerpt = take_excerpt(SPARSE)
    assert excerpt.num_tokens == 3 * (1 + 99)
    assert excerpt.original_tokens == 3 * (2 + 299)


def test_a_day_of_silence_is_filled_with_rests() -> None:
    excerpt = take_excerpt([Note(0, 5, 60, 0), Note(8_640_000, 5, 60, 0)])
    assert excerpt.original_tokens == 3 * (2 + 86_399)


def test_silence_before_the_first_note_is_left_out() -> None:
    notes = [Note(0, 50, 60, 0), Note(250, 50, 62, 0)]
    later = [note._replace(onset=note.onset + 3_000) for note in notes]
    first, second = take_excerpt(notes), take_excerpt(later)
    assert np.array_equal(first.windows[0].events, second.windows[0].events)
    assert second.windows[0].start_ticks == 3_000


@pytest.mark.parametrize("notes", [DENSE[:1], DENSE, SPARSE, MIXED, MIXED[::-1]])
def test_the_windows_of_a_whole_piece_hold_all_its_events_in_order(notes: list[Note]) -> None:
    excerpt = take_excerpt(notes, whole=True)
    events = ev.pad(ev.sort(ev.from_notes(notes)))
    assert np.array_equal(joined(excerpt), events)
    assert excerpt.num_tokens == excerpt.original_tokens == events.size


@pytest.mark.parametrize("notes", [DENSE, SPARSE, MIXED])
def test_every_window_fits_the_model_and_could_not_begin_earlier(notes: list[Note]) -> None:
    windows = take_excerpt(notes, whole=True).windows
    for window in windows:
        assert window.events[0, 0] == 0
        assert window.events[-1, 0] < MAX_ONSET_TICKS
        assert len(window.events) <= MAX_WINDOW_EVENTS
    for window, following in pairwise(windows):
        n_ticks = following.start_ticks - window.start_ticks
        assert len(window.events) == MAX_WINDOW_EVENTS or n_ticks >= MAX_ONSET_TICKS


def test_each_window_ends_where_the_next_begins_and_the_last_with_the_piece() -> None:
    notes = [note._replace(onset=note.onset + 700) for note in MIXED]
    windows = take_excerpt(notes, whole=True).windows
    assert windows[0].start_ticks == 700
    assert [each.end_ticks for each in windows[:-1]] == [each.start_ticks for each in windows[1:]]
    assert windows[-1].end_ticks == max(note.onset + note.duration for note in notes)


@pytest.mark.parametrize("notes", [DENSE[:1], DENSE, SPARSE, MIXED])
def test_the_first_window_is_the_same_if_the_whole_piece_is_cut(notes: list[Note]) -> None:
    (alone,), (first, *_) = take_excerpt(notes).windows, take_excerpt(notes, whole=True).windows
    assert np.array_equal(alone.events, first.events)
    assert alone[1:] == first[1:]


def test_an_excerpt_without_notes_is_refused() -> None:
    with pytest.raises(NoNotesError, match="no notes"):
        take_excerpt([])
