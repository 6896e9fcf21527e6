"""The strength with which notes are led to chords follows how well they have fitted."""

import pytest

from amt.decoding.chord_tones import EARLY_TICKS, FIRST_STRENGTH, GAIN, MAX_STRENGTH, ChordTones
from amt.harmony.chords import ChordSpan

C, F, NONE = frozenset({0, 4, 7}), frozenset({5, 9, 0}), frozenset[int]()
DRUM = 128 * 128 + 36


def change(onset: int, duration: int, key: int, share: float = 0.8) -> float:
    """By how much one note changes the strength; the music begins at 1,000, with C, then F, then nothing."""
    chords = (ChordSpan(1_000, C, "C"), ChordSpan(1_200, F, "F"), ChordSpan(1_400, NONE, "N.C."))
    tones = ChordTones(chords, share, 1_000)
    tones.observe(onset, duration, key)
    return tones.strength - FIRST_STRENGTH


@pytest.mark.parametrize(
    ("onset", "duration", "pitch", "fit"),
    [
        (1_000, 100, 64, 1),
        (1_000, 100, 65, 0),
        (1_000, 395, 60, 1),  # in both chords
        (1_195, 50, 65, 1),  # so early that it belongs to the next
        (1_194, 50, 65, 44 / 45),
        (1_095, 210 - EARLY_TICKS, 64, 0.5),
        (1_300, 300, 65, 1),  # what sounds where no chord does, does not count
    ],
)
def test_the_share_of_its_time_in_chords_counts(onset: int, duration: int, pitch: int, fit: float) -> None:
    assert change(onset, duration, pitch) == pytest.approx(GAIN * (0.8 - fit), abs=2e-3)


def test_drums_and_notes_beside_any_chord_change_nothing() -> None:
    assert change(1_000, 100, DRUM) == 0
    assert change(1_500, 100, 61) == 0


def test_the_strength_is_limited() -> None:
    tones = ChordTones((ChordSpan(0, C, "C"),), 0.9, 0)
    for onset in range(0, 1_000, 10):
        tones.observe(onset, 10, 61)
    assert tones.strength == MAX_STRENGTH
    assert ChordTones((ChordSpan(0, C, "C"),), 0.0, 0).strength == 0
