"""Pieces cut to windows: as much of the music as a model can see at once, or all of it."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from amt.errors import NoNotesError
from amt.midi.notes import Note
from amt.tokens import events as ev
from amt.tokens.events import Events
from amt.tokens.vocab import MAX_ONSET_TICKS, MAX_WINDOW_EVENTS


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
