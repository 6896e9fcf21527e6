"""Steer a sequence to what its constraints ask for, from what has sounded so far."""

import math
from collections import deque
from itertools import takewhile
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from amt.decoding.constraints import Constraints
from amt.midi.notes import DRUMS, N_INSTRUMENTS, N_PITCHES, TICKS_PER_SECOND
from amt.tokens.vocab import REST_INTERVAL_TICKS

MAX_BIAS: Final = 30.0
"""No bias is greater, in nats: enough to overcome anything."""

FREE_SECONDS: Final = 1.0
"""The music may be ahead of the density asked for, or behind it, by this and by what one note takes."""

ONSET_WIDTH_SECONDS: Final = 0.35
"""Beyond that an onset off by this loses half a nat, by twice this two nats, and so on."""

MAX_LAG_SECONDS: Final = 2.0
"""From this lag on a target onset is no more urgent."""

REPETITION_NOTES: Final = 16
REPETITION_SECONDS: Final = 4
"""So many notes over so long that are but one or two different ones are enough: small models never leave them."""

BEAT_SECONDS: Final = 8
"""Two different drums are a beat and may go on for longer, and for ever beside given parts, as they do in music."""

REST_NATS_PER_SECOND: Final = 2.0
"""What a rest loses for each second that the music is behind, and gains for each that it is ahead."""


class Span(NamedTuple):
    """Say from when to when the next onset should come, in ticks."""

    earliest: float
    latest: float


class Steering:
    """Follow the new notes of one sequence, and say what should come next."""

    def __init__(self, constraints: Constraints, start_ticks: int, *, is_accompanied: bool) -> None:
        """`is_accompanied`: whether given parts sound beside the new notes."""
        self._constraints, self._start = constraints, start_ticks
        self._beat_seconds = math.inf if is_accompanied else BEAT_SECONDS
        self._n_notes = 0
        self._ends: list[int] = []
        self._tail: deque[tuple[int, int]] = deque()
        self._n_of_key: dict[int, int] = {}
        overdue_ticks = round(constraints.overdue_seconds * TICKS_PER_SECOND)
        self._last_onsets = [start_ticks - overdue_ticks] * len(constraints.groups)
        self.silent_groups = set(range(len(constraints.groups)))

    def observe(self, onset: int, duration: int, key: int) -> None:
        """Take a new note; onset and duration in ticks, key = 128 x instrument + pitch."""
        instrument = key // N_PITCHES
        self._n_notes += 1
        if not self._constraints.allow_repetition:
            self._remember(onset, key)
        if self._constraints.max_polyphony is not None:
            self._ends = [end for end in self._ends if end > onset]
            self._ends.append(onset + max(duration, 1))
        for index, group in enumerate(self._constraints.groups):
            if instrument in group:
                self._last_onsets[index] = onset
                self.silent_groups.discard(index)

    def _remember(self, onset: int, key: int) -> None:
        tail, n_of_key = self._tail, self._n_of_key
        tail.append((onset, key))
        n_of_key[key] = n_of_key.get(key, 0) + 1
        while len(n_of_key) > 2 or (
            len(tail) > REPETITION_NOTES and onset - tail[1][0] >= BEAT_SECONDS * TICKS_PER_SECOND
        ):
            _, oldest = tail.popleft()
            n_of_key[oldest] -= 1
            if not n_of_key[oldest]:
                del n_of_key[oldest]

    @property
    def repeated_notes(self) -> frozenset[int]:
        """The one or two keys that are all there has been for too long."""
        if len(self._tail) < REPETITION_NOTES:
            return frozenset()
        tail = list(reversed(self._tail))
        same = list(takewhile(lambda note: note[1] == tail[0][1], tail))
        for notes in (tail, same):
            keys = frozenset(key for _, key in notes)
            is_beat = len(keys) == 2 and min(keys) >= DRUMS * N_PITCHES
            seconds = self._beat_seconds if is_beat else REPETITION_SECONDS
            if len(notes) >= REPETITION_NOTES and notes[0][0] - notes[-1][0] >= seconds * TICKS_PER_SECOND:
                return keys
        return frozenset()

    def free_ticks(self, now: int) -> int:
        """Return when fewer notes sound than may sound together, at `now` or later."""
        limit = self._constraints.max_polyphony
        if limit is None:
            return now
        ends = sorted(end for end in self._ends if end > now)
        return now if len(ends) < limit else ends[len(ends) - limit]

    def must_rest(self, now: int) -> bool:
        """Tell whether no note may begin before the next rest must come."""
        return self._constraints.max_polyphony is not None and self.free_ticks(now) > now + REST_INTERVAL_TICKS

    def target_onset(self, now: int) -> Span | None:
        """Return when the next note should begin for the density asked for, within `MAX_LAG_SECONDS` of `now`."""
        if (scheduled := self._scheduled) is None:
            return None
        limit = TICKS_PER_SECOND * MAX_LAG_SECONDS
        return Span(min(scheduled.earliest, now + limit), max(scheduled.latest, now - limit))

    @property
    def _scheduled(self) -> Span | None:
        density = self._constraints.density
        if density is None:
            return None
        scheduled = self._start + TICKS_PER_SECOND * self._n_notes / density
        free = TICKS_PER_SECOND * (FREE_SECONDS + 1 / density)
        return Span(scheduled - free, scheduled + free)

    def biases(self, now: int) -> NDArray[np.float32] | None:
        """Return nats to add for each instrument and, last, for rests; shape = (130,), or None if all are zero."""
        groups, density = self._constraints.groups, self._constraints.density
        if not (groups and self._constraints.balance) and density is None:
            return None
        biases = np.zeros(N_INSTRUMENTS + 1, dtype=np.float32)
        for group, last_onset in zip(groups, self._last_onsets, strict=True):
            silence = max(now - last_onset, 0) / TICKS_PER_SECOND
            nats = min(self._constraints.balance * silence, MAX_BIAS)
            biases[list(group)] = np.maximum(biases[list(group)], nats)
        if scheduled := self._scheduled:
            lag = min(scheduled.latest - now, 0) + max(scheduled.earliest - now, 0)
            biases[-1] = np.clip(REST_NATS_PER_SECOND * lag / TICKS_PER_SECOND, -MAX_BIAS, MAX_BIAS)
        return biases
