"""The tracks of a MIDI file, as musicians count them."""

from difflib import get_close_matches
from typing import Final, NamedTuple

from amt import smf
from amt.errors import ArrangementError

SHOWN_TRACKS: Final = 24
"""So many are listed in a message."""


class Tracks(NamedTuple):
    """Which of a file's notes are on which track.

    Attributes:
        names: of the tracks that hold notes, in file order; musicians number these from 1.
        of_notes: for each note in the order of `amt.midi.read_notes`, an index into the names.
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
            found = frozenset(index for index, name in enumerate(self.names) if _folded(name) == _folded(wanted))
        if found:
            return found
        near = get_close_matches(_folded(str(wanted)), [_folded(name) for name in self.names], n=1, cutoff=0.5)
        hint = f"did you mean {near[0]!r}? " if near else ""
        shown = ", ".join(f"{number} {name!r}" for number, name in enumerate(self.names[:SHOWN_TRACKS], start=1))
        more = ", ..." if len(self.names) > SHOWN_TRACKS else ""
        wanted = wanted[:40] if isinstance(wanted, str) else wanted
        raise ArrangementError(f"there is no track {wanted!r}: {hint}those that hold notes are {shown}{more}")


def read_tracks(data: bytes) -> Tracks:
    """The tracks that hold notes. The channels of a file of type 0 are its tracks, as sequencers show them.

    Raises:
        MidiError: the bytes are not a MIDI file.
    """
    file = smf.read(data)
    begun = [
        (message.tick, (track, message.channel if file.type == 0 else 0))
        for track, messages in enumerate(file.tracks)
        for message in messages
        if message.kind == smf.NOTE_ON and message.data2
    ]
    if file.type != 2:  # its patterns follow one another, all others sound together
        begun.sort(key=lambda each: each[0])
    keys = sorted({key for _, key in begun})
    index = {key: place for place, key in enumerate(keys)}
    return Tracks([_name(data, file, track) for track, _ in keys], [index[key] for _, key in begun])


def _name(data: bytes, file: smf.File, track: int) -> str:
    for message in file.tracks[track]:
        if message.kind == smf.TRACK_NAME:
            text = data[message.data1 : message.data1 + message.data2]
            try:
                return text.decode().strip("\0 ")
            except UnicodeDecodeError:
                return text.decode("latin-1").strip("\0 ")
    return ""


def _folded(name: str) -> str:
    return " ".join(name.lower().split())
