"""Find the tracks of a MIDI file by number or name, counted as musicians count them."""

from difflib import get_close_matches
from typing import Final, NamedTuple

import numpy as np

from amt.errors import ArrangementError
from amt.midi.kinds import TRACK_NAME
from amt.midi.score import Score
from amt.midi.text import decode_text

MAX_CHANNELS: Final = 1 << 16
"""More than the channels of all ports."""

MAX_NAME_LENGTH: Final = 80
"""Characters of a track's name that are compared and shown."""

MAX_LISTED_TRACKS: Final = 24
"""Tracks that an error message lists."""


class Tracks(NamedTuple):
    """Hold the tracks of a file that have notes, and the track of each note.

    Attributes:
        names: in file order; musicians number these tracks from 1.
        of_notes: for each note in the order of `amt.midi.codec.read_notes`, an index into `names`.
    """

    names: list[str]
    of_notes: list[int]

    def find(self, wanted: int | str) -> frozenset[int]:
        """Return the indices of the tracks that a number from 1 on or a name means; case is ignored.

        Raises:
            ArrangementError: there is no such track; the message lists those that there are.
        """
        if isinstance(wanted, int):
            found = frozenset({wanted - 1} & set(range(len(self.names))))
        else:
            wanted = wanted[:MAX_NAME_LENGTH]
            names = enumerate(_normalized(name[:MAX_NAME_LENGTH]) for name in self.names)
            found = frozenset(index for index, name in names if name and name == _normalized(wanted))
        if found:
            return found
        known = [_normalized(name[:MAX_NAME_LENGTH]) for name in self.names[:MAX_LISTED_TRACKS]]
        near = get_close_matches(_normalized(str(wanted)), known, n=1, cutoff=0.5)
        hint = f"did you mean {near[0]!r}? " if near else ""
        shown = ", ".join(f"{number} {name!r}" for number, name in enumerate(self.names[:MAX_LISTED_TRACKS], start=1))
        more = ", ..." if len(self.names) > MAX_LISTED_TRACKS else ""
        raise ArrangementError(f"there is no track {wanted!r}: {hint}those that hold notes are {shown}{more}")


def find_tracks(score: Score) -> Tracks:
    """Return the tracks that hold notes.

    A file of type 0 has one track only; its channels are taken for tracks, as sequencers show them.
    """
    channel = score.note_channels if score.file.type == 0 else 0
    keys, of_notes = np.unique(score.note_tracks * MAX_CHANNELS + channel, return_inverse=True)
    names = _track_names(score)
    return Tracks([names.get(key // MAX_CHANNELS, "") for key in keys.tolist()], of_notes.tolist())


def _track_names(score: Score) -> dict[int, str]:
    """Return the first name that the messages of each track give it; a track without one is left out."""
    found = np.flatnonzero(score.messages.kind == TRACK_NAME)
    columns = (score.tracks[found], score.messages.begin[found], score.messages.end[found])
    rows = zip(*(column.tolist() for column in columns), strict=True)
    payloads = {track: score.file.data[begin:end] for track, begin, end in reversed(list(rows))}
    return {track: decode_text(payload) for track, payload in payloads.items()}


def _normalized(name: str) -> str:
    """Return a name in lower case with single spaces, as names are compared."""
    return " ".join(name.lower().split())
