"""The tracks of a MIDI file, as musicians count them."""

from difflib import get_close_matches
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from amt.errors import ArrangementError
from amt.midi import smf

N_CHANNELS: Final = 16

MAX_NAME: Final = 80
"""So many characters of a name count."""

SHOWN_TRACKS: Final = 24
"""So many are listed in a message."""


class Tracks(NamedTuple):
    """Which of a file's notes are on which track.

    Attributes:
        names: of the tracks that hold notes, in file order; musicians number these from 1.
        of_notes: for each note in the order of `amt.codec.read_notes`, an index into the names.
    """

    names: list[str]
    of_notes: list[int]

    def find(self, wanted: int | str) -> frozenset[int]:
        """The tracks, as indices, of a number from 1 on or of a name; case is ignored.

        Raises:
            ArrangementError: none; the message lists them all.
        """
        if isinstance(wanted, int):
            found = frozenset({wanted - 1} & set(range(len(self.names))))
        else:
            wanted = wanted[:MAX_NAME]
            names = enumerate(_folded(name[:MAX_NAME]) for name in self.names)
            found = frozenset(index for index, name in names if name and name == _folded(wanted))
        if found:
            return found
        known = [_folded(name[:MAX_NAME]) for name in self.names[:SHOWN_TRACKS]]
        near = get_close_matches(_folded(str(wanted)), known, n=1, cutoff=0.5)
        hint = f"did you mean {near[0]!r}? " if near else ""
        shown = ", ".join(f"{number} {name!r}" for number, name in enumerate(self.names[:SHOWN_TRACKS], start=1))
        more = ", ..." if len(self.names) > SHOWN_TRACKS else ""
        raise ArrangementError(f"there is no track {wanted!r}: {hint}those that hold notes are {shown}{more}")


def read_tracks(data: bytes) -> Tracks:
    """The tracks that hold notes. The channels of a file of type 0 are its tracks, as sequencers show them.

    Raises:
        MidiError: the bytes are not a MIDI file.
    """
    file = smf.read(data)
    track = np.repeat(np.arange(len(file.lengths)), file.lengths)
    begun = np.flatnonzero((file.messages[:, 1] == smf.NOTE_ON) & (file.messages[:, 4] > 0))
    if file.type != 2:  # its patterns follow one another, all others sound together
        begun = begun[np.argsort(file.messages[begun, 0], kind="stable")]
    channel = file.messages[begun, 2] if file.type == 0 else 0
    keys, index = np.unique(track[begun] * N_CHANNELS + channel, return_inverse=True)
    return Tracks([_name(data, file, track == key // N_CHANNELS) for key in keys], index.tolist())


def _name(data: bytes, file: smf.File, of_track: NDArray[np.bool_]) -> str:
    """The first of a track's names; `of_track` says which messages are its."""
    for begin, length in file.messages[of_track & (file.messages[:, 1] == smf.TRACK_NAME), 3:5]:
        text = data[begin : begin + length]
        try:
            return text.decode().strip("\0 ")
        except UnicodeDecodeError:
            return text.decode("latin-1").strip("\0 ")
    return ""


def _folded(name: str) -> str:
    return " ".join(name.lower().split())
