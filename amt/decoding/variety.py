"""Keep the music of one sequence from dwelling on a few notes."""

from collections import Counter, deque
from typing import Final

from amt.midi.notes import TICKS_PER_SECOND

MEMORY_TICKS: Final = 20 * TICKS_PER_SECOND
MIN_NOTES: Final = 12
"""Fewer are no ground to speak of dwelling."""

N_COMMONEST: Final = 6
MAX_KEYS: Final = 64
"""How many recent keys are held back at most; tables of all rows lie side by side."""

GAIN: Final = 0.1
MAX_STRENGTH: Final = 5.0
"""Both in nats."""


class Variety:
    """Follow which keys the last 20 s consist of, and hold back the commonest as far as it takes.

    Small models dwell: what has been played becomes likelier, and that is played again. Each new note that is one of
    the six commonest makes the bias against recent keys stronger, every other one weaker, until both balance at the
    share that is aimed at.
    """

    def __init__(self, share: float) -> None:
        """`share`: of the notes of the last 20 s that the six commonest are aimed not to exceed."""
        self._share = share
        self._strength = 0.0
        self._recent: deque[tuple[int, int]] = deque()
        self._counts: Counter[int] = Counter()

    def observe(self, onset: int, key: int) -> None:
        """Take a new note; the onset in ticks, key = 128 x instrument + pitch."""
        if len(self._recent) >= MIN_NOTES:
            is_common = any(key == common for common, _ in self._counts.most_common(N_COMMONEST))
            self._strength = min(max(self._strength + GAIN * (is_common - self._share), 0.0), MAX_STRENGTH)
        self._recent.append((onset, key))
        self._counts[key] += 1
        while self._recent[0][0] < onset - MEMORY_TICKS:
            _, old = self._recent.popleft()
            self._counts[old] -= 1
            if not self._counts[old]:
                del self._counts[old]

    @property
    def biases(self) -> dict[int, float]:
        """Nats to add to recent keys, none of them positive; empty if nothing is held back."""
        if not self._strength or len(self._recent) < MIN_NOTES:
            return {}
        commonest = self._counts.most_common(MAX_KEYS)
        scale = -self._strength / commonest[0][1]
        return {key: scale * count for key, count in commonest}
