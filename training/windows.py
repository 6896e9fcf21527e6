"""Draw training examples: windows of augmented, padded and perhaps anticipated pieces."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from amt.midi.notes import N_PITCHES, TICKS_PER_SECOND
from amt.tokens import events as ev
from amt.tokens.vocab import ANTICIPATE, AUTOREGRESS, EVENT_TOKENS, MAX_ONSET_TICKS, NOTE
from training.augmentation import Augmentation
from training.corpus import Piece

FROM_START_SHARE = 0.2
"""Share of windows that begin where their piece begins: generation always does."""

ANTICIPATED_SHARE = 0.75
"""Share of full windows with controls, however many instruments play: so music without controls has as many of them."""

ONE_INSTRUMENT_SHARE = 0.5
"""Of windows whose controls are whole instruments, the share where it is only one: a melody to accompany."""

MIN_LENGTH_SHARE = 0.25
"""Share of a window's length that is left of a piece wherever it is cut, if the piece has as many notes."""

OPENINGS, OPENING_EVENTS = 16, 12
"""How many beginnings without controls go with a batch of full windows, and how many events each has.

The beginning decides the character of a piece that comes from nothing, and a step has hardly one among its full
windows: without more of them, drums alone came twice as often as in training.
"""

STUCK_SHARE = 0.4
"""Share of windows without controls in which the music gets stuck, see `Augmentation.get_stuck`."""


class Window(NamedTuple):
    """Hold a model input."""

    mode: int
    """The token in front."""
    events: ev.Events
    """Onsets are relative to the earliest; shape = (n_events, 3)."""
    targets: NDArray[np.bool_]
    """Which events there is something to learn from; shape = (n_events,)."""


def cut(mode: int, events: ev.Events, targets: NDArray[np.bool_], n_events: int) -> Window:
    """Return the first events: as many as asked for and as the range of onsets has room for."""
    events = events[:n_events]
    times = ev.onsets(events)
    first = times.min()
    inside = np.maximum.accumulate(times) - first < MAX_ONSET_TICKS
    return Window(mode, ev.translate(events[inside], -int(first)), targets[:n_events][inside])


def autoregressive(events: ev.Events, n_events: int) -> Window:
    """Return the first padded events, all of them targets."""
    return cut(AUTOREGRESS, events, np.ones(len(events), dtype=bool), n_events)


def held_out_windows(pieces: Sequence[Piece], n_events: int, count: int) -> list[Window]:
    """Return full autoregressive windows, evenly spaced over a collection's padded pieces."""
    padded = [ev.pad(piece.events) for piece in pieces]
    starts = [(index, start) for index, events in enumerate(padded) for start in range(0, len(events), n_events)]
    starts = [(i, s) for i, s in starts if s == 0 or len(padded[i]) - s >= n_events]
    chosen = [starts[round(k)] for k in np.linspace(0, len(starts) - 1, min(count, len(starts)))]
    return [autoregressive(padded[index][start:], n_events) for index, start in chosen]


class Sampler:
    """Draw windows by how long music lasts, not by how many events it has: else generated music would be too dense.

    Collections weigh `seconds ** 0.1`, so that scores do not drown the rest.
    """

    def __init__(self, pieces: Sequence[Piece], seed: int, repeating: float) -> None:
        """`repeating`: the share of windows in which a phrase is repeated, see `Augmentation.repeat`."""
        self._rng = np.random.default_rng(seed)
        self._repeating = repeating
        self.augmentation = Augmentation(pieces, self._rng)
        names = sorted({piece.collection for piece in pieces})
        self._collections = [[piece for piece in pieces if piece.collection == name] for name in names]
        lengths = [[float(piece.events[-1, 0]) for piece in group] for group in self._collections]
        self._weights = _normalised([sum(group) ** 0.1 for group in lengths])
        self._piece_weights = [_normalised([length**0.7 for length in group]) for group in lengths]

    def reseed(self, *seed: int) -> None:
        """Draw from here on what a new sampler of this seed would: so any batch can be drawn without those before."""
        self._rng.bit_generator.state = np.random.default_rng(seed).bit_generator.state

    def window(self, n_events: int, anticipated: float = ANTICIPATED_SHARE) -> Window:
        """Draw one augmented window of at most `n_events`; it has controls with the probability `anticipated`."""
        rng = self._rng
        collection = rng.choice(len(self._collections), p=self._weights)
        piece = self._collections[collection][
            rng.choice(len(self._piece_weights[collection]), p=self._piece_weights[collection])
        ]
        # Half a window more in front, so that controls and rests at its edge are those of a running piece.
        n_notes, shortest = n_events + n_events // 2, round(MIN_LENGTH_SHARE * n_events)
        start = 0
        if rng.random() > FROM_START_SHARE:
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
            if rng.random() < STUCK_SHARE:
                notes, begin, end = self.augmentation.get_stuck(notes)
            mode, events = AUTOREGRESS, ev.pad(notes)
            targets = (events[:, 0] < begin) | (events[:, 0] >= end)
        lead = min(lead, max(len(events) - shortest, 0))
        window = cut(mode, events[lead:], targets[lead:], n_events)
        return window if window.targets.any() else self.window(n_events, anticipated)

    def _anticipated(self, notes: ev.Events) -> ev.Events:
        """Make some of the notes controls, interleaved 5 s ahead: whole instruments, spans of time or random notes."""
        rng = self._rng
        playing = (notes[:, 2] - NOTE.offset) // N_PITCHES
        instruments = np.unique(playing)
        kind = rng.random()
        if kind < 0.8 and len(instruments) > 1:
            n_chosen = 1 if rng.random() < ONE_INSTRUMENT_SHARE else int(rng.integers(1, len(instruments)))
            is_control = np.isin(playing, rng.choice(instruments, size=n_chosen, replace=False))
        elif kind < 0.9:
            length = int(rng.uniform(2, 20) * TICKS_PER_SECOND)
            start = int(rng.integers(-length, int(notes[-1, 0]) + 1))
            is_control = (notes[:, 0] >= start) & (notes[:, 0] < start + length)
        else:
            is_control = rng.random(len(notes)) < rng.uniform(0.05, 0.5)
        events = ev.pad(notes[~is_control], int(notes[-1, 0]))
        return ev.anticipate(events, ev.as_controls(notes[is_control]))[0]

    def batch(self, n_tokens: int, n_events: int, anticipated: float = ANTICIPATED_SHARE) -> list[Window]:
        """Draw windows of at most `n_events`, until they hold `n_tokens`."""
        windows = [self.window(n_events, anticipated)]
        while EVENT_TOKENS * sum(len(window.events) for window in windows) < n_tokens:
            windows.append(self.window(n_events, anticipated))
        return windows

    def openings(self, n_events: int) -> list[Window]:
        """Draw beginnings of windows of `n_events` without controls; all have targets."""
        openings: list[Window] = []
        while len(openings) < OPENINGS:
            opening = cut(*self.window(n_events, anticipated=0.0), OPENING_EVENTS)
            if opening.targets.any():
                openings.append(opening)
        return openings


def _normalised(weights: Sequence[float]) -> np.ndarray:
    """Return the weights divided by their sum."""
    return np.asarray(weights) / np.sum(weights)
