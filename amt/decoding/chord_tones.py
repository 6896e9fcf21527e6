"""Aim at a share of chord tones among the new notes of one sequence."""

from bisect import bisect_right
from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from amt.errors import SequenceError
from amt.harmony.chords import ChordSpan
from amt.midi.notes import DRUMS, N_PITCHES

N_PITCH_CLASSES: Final = 12

MAX_SPANS: Final = 1_024
"""How many chords a sequence may have: tables of all rows lie side by side."""

NEVER: Final = 2**30
"""When unused spans of a table begin, in ticks."""

EARLY_TICKS: Final = 5
"""An onset by so much ahead of a change belongs to the next chord."""

FIRST_STRENGTH: Final = 2.0
MIN_STRENGTH, MAX_STRENGTH = 0.01, 8.0

GAIN: Final = 0.3
"""Nats by which the strength changes for a note wholly in or out of its chord, less the share aimed at."""


class ChordTones:
    """Follow how the new notes of one sequence fit its chords, and adapt how strongly they are led there.

    A fixed bias would give one share beside a chorale and quite another from nothing.

    Attributes:
        strength: nats that a note gains which lies wholly in chords that hold its pitch class.
        table: (start in ticks from that of the new music, pitch classes as bits) of each chord; shape = (1,024, 2).
    """

    def __init__(self, chords: Sequence[ChordSpan], share: float, start_ticks: int) -> None:
        """Take the chords, the share of chord tones, and when the new music begins.

        Raises:
            SequenceError: there are too many chords.
        """
        if len(chords) >= MAX_SPANS:
            raise SequenceError(
                f"fewer than {MAX_SPANS:,} chords can be followed in one piece of music, got {len(chords):,}"
            )
        self.strength = FIRST_STRENGTH if share else 0.0
        self._share = share
        self._origin = start_ticks
        self._starts = [chord.start_ticks - start_ticks for chord in chords]
        self._members = [sum(1 << pitch_class for pitch_class in chord.pitch_classes) for chord in chords]
        self.table: NDArray[np.int32] = np.zeros((MAX_SPANS, 2), dtype=np.int32)
        self.table[:, 0] = NEVER
        self.table[: len(chords)] = list(zip(self._starts, self._members, strict=True))

    def observe(self, onset: int, duration: int, key: int) -> None:
        """Take a new note; onset and duration in ticks, key = 128 x instrument + pitch."""
        if key >= DRUMS * N_PITCHES or not self._share:
            return
        start = onset - self._origin + EARLY_TICKS
        end = max(onset - self._origin + duration, start + 1)
        inside = sounding = 0
        for index in range(max(bisect_right(self._starts, start) - 1, 0), len(self._starts)):
            if self._starts[index] >= end:
                break
            following = self._starts[index + 1] if index + 1 < len(self._starts) else NEVER
            overlap = max(min(end, following) - max(start, self._starts[index]), 0)
            if members := self._members[index]:
                sounding += overlap
                inside += overlap * (members >> key % N_PITCHES % N_PITCH_CLASSES & 1)
        if sounding:
            strength = self.strength + GAIN * (self._share - inside / sounding)
            self.strength = min(max(strength, MIN_STRENGTH), MAX_STRENGTH)
