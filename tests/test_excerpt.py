import pytest

from amt.errors import NoNotesError
from amt.events import Note
from amt.excerpt import take_excerpt


def test_a_short_piece_is_taken_whole() -> None:
    excerpt = take_excerpt([Note(0, 50, 60, 0), Note(250, 50, 62, 0)])
    assert excerpt.num_tokens == excerpt.original_tokens == 3 * (2 + 2)  # two rests in the silence


def test_a_long_piece_is_cut_at_whole_events() -> None:
    excerpt = take_excerpt([Note(10 * index, 5, 60, 0) for index in range(500)])
    assert (excerpt.num_tokens, excerpt.original_tokens) == (1_023, 1_500)


def test_a_sparse_piece_is_cut_before_100_seconds() -> None:
    excerpt = take_excerpt([Note(0, 5, 60, 0), Note(30_000, 5, 60, 0)])
    assert excerpt.num_tokens == 3 * (1 + 99)
    assert excerpt.original_tokens == 3 * (2 + 299)


def test_a_day_of_silence_costs_nothing() -> None:
    excerpt = take_excerpt([Note(0, 5, 60, 0), Note(8_640_000, 5, 60, 0)])
    assert excerpt.original_tokens == 3 * (2 + 86_399)


def test_silence_before_the_first_note_does_not_matter() -> None:
    notes = [Note(0, 50, 60, 0), Note(250, 50, 62, 0)]
    later = [note._replace(onset=note.onset + 3_000) for note in notes]
    assert take_excerpt(later) == take_excerpt(notes)


def test_nothing_cannot_be_excerpted() -> None:
    with pytest.raises(NoNotesError, match="no notes"):
        take_excerpt([])
