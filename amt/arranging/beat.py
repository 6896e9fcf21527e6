"""Track the beat of notes by their onsets."""

from functools import lru_cache
from math import exp
from typing import Final

import numpy as np
from numpy.typing import NDArray

PERIODS_TICKS: Final = np.geomspace(30, 150, 128)
"""Beat periods that are tried: from 200 to 40 bpm, close enough together to keep step for several seconds."""

MEMORY_TICKS: Final = 400
"""A note this long ago has 1/e of the weight of a note now."""

PRIOR_ONSETS: Final = 4.0
"""Each accent is weakened as if this many onsets had followed no beat, because a few onsets alone prove nothing."""

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
        self._rows = np.ones((3, len(PERIODS_TICKS)))  # what `accent` averages over the periods; ones for the total
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
        scale = certainty / max(self._n_notes, 1e-12)  # from sums to means, in the end and not for each period
        squares = np.abs(self._sums)
        squares *= squares
        self._rows[0], self._rows[1] = self._sums.real, squares
        weights = squares * squares  # strengths to the power of 4, so that the few strongest periods decide
        real, square, total = (self._rows @ weights).tolist()
        return float(scale**4 * (scale * real - scale**2 * square) / max(scale**4 * total, 1e-12))

    def _advance(self, onset: int) -> None:
        """Let time pass until the onset: turn the sums, and let all counts fade."""
        passed = onset - self._now
        if not passed:
            return
        self._now = onset
        faded, turn = _passing(passed)
        self._sums *= turn
        self._n_notes *= faded
        self._n_onsets *= faded


@lru_cache(maxsize=1_024)
def _passing(ticks: int) -> tuple[float, NDArray[np.complex128]]:
    """Return by what counts fade while so many ticks pass, and by what sums turn and fade."""
    faded = exp(-ticks / MEMORY_TICKS)
    return faded, faded * np.exp(_RADIANS_PER_TICK * ticks)
