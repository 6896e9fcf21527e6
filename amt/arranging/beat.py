"""Where the beat is, as far as the notes tell."""

from typing import Final

import numpy as np

PERIODS_TICKS: Final = np.geomspace(30, 150, 128)
"""Beats that are tried: 200 to 40 a minute, near enough to one another not to lose step within a few seconds."""

MEMORY_TICKS: Final = 400
"""A note so far back counts for 1/e of one now."""

DOUBT: Final = 4.0
"""So many onsets that agree with no beat are thought to have been heard: a few alone prove nothing."""

CLARITY: Final = 4
"""The power of its lopsidedness by which a period counts: the clearest few decide."""

_TURN: Final = 2j * np.pi / PERIODS_TICKS


class BeatTracker:
    """The beat of notes that are told by onset.

    For every period the onsets are laid round a circle that turns with it, now being at the right; the more lopsided
    a circle, the more its period is a beat. Only the sum of each circle is kept.
    """

    def __init__(self) -> None:
        self._now = 0
        self._circles = np.zeros(len(PERIODS_TICKS), dtype=np.complex128)
        self._n_notes, self._n_onsets = 0.0, 0.0

    def observe(self, onset: int, n_notes: int = 1) -> None:
        """So many notes begin at once, at a time in ticks that is after the last."""
        self._turn(onset)
        self._circles += n_notes
        self._n_notes += n_notes
        self._n_onsets += 1

    def accent(self, onset: int) -> float:
        """How much stronger the beat is at a time than where notes usually are: -2 to 0.25, on average about 0.

        Strong is where most notes have been, weak is opposite to them; when all are alike, none is strong.
        """
        self._turn(onset)
        certainty = self._n_onsets / (self._n_onsets + DOUBT)
        circles = certainty * self._circles / max(self._n_notes, 1e-12)
        lopsided = np.abs(circles)
        clarity = lopsided**CLARITY
        return float(clarity @ (circles.real - lopsided**2) / max(clarity.sum(), 1e-12))

    def _turn(self, onset: int) -> None:
        passed = onset - self._now
        self._now = onset
        faded = float(np.exp(-passed / MEMORY_TICKS))
        self._circles *= faded * np.exp(_TURN * passed)
        self._n_notes *= faded
        self._n_onsets *= faded
