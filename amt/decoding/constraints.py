"""Constrain new notes: which are legal, and what they should be beyond that."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from amt.errors import ConstraintError
from amt.harmony.chords import ChordSpan
from amt.midi.grid import Grid
from amt.midi.notes import DRUMS, N_INSTRUMENTS, N_PITCHES
from amt.midi.timing import MILLISECONDS_PER_TICK
from amt.tokens.vocab import NOTE

N_PITCH_CLASSES: Final = 12

OUT_OF_KEY_NATS: Final = -4.0
"""What notes outside the key lose: leading notes stay possible."""


@dataclass(frozen=True)
class Constraints:
    """Say what new notes must or should be.

    Attributes:
        groups: if any, only these instruments may play; of each group one should.
        excluded: instruments that may not play.
        balance: nats that a group's notes gain for each second of its silence; 0 is off.
        overdue_seconds: for how long all groups count as silent when the new notes begin.
        pitch_range: the lowest and the highest pitch of all instruments but drums.
        pitch_ranges: those of single instruments, drums too; they go before `pitch_range`.
        max_polyphony: how many new notes may sound at a time.
        density: new notes per second that are aimed at.
        allow_repetition: whether one or two notes may be all there is for long; if not, they are illegal until
            another has sounded.
        grid: the lines on which new notes must begin.
        grid_durations: whether they must also end there.
        key: the pitch classes that all instruments but drums should keep to.
        key_is_strict: whether they must.
        chords: what sounds when, from the start of the new music at the latest; none for any.
        chord_share: how much of the new notes' time is aimed to be within chords that hold their pitch class.
        variety: which share of the notes of the last 20 s the six commonest are aimed not to exceed; auto is what suits
            the model, see `for_model`.
        copied: keys (128 x instrument + pitch) of a piece in order of onset, of which at most 12 in a row may come.
    """

    groups: tuple[frozenset[int], ...] = ()
    excluded: frozenset[int] = frozenset()
    balance: float = 0.0
    overdue_seconds: float = 0.0
    pitch_range: tuple[int, int] | None = None
    pitch_ranges: Mapping[int, tuple[int, int]] = field(default_factory=dict)
    max_polyphony: int | None = None
    density: float | None = None
    allow_repetition: bool = True
    grid: Grid | None = None
    grid_durations: bool = False
    key: frozenset[int] | None = None
    key_is_strict: bool = False
    chords: tuple[ChordSpan, ...] = ()
    chord_share: float = 0.8
    variety: float | Literal["auto"] | None = None
    copied: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        """Raise ConstraintError if an instrument group, or everything, is left without a note."""
        self._check(
            self.legal_notes,
            "exclude_instruments leaves no instrument of an entry of instruments: one of each must be left"
            if self.groups
            else "exclude_instruments leaves no instrument: at least one of the 129 must be left",
        )
        self._check(
            self.possible_notes,
            "pitch_range leaves an instrument without a pitch of the key: widen it, or set key_mode to 'bias'",
        )

    def _check(self, legal: NDArray[np.bool_] | None, message: str) -> None:
        if legal is None:
            return
        playable = set((np.flatnonzero(legal[:-1]) // N_PITCHES).tolist())
        only_drums_are_left = playable == {DRUMS} and self._may_be_pitched
        if not playable or only_drums_are_left or not all(playable & group for group in self.groups):
            raise ConstraintError(message)

    @property
    def _may_be_pitched(self) -> bool:
        """Whether an instrument other than drums may play, and has a pitch, but for the key."""
        return self.legal_notes is None or bool(self.legal_notes[: DRUMS * N_PITCHES].any())

    def moved(self, ticks: int) -> "Constraints":
        """Return the constraints for a piece that begins later by so many ticks."""
        grid = self.grid
        if grid is not None:
            grid = grid._replace(
                ticks=grid.ticks + ticks, milliseconds=grid.milliseconds + MILLISECONDS_PER_TICK * ticks
            )
        chords = tuple(chord._replace(start_ticks=chord.start_ticks + ticks) for chord in self.chords)
        return replace(self, grid=grid, chords=chords)

    def for_model(self, variety: float | None) -> "Constraints":
        """Return the constraints for a model that asks for this variety, if they leave it open."""
        return replace(self, variety=variety) if self.variety == "auto" else self

    @cached_property
    def key_biases(self) -> tuple[float, ...] | None:
        """Nats to add to each pitch class of all instruments but drums, 12 numbers; None for zeros."""
        if self.key is None or len(self.key) == N_PITCH_CLASSES:
            return None
        outside = -np.inf if self.key_is_strict else OUT_OF_KEY_NATS
        return tuple(0.0 if pitch_class in self.key else outside for pitch_class in range(N_PITCH_CLASSES))

    @cached_property
    def legal_notes(self) -> NDArray[np.bool_] | None:
        """Which tokens of the note slot may be chosen, rests always, shape = (16,513,); None if any may."""
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

    @cached_property
    def possible_notes(self) -> NDArray[np.bool_] | None:
        """Those of `legal_notes` that a strict key leaves; shape = (16,513,), or None for all."""
        if self.key is None or not self.key_is_strict:
            return self.legal_notes
        in_key = np.ones((N_INSTRUMENTS, N_PITCHES), dtype=np.bool_)
        in_key[:DRUMS] = np.isin(np.arange(N_PITCHES) % N_PITCH_CLASSES, sorted(self.key))
        possible = np.append(in_key.ravel(), np.ones(NOTE.size - in_key.size, dtype=np.bool_))
        return possible if self.legal_notes is None else possible & self.legal_notes


NO_CONSTRAINTS: Final = Constraints()
