"""What a caller wishes of the music, beyond how long it is."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from amt.errors import WishError
from amt.vocab import DRUMS, N_INSTRUMENTS, N_PITCHES, NOTE, SLOTS

COLDEST: Final = 1e-3
"""Lower temperatures are greedy: logits divided by them would leave the range of float32."""


class Sampling(NamedTuple):
    """How one slot's token is chosen.

    Attributes:
        temperature: what logits are divided by; 0 is greedy.
        top_p: the share of the probability that the nucleus keeps; 0 is greedy, 1 keeps everything.
        top_k: at most so many of the most probable tokens are kept; 0 keeps all.
        min_p: tokens less probable than this share of the most probable one's probability are not kept.
    """

    temperature: float = 1.0
    top_p: float = 0.95
    top_k: int = 0
    min_p: float = 0.0

    @property
    def is_greedy(self) -> bool:
        """Whether random numbers decide nothing."""
        return self.temperature < COLDEST or self.top_p == 0 or self.top_k == 1

    def divisible(self) -> "Sampling":
        """The same with a temperature to divide by: greedy is a nucleus of one token too."""
        return self if self.temperature >= COLDEST else self._replace(temperature=1.0, top_p=0.0)


def in_every_slot(sampling: Sampling) -> tuple[Sampling, ...]:
    """The same for onset, duration and note."""
    return (sampling,) * len(SLOTS)


@dataclass(frozen=True)
class Wishes:
    """What new notes must or should be.

    Attributes:
        groups: if any, only these instruments may play; of each group one should.
        excluded: instruments that may not.
        balance: nats that a group's notes gain for each second of its silence; 0 is off.
        overdue_seconds: for so long all groups count as silent when the new notes begin.
        pitch_range: the lowest and the highest pitch of all instruments but drums.
        pitch_ranges: those of single instruments, drums too; they go before `pitch_range`.
        max_polyphony: how many new notes may sound at a time.
        density: new notes per second that are aimed at.
        may_hang: whether one or two notes may be all there is for long; else they are illegal until another is heard.
    """

    groups: tuple[frozenset[int], ...] = ()
    excluded: frozenset[int] = frozenset()
    balance: float = 0.0
    overdue_seconds: float = 0.0
    pitch_range: tuple[int, int] | None = None
    pitch_ranges: Mapping[int, tuple[int, int]] = field(default_factory=dict)
    max_polyphony: int | None = None
    density: float | None = None
    may_hang: bool = True

    def __post_init__(self) -> None:
        """Raises WishError if they leave an instrument group, or everything, without a note."""
        legal = self.legal_notes
        if legal is None:
            return
        playable = set((np.flatnonzero(legal[:-1]) // N_PITCHES).tolist())
        if not playable or not all(playable & group for group in self.groups):
            raise WishError(
                "exclude_instruments leaves no instrument of an entry of instruments: one of each must be left"
                if self.groups
                else "exclude_instruments leaves no instrument: at least one of the 129 must be left"
            )

    @cached_property
    def legal_notes(self) -> NDArray[np.bool_] | None:
        """Which tokens of the note slot may be chosen, rests always, shape = (16,513,); None when any may."""
        if not (self.groups or self.excluded or self.pitch_range or self.pitch_ranges):
            return None
        ranges = np.tile([0, N_PITCHES - 1], (N_INSTRUMENTS, 1))
        if self.pitch_range:
            ranges[:DRUMS] = self.pitch_range
        for instrument, pitch_range in self.pitch_ranges.items():
            ranges[instrument] = pitch_range
        pitches = np.arange(N_PITCHES)
        legal: NDArray[np.bool_] = (pitches >= ranges[:, :1]) & (pitches <= ranges[:, 1:])
        if self.groups:
            legal[sorted(set(range(N_INSTRUMENTS)) - frozenset().union(*self.groups))] = False
        legal[sorted(self.excluded)] = False
        return np.append(legal.ravel(), np.ones(NOTE.size - legal.size, dtype=np.bool_))


NO_WISHES: Final = Wishes()
