"""Find results that nobody wants: no music, or one or two notes repeated to the end."""

from typing import Final, Literal

from amt.decoding.constraints import Constraints
from amt.midi.notes import DRUMS, N_PITCHES, TICKS_PER_SECOND
from amt.tokens import events as ev
from amt.tokens.vocab import NOTE

Flaw = Literal["silent", "stuck"]

STUCK_NOTES: Final = 20
STUCK_SECONDS: Final = 5
"""A result is stuck if so many notes over so long, up to the last, are but one or two different ones."""


def find_flaw(new: ev.Events, constraints: Constraints) -> Flaw | None:
    """Return what is wrong with the new notes of a result, if anything.

    Two different drums are a beat, one is not. Where fewer than three notes are legal nothing else could come.

    Args:
        new: sorted, without rests and controls.
        constraints: what they had to be.
    """
    if not len(new):
        return "silent"
    possible = constraints.possible_notes
    if possible is not None and possible[:-1].sum() < 3:
        return None
    for n_different in (1, 2):
        repeated = _tail(new, n_different)
        all_drums = (repeated[:, 2] - NOTE.offset >= DRUMS * N_PITCHES).all()
        lasts = int(repeated[-1, 0] - repeated[0, 0]) >= STUCK_SECONDS * TICKS_PER_SECOND
        if len(repeated) >= STUCK_NOTES and lasts and not (n_different == 2 and all_drums):
            return "stuck"
    return None


def _tail(events: ev.Events, n_different: int) -> ev.Events:
    """Return as many of the last events as have at most `n_different` notes among them."""
    different: set[int] = set()
    for index in range(len(events) - 1, -1, -1):
        different.add(int(events[index, 2]))
        if len(different) > n_different:
            return events[index + 1 :]
    return events
