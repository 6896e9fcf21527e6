"""How a sequence is led to what is wished of it, from what has sounded so far."""

import math
from collections import deque
from itertools import takewhile
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from amt.vocab import DRUMS, N_INSTRUMENTS, N_PITCHES, REST_INTERVAL_TICKS, TICKS_PER_SECOND
from amt.wishes import Wishes

STRONGEST = 30.0
"""No bias is greater, in nats: enough to overcome anything."""

FREE_SECONDS = 1.0
"""By so long, and by what one note takes, the music may run ahead of the wished density or behind it."""

STEERING_SECONDS = 0.35
"""Beyond that an onset off by this loses half a nat, by twice this two nats, and so on."""

FURTHEST_SECONDS = 2.0
"""From there on it is no more urgent."""

HANGING_NOTES: Final = 16
HANGING_SECONDS: Final = 4
"""So many notes over so long that are one and the same, or but two, are enough: small models never leave them."""

BEAT_SECONDS: Final = 8
"""Two different drums are a beat and may go on for longer, and for ever beside given parts, as they do in music."""

RESTRAINT = 2.0
"""Nats that a rest loses for each second that the music is behind, and gains for each that it is ahead."""


class Span(NamedTuple):
    """When the next onset is due, in ticks."""

    earliest: float
    latest: float


class Steering:
    """Follows the new notes of one sequence."""

    def __init__(self, wishes: Wishes, start_ticks: int, *, is_accompanied: bool) -> None:
        """`is_accompanied`: whether given parts sound beside the new notes."""
        self._wishes, self._start = wishes, start_ticks
        self._beat_seconds = math.inf if is_accompanied else BEAT_SECONDS
        self._n_notes = 0
        self._ends: list[int] = []
        self._tail: deque[tuple[int, int]] = deque()
        self._heard = [start_ticks - round(wishes.overdue_seconds * TICKS_PER_SECOND)] * len(wishes.groups)
        self.silent_groups = set(range(len(wishes.groups)))

    def hear(self, onset: int, duration: int, key: int) -> None:
        """A new note; onset and duration in ticks, and 128 x instrument + pitch."""
        instrument = key // N_PITCHES
        self._n_notes += 1
        if not self._wishes.may_hang:
            self._remember(onset, key)
        if self._wishes.max_polyphony is not None:
            self._ends = [end for end in self._ends if end > onset]
            self._ends.append(onset + max(duration, 1))
        for index, group in enumerate(self._wishes.groups):
            if instrument in group:
                self._heard[index] = onset
                self.silent_groups.discard(index)

    def _remember(self, onset: int, key: int) -> None:
        tail = self._tail
        tail.append((onset, key))
        while len({key for _, key in tail}) > 2 or (
            len(tail) > HANGING_NOTES and onset - tail[1][0] >= BEAT_SECONDS * TICKS_PER_SECOND
        ):
            tail.popleft()

    @property
    def hanging(self) -> frozenset[int]:
        """The one or two keys that are all there has been for too long."""
        tail = list(reversed(self._tail))
        same = list(takewhile(lambda note: note[1] == tail[0][1], tail))
        for notes in (tail, same):
            keys = frozenset(key for _, key in notes)
            is_beat = len(keys) == 2 and min(keys) >= DRUMS * N_PITCHES
            seconds = self._beat_seconds if is_beat else HANGING_SECONDS
            if len(notes) >= HANGING_NOTES and notes[0][0] - notes[-1][0] >= seconds * TICKS_PER_SECOND:
                return keys
        return frozenset()

    def free_ticks(self, now: int) -> int:
        """When fewer notes sound than may sound together, at `now` or later."""
        most, ends = self._wishes.max_polyphony, sorted(end for end in self._ends if end > now)
        return now if most is None or len(ends) < most else ends[len(ends) - most]

    def must_rest(self, now: int) -> bool:
        """Whether no note may begin within the time after which a rest is due."""
        return self._wishes.max_polyphony is not None and self.free_ticks(now) > now + REST_INTERVAL_TICKS

    def due(self, now: int) -> Span | None:
        """When the next note should begin for the density that is wished; not farther from `now` than the limit."""
        if (scheduled := self._scheduled) is None:
            return None
        furthest = TICKS_PER_SECOND * FURTHEST_SECONDS
        return Span(min(scheduled.earliest, now + furthest), max(scheduled.latest, now - furthest))

    @property
    def _scheduled(self) -> Span | None:
        density = self._wishes.density
        if density is None:
            return None
        scheduled = self._start + TICKS_PER_SECOND * self._n_notes / density
        free = TICKS_PER_SECOND * (FREE_SECONDS + 1 / density)
        return Span(scheduled - free, scheduled + free)

    def biases(self, now: int) -> NDArray[np.float32] | None:
        """Nats to add for each instrument and, last, for rests; shape = (130,), or None when all are zero."""
        if not self._wishes.balance and self._wishes.density is None:
            return None
        biases = np.zeros(N_INSTRUMENTS + 1, dtype=np.float32)
        for group, heard in zip(self._wishes.groups, self._heard, strict=True):
            silence = max(now - heard, 0) / TICKS_PER_SECOND
            biases[list(group)] = np.maximum(biases[list(group)], min(self._wishes.balance * silence, STRONGEST))
        if due := self._scheduled:
            off = min(due.latest - now, 0) + max(due.earliest - now, 0)
            biases[-1] = np.clip(RESTRAINT * off / TICKS_PER_SECOND, -STRONGEST, STRONGEST)
        return biases
