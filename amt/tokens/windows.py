"""Pieces cut to windows: as much of the music as a model can see at once, or all of it."""

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from amt import events as ev
from amt.errors import NoNotesError
from amt.events import Events, Note
from amt.vocab import MAX_ONSET_TICKS, MAX_WINDOW_EVENTS

Pooling = Literal["mean", "last", "max", "none"]
"""How the hidden states of several tokens become one vector; none: they stay as many as there are."""

Vectors = NDArray[np.float32]
"""Shape = (n_vectors, width)."""


class Window(NamedTuple):
    """Whole events that a model can see together.

    Attributes:
        events: rests included, at most 341; onsets count from the first, and are under 100 s.
        start_ticks: when the first one begins, from the start of the file.
        end_ticks: when the next window begins, or for the last one, when the last note of all ends.
    """

    events: Events
    start_ticks: int
    end_ticks: int

    @property
    def num_tokens(self) -> int:
        """How many event tokens there are."""
        return self.events.size


class Excerpt(NamedTuple):
    """What is embedded of a piece, and how many event tokens the whole piece has."""

    windows: list[Window]
    original_tokens: int

    @property
    def num_tokens(self) -> int:
        """How many event tokens there are in all windows."""
        return sum(window.num_tokens for window in self.windows)


def take_excerpt(notes: Sequence[Note], *, whole: bool = False) -> Excerpt:
    """The piece from its first note on, padded with rests: what fits into one window, or `whole` in as many as need be.

    Raises:
        NoNotesError: there are no notes.
    """
    if not notes:
        raise NoNotesError("the MIDI file holds no notes: there is nothing to embed")
    sounding = ev.sort(ev.from_notes(notes))
    start_ticks = int(sounding[0, 0])
    end_ticks = max(note.onset + note.duration for note in notes)
    events = ev.pad(ev.translate(sounding, -start_ticks))
    onsets = events[:, 0]
    windows: list[Window] = []
    begin = 0
    while begin < len(events) and (whole or not windows):
        first = int(onsets[begin])
        end = min(begin + MAX_WINDOW_EVENTS, int(np.searchsorted(onsets, first + MAX_ONSET_TICKS)))
        until = start_ticks + int(onsets[end]) if end < len(events) else end_ticks
        windows.append(Window(ev.translate(events[begin:end], -first), start_ticks + first, until))
        begin = end
    return Excerpt(windows, events.size)


def combine(vectors: Vectors, windows: Sequence[Window], pooling: Pooling) -> Vectors:
    """The vectors of a piece's windows as if its tokens had been pooled together; shape = (1, width).

    Args:
        vectors: one for each window.
        windows: means are weighted by their tokens.
        pooling: what made the vectors.
    """
    if pooling == "mean":
        weights = np.array([window.num_tokens for window in windows])
        mean: Vectors = np.average(vectors, axis=0, weights=weights).astype(np.float32)
        return mean[None]
    return vectors.max(axis=0, keepdims=True) if pooling == "max" else vectors[-1:]


def normalized(vectors: Vectors) -> Vectors:
    """Each with the length 1 (L2)."""
    lengths = np.linalg.norm(vectors.astype(np.float64), axis=1, keepdims=True)
    unit: Vectors = (vectors / np.maximum(lengths, np.finfo(np.float32).tiny)).astype(np.float32)
    return unit
