"""Track the beat of notes by their onsets."""

from typing import Final

import numpy as np

PERIODS_TICKS: Final = np.geomspace(30, 150, 128)
"""Beat periods that are tried: from 200 to 40 bpm, close enough together to keep step for several seconds."""

MEMORY_TICKS: Final = 400
"""A note this long ago has 1/e of the weight of a note now."""

PRIOR_ONSETS: Final = 4.0
"""Each accent is weakened as if this many onsets had followed no beat, because a few onsets alone prove nothing."""

CLARITY_POWER: Final = 4
"""The power of a period's strength that is its weight, so that the few strongest periods decide."""

_RADIANS_PER_TICK: Final = 2j * np.pi / PERIODS_TICKS


class BeatTracker:
    """Estimate which times are on the beat, from the onsets so far.

    For each period there is one complex number, the sum of all notes as unit vectors. It turns once per period, and
    notes are added at angle 0. The longer the sum, the better the notes fit that period; its angle says how far the
    current time is from their beat.
    """

    def __init__(self) -> None:
        self._now = 0
        self._sums = np.zeros(len(PERIODS_TICKS), dtype=np.complex128)
        self._n_notes, self._n_onsets = 0.0, 0.0

    def observe(self, onset: int, n_notes: int = 1) -> None:
        """Add notes that begin together; `onset` is in ticks, and later than all before it."""
        self._advance(onset)
        self._sums += n_notes
        self._n_notes += n_notes
        self._n_onsets += 1

    def accent(self, onset: int) -> float:
        """Return how much stronger the beat is at a time than at the times of notes on average: from -2 to 0.25.

        It is positive where most notes have been, negative between those, and about 0 if notes are spread evenly.
        """
        self._advance(onset)
        certainty = self._n_onsets / (self._n_onsets + PRIOR_ONSETS)
        means = certainty * self._sums / max(self._n_notes, 1e-12)
        strengths = np.abs(means)
        weights = strengths**CLARITY_POWER
        return float(weights @ (means.real - strengths**2) / max(weights.sum(), 1e-12))

    def _advance(self, onset: int) -> None:
        """Let time pass until the onset: turn the sums, and let all counts fade."""
        passed = onset - self._now
        self._now = onset
        faded = float(np.exp(-passed / MEMORY_TICKS))
        self._sums *= faded * np.exp(_RADIANS_PER_TICK * passed)
        self._n_notes *= faded
        self._n_onsets *= faded
