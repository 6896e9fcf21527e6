import math

import numpy as np
import pytest

from amt.harmony.chords import ChordSpan
from amt.midi.grid import Grid
from amt.midi.notes import DRUMS, Note
from amt.tokens import events as ev
from benchmarks import music_statistics as music

LINES = Grid(
    np.array([0, 12, 25, 38, 50]), np.array([0.0, 125, 250, 375, 500]), np.array([3, 0, 1, 0, 2], dtype=np.int8)
)
C_THEN_F = (ChordSpan(0, frozenset({0, 4, 7}), "C"), ChordSpan(100, frozenset({5, 9, 0}), "F"))
STRONG = np.array([0, 100])


def events(*notes: tuple[int, int, int], instrument: int = 0) -> ev.Events:
    """Return notes given as (onset, duration, pitch)."""
    return ev.from_notes([Note(onset, duration, pitch, instrument) for onset, duration, pitch in notes])


def test_only_onsets_exactly_on_a_line_count_as_on_it() -> None:
    assert music.share_on_lines(events((0, 9, 60), (12, 9, 60), (13, 9, 60), (49, 9, 60)), LINES) == 0.5


def test_the_metre_is_that_of_the_nearest_lines() -> None:
    new = events((4, 9, 60), (20, 9, 60), (45, 9, 60), (60, 9, 60))
    assert music.nearest_lines(new[:, 0], LINES).tolist() == [0, 2, 4, 4]
    assert music.share_on_level(new, LINES, music.DOWNBEAT_LEVEL) == 0.25
    assert music.share_on_level(new, LINES, music.BEAT_LEVEL) == 0.75


def test_drums_are_in_no_key() -> None:
    both = np.concatenate([events((0, 9, 60), (0, 9, 61)), events((0, 9, 37), instrument=DRUMS)])
    assert music.share_in(both, frozenset({0})) == 0.5


def test_pitch_classes_have_the_entropy_of_their_shares() -> None:
    assert music.pitch_class_entropy(events(*[(0, 9, 48 + pitch) for pitch in (0, 12, 2, 4)])) == 1.5


def test_six_keys_are_all_there_is_unless_more_are_played_in_the_last_20_seconds() -> None:
    early = events(*[(tick, 9, 40 + tick) for tick in range(50)])
    late = events(*[(2_000 + tick, 9, 60 + tick % 8) for tick in range(80)])
    assert music.dwelling(np.concatenate([early, late]), end_ticks=4_000) == pytest.approx(6 / 8)
    assert math.isnan(music.dwelling(events((0, 9, 36), instrument=DRUMS), end_ticks=100))


def test_chord_tones_are_those_of_the_chord_at_their_onset() -> None:
    shares = music.chord_shares(events((0, 50, 64), (50, 50, 65), (100, 50, 65), (150, 50, 64)), C_THEN_F, STRONG)
    assert shares.by_count == shares.by_duration == 0.5
    assert shares.on_strong_beats == 1


def test_an_onset_just_before_a_change_belongs_to_the_next_chord() -> None:
    assert music.chord_shares(events((95, 50, 65)), C_THEN_F, STRONG).by_count == 1
    assert music.chord_shares(events((94, 50, 65)), C_THEN_F, STRONG).by_count == 0


def test_a_note_that_sounds_on_into_another_chord_fits_as_long_as_its_own_lasts() -> None:
    assert music.chord_shares(events((50, 200, 64)), C_THEN_F, STRONG).by_duration == pytest.approx(0.25)


def test_notes_that_fit_every_chord_tell_none_from_another() -> None:
    assert music.chord_shares(events((0, 9, 60), (100, 9, 60)), C_THEN_F, STRONG).specific == 0
    assert music.chord_shares(events((0, 9, 64), (100, 9, 65)), C_THEN_F, STRONG).specific == 1


def test_nothing_is_said_of_no_notes() -> None:
    assert all(map(math.isnan, music.chord_shares(ev.empty(), C_THEN_F, STRONG)))
    assert math.isnan(music.share_on_lines(ev.empty(), LINES))
    assert math.isnan(music.pitch_class_entropy(ev.empty()))
