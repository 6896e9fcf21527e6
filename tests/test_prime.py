import pytest

from amt import midi
from amt.errors import NoNotesError, PrimeError
from amt.events import Note
from amt.prime import MAX_PRIME_NOTES, Prime, take_prime

NOTES = [Note(300, 50, 64, 1, 99), Note(0, 1_500, 60, 0, 5), Note(499, 200, 62, 0), Note(500, 50, 65, 0)]


def test_notes_that_begin_within_the_prime_are_kept_as_they_are() -> None:
    assert take_prime(NOTES, 500).notes == [NOTES[1], NOTES[0], NOTES[2]]


def test_new_music_begins_where_the_prime_ends() -> None:
    assert take_prime(NOTES, 500).end_ticks == 500


def test_new_music_begins_with_the_end_of_a_shorter_piece() -> None:
    assert take_prime([Note(0, 120, 60, 0), Note(50, 20, 60, 0)], 500).end_ticks == 120


def test_no_notes_at_all_is_an_error() -> None:
    with pytest.raises(NoNotesError, match="no notes"):
        take_prime([], 500)


def test_silence_throughout_the_prime_is_an_error_that_says_when_the_first_note_begins() -> None:
    with pytest.raises(NoNotesError, match=r"first 5 s .* the first begins at 12.3 s"):
        take_prime([Note(1_230, 50, 60, 0)], 500)


def test_the_prime_comes_back_although_a_new_hit_begins_within_one_of_its_own() -> None:
    prime = Prime([Note(490, 100, 38, 128)], 500)
    file = midi.write_notes(prime.followed_by([Note(510, 10, 38, 128), Note(520, 10, 36, 128)]))
    assert midi.read_notes(file) == [Note(490, 100, 38, 128), Note(510, 80, 38, 128), Note(520, 10, 36, 128)]


def test_more_notes_than_music_has_are_refused() -> None:
    with pytest.raises(PrimeError, match="at most 20000 can be continued"):
        take_prime([Note(0, 5, 60, 0)] * (MAX_PRIME_NOTES + 1), 500)
