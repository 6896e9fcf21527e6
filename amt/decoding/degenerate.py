"""Results that nobody wants: no music, or music that hangs."""

from typing import Final, Literal

from amt import events as ev
from amt.vocab import DRUMS, N_PITCHES, NOTE, TICKS_PER_SECOND
from amt.wishes import Wishes

Flaw = Literal["silent", "stuck"]

STUCK_NOTES: Final = 20
STUCK_SECONDS: Final = 5
"""So many notes over so long, up to the last one, that are one and the same, or but two: it hangs."""


def find_flaw(new: ev.Events, wishes: Wishes) -> Flaw | None:
    """What is wrong with the new notes of a result, if anything.

    Two different drums are a beat, one is not. Where less than three notes are allowed nothing else could come.

    Args:
        new: sorted, without rests and controls.
        wishes: what they had to be.
    """
    if not len(new):
        return "silent"
    legal = wishes.legal_notes
    if legal is not None and legal[:-1].sum() < 3:
        return None
    for most in (1, 2):
        hanging = _tail(new, most)
        all_drums = (hanging[:, 2] - NOTE.offset >= DRUMS * N_PITCHES).all()
        lasts = int(hanging[-1, 0] - hanging[0, 0]) >= STUCK_SECONDS * TICKS_PER_SECOND
        if len(hanging) >= STUCK_NOTES and lasts and not (most == 2 and all_drums):
            return "stuck"
    return None


def _tail(events: ev.Events, most: int) -> ev.Events:
    """As many of the last events as have at most so many different notes."""
    different: set[int] = set()
    for index in range(len(events) - 1, -1, -1):
        different.add(int(events[index, 2]))
        if len(different) > most:
            return events[index + 1 :]
    return events
