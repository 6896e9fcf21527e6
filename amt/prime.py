"""The part of a piece that a continuation starts from."""

from collections.abc import Sequence
from typing import NamedTuple

from amt.errors import NoNotesError
from amt.events import Note
from amt.vocab import TICKS_PER_SECOND


class Prime(NamedTuple):
    """Notes kept as they are, and when the new music begins."""

    notes: list[Note]
    end_ticks: int


def take_prime(notes: Sequence[Note], length_ticks: int) -> Prime:
    """The notes that begin within the length; it ends there, or where the last note of all does if that is earlier.

    Raises:
        NoNotesError: no note begins within the length.
    """
    if not notes:
        raise NoNotesError("the MIDI file holds no notes: there is nothing to continue")
    kept = sorted((note for note in notes if note.onset < length_ticks), key=lambda note: note.onset)
    if not kept:
        first = min(note.onset for note in notes) / TICKS_PER_SECOND
        raise NoNotesError(
            f"no note begins in the first {length_ticks / TICKS_PER_SECOND:g} s of the MIDI file: "
            f"the first begins at {first:g} s, so prime_seconds must be greater"
        )
    last_end = max(note.onset + note.duration for note in notes)
    return Prime(kept, min(length_ticks, last_end))
