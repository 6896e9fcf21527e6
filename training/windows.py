"""Training examples: windows of augmented, padded and perhaps anticipated pieces."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from amt.midi.notes import N_PITCHES, TICKS_PER_SECOND
from amt.tokens import events as ev
from amt.tokens.vocab import ANTICIPATE, AUTOREGRESS, EVENT_TOKENS, MAX_ONSET_TICKS, NOTE
from training.augmentation import Augmentation
from training.corpus import Piece

FROM_START = 0.2
"""Share of windows that begin where their piece begins: generation always does."""

ANTICIPATED = 0.75
"""Share of full windows with controls, however many instruments play: what comes from nothing has as many as music."""

ONLY_ONE = 0.5
"""Share of windows that give one instrument and no more, of those that give whole ones: a melody to play along with."""

SHORTEST = 0.25
"""Share of a window's length that is left of a piece wherever it is cut, if it has so many notes."""

OPENINGS, OPENING_EVENTS = 16, 12
"""So many beginnings without controls, of so few events, go with a batch of full windows.

What a piece is to be, when it comes from nothing, is decided there, and a step has hardly one among its full windows:
drums alone came twice as often as they had been seen.
"""

STUCK = 0.4
"""Share of the other windows in which the music hangs for a while, see `Augmentation.stick`."""


class Window(NamedTuple):
    """A model input."""

    mode: int
    """The token in front."""
    events: ev.Events
    """Onsets are relative to the earliest; shape = (n_events, 3)."""
    targets: NDArray[np.bool_]
    """Which events there is something to learn from; shape = (n_events,)."""


def cut(mode: int, events: ev.Events, targets: NDArray[np.bool_], n_events: int) -> Window:
    """The first events, as many as asked for and as the range of onsets has room for."""
    events = events[:n_events]
    times = ev.onsets(events)
    first = times.min()
    inside = np.maximum.accumulate(times) - first < MAX_ONSET_TICKS
    return Window(mode, ev.translate(events[inside], -int(first)), targets[:n_events][inside])


def autoregressive(events: ev.Events, n_events: int) -> Window:
    """The first padded events, all of them targets."""
    return cut(AUTOREGRESS, events, np.ones(len(events), dtype=bool), n_events)


def held_out_windows(pieces: Sequence[Piece], n_events: int, count: int) -> list[Window]:
    """Full autoregressive windows, evenly spaced over a collection's padded pieces."""
    padded = [ev.pad(piece.events) for piece in pieces]
    starts = [(index, start) for index, events in enumerate(padded) for start in range(0, len(events), n_events)]
    starts = [(i, s) for i, s in starts if s == 0 or len(padded[i]) - s >= n_events]
    chosen = [starts[round(k)] for k in np.linspace(0, len(starts) - 1, min(count, len(starts)))]
    return [autoregressive(padded[index][start:], n_events) for index, start in chosen]


class Sampler:
    """Draws windows by how long music lasts, not by how many events it has, or what is generated would be too dense.

    Collections weigh `seconds ** 0.1`, so that scores do not drown the rest.
    """

    def __init__(self, pieces: Sequence[Piece], seed: int, repeating: float) -> None:
        """`repeating`: the share of windows in which a phrase comes back, see `Augmentation.repeat`."""
        self._rng = np.random.default_rng(seed)
        self._repeating = repeating
        self.augmentation = Augmentation(pieces, self._rng)
        names = sorted({piece.collection for piece in pieces})
        self._collections = [[piece for piece in pieces if piece.collection == name] for name in names]
        lengths = [[float(piece.events[-1, 0]) for piece in group] for group in self._collections]
        self._weights = _normalised([sum(group) ** 0.1 for group in lengths])
        self._piece_weights = [_normalised([length**0.7 for length in group]) for group in lengths]

    def window(self, n_events: int, anticipated: float = ANTICIPATED) -> Window:
        """One augmented window of at most so many events, with controls in so many cases."""
        rng = self._rng
        collection = rng.choice(len(self._collections), p=self._weights)
        piece = self._collections[collection][
            rng.choice(len(self._piece_weights[collection]), p=self._piece_weights[collection])
        ]
        # Half a window more in front, so that controls and rests at its edge are those of a running piece.
        n_notes, shortest = n_events + n_events // 2, round(SHORTEST * n_events)
        start = 0
        if rng.random() > FROM_START:
            moment = int(rng.integers(0, int(piece.events[-1, 0]) + 1))
            start = min(int(np.searchsorted(piece.events[:, 0], moment)), max(len(piece.events) - shortest, 0))
        notes = piece.events[start : start + n_notes]
        notes = self.augmentation.vary(ev.translate(notes, -int(notes[0, 0])))
        if rng.random() < self._repeating:
            notes = self.augmentation.repeat(notes)
        lead = int(rng.integers(0, n_events // 2)) if start > 0 else 0
        mode, events = ANTICIPATE, self._anticipated(notes) if rng.random() < anticipated else ev.empty()
        targets = ~ev.is_control(events)
        if not len(events):
            begin, end = 0, 0
            if rng.random() < STUCK:
                notes, begin, end = self.augmentation.stick(notes)
            mode, events = AUTOREGRESS, ev.pad(notes)
            targets = (events[:, 0] < begin) | (events[:, 0] >= end)
        lead = min(lead, max(len(events) - shortest, 0))
        window = cut(mode, events[lead:], targets[lead:], n_events)
        return window if window.targets.any() else self.window(n_events, anticipated)

    def _anticipated(self, notes: ev.Events) -> ev.Events:
        """Some of the notes as controls, interleaved 5 s ahead: whole instruments, spans of time or random notes."""
        rng = self._rng
        playing = (notes[:, 2] - NOTE.offset) // N_PITCHES
        instruments = np.unique(playing)
        kind = rng.random()
        if kind < 0.8 and len(instruments) > 1:
            n_given = 1 if rng.random() < ONLY_ONE else int(rng.integers(1, len(instruments)))
            given = np.isin(playing, rng.choice(instruments, size=n_given, replace=False))
        elif kind < 0.9:
            length = int(rng.uniform(2, 20) * TICKS_PER_SECOND)
            start = int(rng.integers(-length, int(notes[-1, 0]) + 1))
            given = (notes[:, 0] >= start) & (notes[:, 0] < start + length)
        else:
            given = rng.random(len(notes)) < rng.uniform(0.05, 0.5)
        events = ev.pad(notes[~given], int(notes[-1, 0]))
        return ev.anticipate(events, ev.as_controls(notes[given]))[0]

    def batch(self, n_tokens: int, n_events: int) -> list[Window]:
        """Windows of at most so many events, until they hold so many tokens."""
        windows = [self.window(n_events)]
        while EVENT_TOKENS * sum(len(window.events) for window in windows) < n_tokens:
            windows.append(self.window(n_events))
        return windows

    def openings(self, n_events: int) -> list[Window]:
        """How windows of so many events without controls begin; those in the midst of a hang teach nothing."""
        openings: list[Window] = []
        while len(openings) < OPENINGS:
            opening = cut(*self.window(n_events, anticipated=0.0), OPENING_EVENTS)
            if opening.targets.any():
                openings.append(opening)
        return openings


def _normalised(weights: Sequence[float]) -> np.ndarray:
    return np.asarray(weights) / np.sum(weights)
