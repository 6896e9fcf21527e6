"""Keep the music of one sequence from dwelling on a few notes."""

from collections import deque
from typing import Final

import numpy as np
from numpy.typing import NDArray

from amt.midi.notes import TICKS_PER_SECOND

MEMORY_TICKS: Final = 20 * TICKS_PER_SECOND
MIN_NOTES: Final = 12
"""Fewer are no ground to speak of dwelling."""

N_COMMONEST: Final = 6
MAX_KEYS: Final = 256
"""Of how many different keys one takes note; more than any music has in that time, and the same for all rows."""

GAIN: Final = 0.1
MAX_STRENGTH: Final = 5.0
"""Both in nats."""

PHRASE_NOTES: Final = 3
MIN_PHRASE_TICKS: Final = 5 * TICKS_PER_SECOND
"""A note that has followed so many others before goes on with a phrase when it follows them again, so much later: what
comes again sooner is what the music dwells on."""


class Variety:
    """Follow which keys the last 20 s consist of, and hold back the commonest as far as it takes.

    Small models dwell: what has been played becomes likelier, and that is played again. Each new note that is one of
    the six commonest makes the bias against recent keys stronger, every other one weaker, until both balance at the
    share that is aimed at. Keys that would go on with a phrase of some time ago are not held back, or none came again.

    Attributes:
        keys: whatever has a bias, 128 x instrument + pitch; shape = (256,).
    """

    def __init__(self, share: float) -> None:
        """`share`: of the notes of the last 20 s that the six commonest are aimed not to exceed."""
        self.keys: NDArray[np.int64] = np.zeros(MAX_KEYS, dtype=np.int64)
        self._share = share
        self._strength = 0.0
        self._recent: deque[tuple[int, int]] = deque()
        self._counts: NDArray[np.float32] = np.zeros(MAX_KEYS, dtype=np.float32)
        self._n_with_count = [MAX_KEYS]  # how many places have each count, from 0 to the greatest
        self._places: dict[int, int] = {}
        self._free = list(range(MAX_KEYS))
        self._last: deque[int] = deque(maxlen=PHRASE_NOTES)
        self._followers: dict[tuple[int, ...], dict[int, int]] = {}

    def observe(self, onset: int, key: int) -> None:
        """Take a new note; the onset in ticks, key = 128 x instrument + pitch."""
        if len(self._recent) >= MIN_NOTES:
            self._strength = min(max(self._strength + GAIN * (self._is_common(key) - self._share), 0.0), MAX_STRENGTH)
        if len(self._last) == PHRASE_NOTES:
            self._followers.setdefault(tuple(self._last), {})[key] = onset
        self._last.append(key)
        self._count(key)
        self._recent.append((onset, key))
        while self._recent[0][0] < onset - MEMORY_TICKS:
            self._forget(self._recent.popleft()[1])

    def _is_common(self, key: int) -> bool:
        place = self._places.get(key)
        if place is None:
            return False
        own = int(self._counts[place])
        n_before = sum(self._n_with_count[own + 1 :])
        if n_before < N_COMMONEST <= n_before + self._n_with_count[own]:
            n_before += int(np.count_nonzero(self._counts[:place] == own))
        return n_before < N_COMMONEST

    def _count(self, key: int) -> None:
        place = self._places.get(key)
        if place is None and self._free:
            place = self._places[key] = self._free.pop(0)
            self.keys[place] = key
        if place is not None:
            self._change(place, 1)

    def _forget(self, key: int) -> None:
        place = self._places.get(key)
        if place is not None and self._counts[place]:
            self._change(place, -1)
            if not self._counts[place]:
                del self._places[key]
                self._free.append(place)

    def _change(self, place: int, by: int) -> None:
        count, numbers = int(self._counts[place]), self._n_with_count
        self._counts[place] = count + by
        numbers[count] -= 1
        if count + by == len(numbers):
            numbers.append(0)
        numbers[count + by] += 1
        if not numbers[-1]:
            numbers.pop()

    @property
    def biases(self) -> NDArray[np.float32] | None:
        """Nats to add to `keys`, none of them positive, shape = (256,); None if nothing is held back."""
        if not self._strength or len(self._recent) < MIN_NOTES:
            return None
        greatest = np.float32(len(self._n_with_count) - 1)
        biases = self._counts * np.float32(-self._strength / greatest)
        now = self._recent[-1][0]
        for key, onset in self._followers.get(tuple(self._last), {}).items():
            if key in self._places and now - onset >= MIN_PHRASE_TICKS:
                biases[self._places[key]] = 0
        return biases
