"""Cut a piece into windows, each as much music as a model can see at once."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from amt.errors import NoNotesError
from amt.midi.notes import Note
from amt.tokens import events as ev
from amt.tokens.events import Events
from amt.tokens.vocab import MAX_ONSET_TICKS, MAX_WINDOW_EVENTS


class Window(NamedTuple):
    """Hold whole events that a model can see together.

    Attributes:
        events: with rests, at most 341; onsets count from the first event, and are under 100 s.
        start_ticks: when the first event begins, from the start of the file.
        end_ticks: when the next window begins; for the last window, when the last note of the piece ends.
    """

    events: Events
    start_ticks: int
    end_ticks: int

    @property
    def num_tokens(self) -> int:
        """Return the number of event tokens."""
        return self.events.size


class Excerpt(NamedTuple):
    """Hold the windows of a piece that are embedded, and the number of event tokens of the whole piece."""

    windows: list[Window]
    original_tokens: int

    @property
    def num_tokens(self) -> int:
        """Return the number of event tokens in all windows."""
        return sum(window.num_tokens for window in self.windows)


def take_excerpt(notes: Sequence[Note], *, whole: bool = False) -> Excerpt:
    """Return the windows of a piece, from its first note on and padded with rests.

    Args:
        notes: in any order.
        whole: cut the whole piece into windows; if not, take the first window only.

    Raises:
        NoNotesError: there are no notes.
    """
    if not notes:
        raise NoNotesError("the input holds no notes: there is nothing to embed")
    sounding = ev.sort(ev.from_notes(notes))
    start_ticks = min(note.onset for note in notes)
    end_ticks = max(note.onset + note.duration for note in notes)
    events = ev.pad(ev.translate(sounding, -start_ticks))
    onsets = ev.onsets(events)
    windows: list[Window] = []
    begin = 0
    while begin < len(events) and (whole or not windows):
        first = int(onsets[begin])
        end = min(begin + MAX_WINDOW_EVENTS, int(np.searchsorted(onsets, first + MAX_ONSET_TICKS)))
        until = start_ticks + int(onsets[end]) if end < len(events) else end_ticks
        windows.append(Window(ev.translate(events[begin:end], -first), start_ticks + first, until))
        begin = end
    return Excerpt(windows, events.size)
