"""The part of a piece that a continuation starts from."""

from collections.abc import Sequence
from typing import Final, NamedTuple

from amt.errors import NoNotesError, PrimeError
from amt.events import Note
from amt.vocab import TICKS_PER_SECOND

MAX_PRIME_NOTES: Final = 20_000


class Prime(NamedTuple):
    """Notes kept as they are, and when the new music begins."""

    notes: list[Note]
    end_ticks: int

    def followed_by(self, new: Sequence[Note]) -> list[Note]:
        """The prime's notes and new ones.

        A new note that begins while the prime still sounds its pitch on its instrument ends no earlier than that
        does: where both share a channel a reader ends the older first, and the prime must come back as it was.
        """
        sounding: dict[tuple[int, int], int] = {}
        for note in self.notes:
            key = note.instrument, note.pitch
            sounding[key] = max(sounding.get(key, 0), note.onset + note.duration)
        followed = list(self.notes)
        for note in new:
            end = sounding.get((note.instrument, note.pitch), 0)
            if end > note.onset:
                note = note._replace(duration=max(note.duration, end - note.onset))
            followed.append(note)
        return followed


def take_prime(notes: Sequence[Note], length_ticks: int) -> Prime:
    """The notes that begin within the length; it ends there, or where the last note of all does if that is earlier.

    Raises:
        NoNotesError: no note begins within the length.
        PrimeError: so many do that this cannot be music.
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
    if len(kept) > MAX_PRIME_NOTES:
        raise PrimeError(f"the prime holds {len(kept)} notes: at most {MAX_PRIME_NOTES} can be continued")
    last_end = max(note.onset + note.duration for note in notes)
    return Prime(kept, min(length_ticks, last_end))
