import pytest

from amt.decoding.constraints import NO_CONSTRAINTS, Constraints
from amt.decoding.degenerate import find_flaw
from amt.midi.notes import DRUMS, Note
from amt.tokens import events as ev


def melody(pitches: list[int], step_ticks: int = 30, instrument: int = 0) -> ev.Events:
    return ev.from_notes([Note(step_ticks * i, 20, pitch, instrument) for i, pitch in enumerate(pitches)])


TUNE = [60, 62, 64, 65, 67, 69, 71, 72]


@pytest.mark.parametrize("hang", [[60], [60, 67]])
def test_music_that_ends_on_one_or_two_repeated_notes_is_stuck(hang: list[int]) -> None:
    assert find_flaw(melody(TUNE + hang * (40 // len(hang))), NO_CONSTRAINTS) == "stuck"


@pytest.mark.parametrize(
    "pitches",
    [TUNE * 5, [60] * 40 + TUNE, TUNE + [60] * 15, [60, 64, 67] * 15],
    ids=["a tune", "a hang that ends", "a few repeats", "three notes"],
)
def test_music_that_changes_at_the_end_is_not_stuck(pitches: list[int]) -> None:
    assert find_flaw(melody(pitches), NO_CONSTRAINTS) is None


def test_a_fast_trill_at_the_end_is_not_stuck() -> None:
    assert find_flaw(melody([*TUNE, *[60, 62] * 20], step_ticks=10), NO_CONSTRAINTS) is None


def test_one_repeated_drum_is_stuck_and_two_are_not() -> None:
    assert find_flaw(melody([36, 42] * 20, instrument=DRUMS), NO_CONSTRAINTS) is None
    assert find_flaw(melody([42] * 40, instrument=DRUMS), NO_CONSTRAINTS) == "stuck"


def test_music_without_notes_is_silent() -> None:
    assert find_flaw(ev.empty(), NO_CONSTRAINTS) == "silent"


def test_two_notes_are_not_stuck_if_only_these_two_are_legal() -> None:
    constraints = Constraints(groups=(frozenset({0}),), pitch_range=(60, 61))
    assert find_flaw(melody([60, 61] * 20), constraints) is None
