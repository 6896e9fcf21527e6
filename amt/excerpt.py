"""The beginning of a piece, as much of it as a model can see at once."""

from collections.abc import Sequence
from typing import NamedTuple

from amt import events as ev
from amt.errors import NoNotesError
from amt.events import Note
from amt.vocab import AUTOREGRESS, EVENT_TOKENS, MAX_ONSET_TICKS, MAX_WINDOW_EVENTS


class Excerpt(NamedTuple):
    """One mode token and whole events, and how many event tokens the whole piece has."""

    tokens: list[int]
    original_tokens: int

    @property
    def num_tokens(self) -> int:
        """How many event tokens there are."""
        return len(self.tokens) - 1


def take_excerpt(notes: Sequence[Note]) -> Excerpt:
    """At most 341 events, padded with rests, that begin within 100 s of the first note.

    Raises:
        NoNotesError: there are no notes.
    """
    if not notes:
        raise NoNotesError("the MIDI file holds no notes: there is nothing to embed")
    events = ev.sort(ev.from_notes(notes))
    events = ev.translate(events, -int(events[0, 0]))
    within = ev.clip(events, 0, MAX_ONSET_TICKS - 1)
    used = ev.pad(within, min(int(events[-1, 0]), MAX_ONSET_TICKS))[:MAX_WINDOW_EVENTS]
    return Excerpt([AUTOREGRESS, *used.reshape(-1).tolist()], EVENT_TOKENS * ev.padded_length(events))
