"""Training examples: windows of augmented, padded and perhaps anticipated pieces."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from amt import events as ev
from amt.vocab import (
    ANTICIPATE,
    AUTOREGRESS,
    CONTROL_OFFSET,
    DRUMS,
    DURATION,
    MAX_DURATION_TICKS,
    MAX_ONSET_TICKS,
    N_PITCHES,
    NOTE,
    TICKS_PER_SECOND,
)
from training.corpus import Piece

FROM_START = 0.2
"""Share of windows that begin where their piece begins: generation always does."""

ANTICIPATED = 0.45
"""Share of windows with controls."""


class Window(NamedTuple):
    """A mode token, and events whose onsets are relative to the earliest; shape = (n_events, 3)."""

    mode: int
    events: ev.Events


def cut(mode: int, events: ev.Events, n_events: int) -> Window:
    """The first events, as many as asked for and as the range of onsets has room for."""
    events = events[:n_events]
    times = ev.onsets(events)
    first = times.min()
    inside = np.maximum.accumulate(times) - first < MAX_ONSET_TICKS
    return Window(mode, ev.translate(events[inside], -int(first)))


def held_out_windows(pieces: Sequence[Piece], n_events: int, count: int) -> list[Window]:
    """Full autoregressive windows, evenly spaced over a collection's padded pieces."""
    padded = [ev.pad(piece.events) for piece in pieces]
    starts = [(index, start) for index, events in enumerate(padded) for start in range(0, len(events), n_events)]
    starts = [(i, s) for i, s in starts if s == 0 or len(padded[i]) - s >= n_events]
    chosen = [starts[round(k)] for k in np.linspace(0, len(starts) - 1, min(count, len(starts)))]
    return [cut(AUTOREGRESS, padded[index][start:], n_events) for index, start in chosen]


class Sampler:
    """Draws windows from pieces, collections weighted by `size ** 0.4` so that scores do not drown the rest."""

    def __init__(self, pieces: Sequence[Piece], seed: int) -> None:
        self._rng = np.random.default_rng(seed)
        self._collections = [
            [piece for piece in pieces if piece.collection == name]
            for name in sorted({piece.collection for piece in pieces})
        ]
        sizes = [[len(piece.events) for piece in group] for group in self._collections]
        self._weights = _normalised([sum(group) ** 0.4 for group in sizes])
        self._piece_weights = [_normalised([size**0.7 for size in group]) for group in sizes]

    def window(self, n_events: int) -> Window:
        """One augmented window of at most so many events."""
        rng = self._rng
        collection = rng.choice(len(self._collections), p=self._weights)
        piece = self._collections[collection][
            rng.choice(len(self._piece_weights[collection]), p=self._piece_weights[collection])
        ]
        # Half a window more in front, so that controls and rests at its edge are those of a running piece.
        n_notes = n_events + n_events // 2
        start = 0
        if rng.random() > FROM_START:
            start = int(rng.integers(-n_notes // 4, max(len(piece.events) - n_events // 4, 1)))
        notes = piece.events[max(start, 0) : max(start, 0) + n_notes]
        notes = self._augment(ev.translate(notes, -int(notes[0, 0])))
        lead = int(rng.integers(0, n_events // 2)) if start > 0 else 0
        mode, events = ANTICIPATE, self._anticipated(notes) if rng.random() < ANTICIPATED else ev.empty()
        if not len(events):
            mode, events = AUTOREGRESS, ev.pad(notes)
        window = cut(mode, events[min(lead, len(events) - 1) :], n_events)
        return window if not is_given(window.events).all() else self.window(n_events)

    def _augment(self, notes: ev.Events) -> ev.Events:
        """Another key (not for drums) and another tempo."""
        rng = self._rng
        codes = notes[:, 2] - NOTE.offset
        melodic = codes // N_PITCHES != DRUMS
        pitches = codes[melodic] % N_PITCHES
        if len(pitches):
            lowest, highest = max(-5, -int(pitches.min())), min(6, N_PITCHES - 1 - int(pitches.max()))
            codes = codes + melodic * int(rng.integers(lowest, highest + 1))
        stretch = float(np.exp(rng.uniform(-0.15, 0.15))) if rng.random() < 0.6 else 1.0
        durations = np.minimum(np.rint((notes[:, 1] - DURATION.offset) * stretch), MAX_DURATION_TICKS - 1)
        onsets = np.rint(notes[:, 0] * stretch)
        return np.stack([onsets, durations + DURATION.offset, codes + NOTE.offset], axis=1).astype(np.int64)

    def _anticipated(self, notes: ev.Events) -> ev.Events:
        """Some of the notes as controls, interleaved 5 s ahead: whole instruments, spans of time or random notes."""
        rng = self._rng
        instruments = np.unique((notes[:, 2] - NOTE.offset) // N_PITCHES)
        kind = rng.random()
        if kind < 0.6 and len(instruments) > 1:
            chosen = rng.choice(instruments, size=int(rng.integers(1, len(instruments))), replace=False)
            given = np.isin((notes[:, 2] - NOTE.offset) // N_PITCHES, chosen)
        elif kind < 0.8:
            length = int(rng.uniform(2, 20) * TICKS_PER_SECOND)
            start = int(rng.integers(-length, int(notes[-1, 0]) + 1))
            given = (notes[:, 0] >= start) & (notes[:, 0] < start + length)
        else:
            given = rng.random(len(notes)) < rng.uniform(0.05, 0.5)
        events = ev.pad(notes[~given], int(notes[-1, 0]))
        return ev.anticipate(events, ev.as_controls(notes[given]))[0]

    def batch(self, n_windows: int, n_events: int) -> list[Window]:
        """Several windows."""
        return [self.window(n_events) for _ in range(n_windows)]


def _normalised(weights: Sequence[float]) -> np.ndarray:
    return np.asarray(weights) / np.sum(weights)


def is_given(events: ev.Events) -> np.ndarray:
    """Which rows are controls: never generated, so never a target."""
    return events[:, 2] >= CONTROL_OFFSET
