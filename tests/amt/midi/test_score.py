"""When a piece ends."""

import pytest

from amt.errors import MidiError
from amt.midi.codec import read_piece
from tests.amt.midi.building import body, control, meta, note, song, tempo

HOUR = 3_600_000


def length(*tracks, **choices):
    return 10 * read_piece(song(*tracks, **choices)).length_ticks


def clip(end, *events):
    """Seven beats of notes, and the end of the track."""
    return body([*events], *(note(500 * beat, 500 * beat + 500, 60) for beat in range(7)), end=end)


@pytest.mark.parametrize("end", [4_000, 4_500, 5_000, 5_500])
def test_a_clip_ends_on_the_beat_of_its_end_of_track_at_most_a_bar_behind_the_last_note(end):
    assert length(clip(end)) == end


@pytest.mark.parametrize("end", [3_500, 3_501, 3_520, 4_001, 4_250, 6_000, 70 * HOUR])
def test_else_it_ends_with_its_last_note(end):
    assert length(clip(end)) == 3_500


def test_bars_and_beats_are_those_of_the_metre():
    six_eight = meta(0, 0x58, b"\6\3\x18\x08")
    assert [length(clip(end, six_eight)) for end in (3_750, 5_000, 5_250)] == [3_750, 5_000, 3_500]


def test_beats_are_at_the_tempo_of_the_end():
    assert length(clip(4_000, tempo(3_500, 1_000_000))) == 4_500


def test_a_silent_tail_before_a_controller_does_not_count_either():
    assert length(body(note(0, 500, 60), control(60 * HOUR, 7, 0), end=70 * HOUR)) == 500


def test_music_after_a_day_is_refused():
    with pytest.raises(MidiError, match="last 60 hours: at most 24 are read"):
        read_piece(song([*note(0, 500, 60), *note(60 * HOUR - 500, 60 * HOUR, 60)]))


@pytest.mark.parametrize("end", [0, 500, 70 * HOUR])
def test_a_file_without_notes_has_no_length(end):
    assert length(body(end=end)) == 0
