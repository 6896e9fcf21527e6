"""When notes end, whatever a file leaves out."""

import pytest

from amt.midi.codec import read_piece
from amt.midi.kinds import ALL_NOTES_OFF, ALL_SOUND_OFF
from tests.amt.midi.building import body, control, note, off, on, song, tempo

HOUR = 3_600_000


def lengths(*tracks, **choices):
    """(onset, duration, pitch) of each note in milliseconds, to 10 ms."""
    return [(10 * each.onset, 10 * each.duration, each.pitch) for each in read_piece(song(*tracks, **choices)).notes]


def test_an_unclosed_note_lasts_until_its_track_ends():
    track = body(on(0, 60), note(500, 900, 64), end=2_000)
    assert lengths(track, [*note(0, 5_000, 40, channel=1)]) == [(0, 2_000, 60), (0, 5_000, 40), (500, 400, 64)]


def test_a_track_without_an_end_ends_with_its_last_message():
    track = body(on(0, 60), note(500, 900, 64))[:-4]
    assert lengths(track) == [(0, 900, 60), (500, 400, 64)]


def test_an_unclosed_note_lasts_until_its_key_is_struck_again():
    track = body(on(0, 60), note(500, 900, 60), note(1_500, 2_000, 62), end=3_000)
    assert lengths(track) == [(0, 500, 60), (500, 400, 60), (1_500, 500, 62)]


def test_a_key_of_another_channel_ends_nothing():
    track = body(on(0, 60), note(500, 900, 60, channel=1), end=3_000)
    assert lengths(track) == [(0, 3_000, 60), (500, 400, 60)]


def test_what_follows_an_unclosed_note_keeps_its_own_length():
    """The note-offs are for the notes that overlap, though an older one of the key is still open."""
    track = body(on(0, 60), *(note(1_000 * step, 1_000 * step + 300, 60) for step in range(1, 4)), end=9_000)
    assert lengths(track) == [(0, 1_000, 60), (1_000, 300, 60), (2_000, 300, 60), (3_000, 300, 60)]


def test_of_a_key_struck_twice_at_once_and_closed_once_both_end():
    track = body(on(0, 60), on(0, 60), off(400, 60), on(0, 67), end=9_000)
    assert lengths(track) == [(0, 400, 60), (0, 400, 60), (0, 9_000, 67)]


@pytest.mark.parametrize("mode", [ALL_SOUND_OFF, ALL_NOTES_OFF, 124, 127])
def test_all_notes_off_ends_the_open_notes_of_its_channel(mode):
    track = body(on(0, 60), on(0, 64), on(0, 60, channel=1), control(700, mode, 0), note(800, 900, 60), end=2_000)
    assert lengths(track) == [(0, 700, 60), (0, 700, 64), (0, 2_000, 60), (800, 100, 60)]


def test_all_notes_off_holds_for_the_tracks_of_its_channel():
    assert lengths(body(on(0, 60), end=2_000), [control(700, ALL_NOTES_OFF, 0)]) == [(0, 700, 60)]


def test_a_note_off_that_comes_after_all_notes_off_ends_no_later_note():
    track = [on(0, 60), control(300, ALL_NOTES_OFF, 0), on(500, 60), off(900, 60), off(1_000, 60)]
    assert lengths(track) == [(0, 300, 60), (500, 400, 60)]


def test_notes_of_one_key_in_two_tracks_end_by_their_own_tracks_note_off():
    left, right = note(0, 2_000, 62), note(500, 1_000, 62)
    assert lengths(left, right) == [(0, 2_000, 62), (500, 500, 62)]
    assert lengths(right, left) == [(0, 2_000, 62), (500, 500, 62)]


def test_a_note_off_in_a_track_that_has_begun_nothing_ends_the_oldest_note():
    assert lengths(body(on(0, 62), on(100, 62), end=3_000), [off(1_000, 62), off(2_000, 62)]) == [
        (0, 1_000, 62),
        (100, 1_900, 62),
    ]


def test_overlapping_notes_of_one_key_end_in_the_order_in_which_they_begin():
    assert lengths([on(0, 60), on(200, 60), off(500, 60), off(900, 60)]) == [(0, 500, 60), (200, 700, 60)]


def test_notes_of_no_length_stay():
    assert lengths([on(100, 60), off(100, 60), *note(100, 300, 62)]) == [(100, 0, 60), (100, 200, 62)]


@pytest.mark.parametrize(("n_open", "sentence"), [(1, "1 note was never closed"), (3, "3 notes were never closed")])
def test_a_notice_counts_the_unclosed_notes(n_open, sentence):
    track = body(*(on(100 * pitch, pitch) for pitch in range(n_open)), note(0, 50, 90), end=1_000)
    assert read_piece(song(track)).notices == [sentence]


def test_an_unclosed_note_of_a_track_that_ends_hours_later_ends_with_the_last_note():
    assert lengths(body(on(0, 60), note(500, 900, 64), end=70 * HOUR)) == [(0, 900, 60), (500, 400, 64)]
    assert lengths(body(on(0, 60), note(500, 900, 64), control(50 * HOUR, 7, 0))) == [(0, 900, 60), (500, 400, 64)]


def test_an_unclosed_note_that_begins_last_sounds_though_its_track_ends_hours_later():
    assert lengths(body(on(1_000, 60), end=70 * HOUR)) == [(1_000, 500, 60)]


def test_an_unclosed_note_may_last_for_minutes():
    assert lengths(body(on(1_000, 60), end=301_000)) == [(1_000, 300_000, 60)]


def test_the_end_of_a_track_is_at_the_tempo_that_holds_then():
    assert lengths([tempo(0, 500_000), tempo(1_000, 1_000_000)], body(on(0, 60), end=2_000)) == [(0, 3_000, 60)]


def test_unclosed_notes_of_a_file_in_smpte_frames_last_until_their_track_ends():
    assert lengths(body(on(0, 60), end=2_000), division=0xE728) == [(0, 2_000, 60)]  # 25 frames of 40 ticks: 1 ms


def test_unclosed_notes_of_independent_patterns_last_until_theirs_ends():
    assert lengths(body(on(0, 60), end=300), body(on(0, 60), end=400), file_type=2) == [(0, 300, 60), (0, 400, 60)]
