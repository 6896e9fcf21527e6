"""Split a piece into the melody and its accompaniment."""

from collections.abc import Sequence
from typing import NamedTuple

from amt.errors import ArrangementError
from amt.midi.instruments import find_instruments, instrument_name
from amt.midi.notes import Note
from amt.midi.tracks import Tracks


class Parts(NamedTuple):
    """Hold the notes of a piece in two parts, each in file order.

    Attributes:
        melody: the notes that are to be accompanied.
        accompaniment: all other notes.
    """

    melody: list[Note]
    accompaniment: list[Note]


def split_melody(
    notes: Sequence[Note], tracks: Tracks, instruments: Sequence[int | str], track_names: Sequence[int | str]
) -> Parts:
    """Return the notes of the named instruments and tracks as the melody; all notes if none is named.

    Args:
        notes: of the file, in its order.
        tracks: of the same file.
        instruments: of the melody, as `find_instruments` takes them.
        track_names: of the melody, as numbers from 1 on or names.

    Raises:
        InstrumentError: there is no such instrument.
        ArrangementError: there is no such track, or an instrument plays no note.
    """
    if not instruments and not track_names:
        return Parts(list(notes), [])
    playing = {note.instrument for note in notes}
    melodic: set[int] = set()
    for name in instruments:
        found = find_instruments(name) & playing
        if not found:
            known = ", ".join(f"{instrument} {instrument_name(instrument)!r}" for instrument in sorted(playing))
            raise ArrangementError(f"no note of the input is played by {name!r}: its instruments are {known}")
        melodic |= found
    melody_tracks = {track for name in track_names for track in tracks.find(name)}
    parts = Parts([], [])
    for note, track in zip(notes, tracks.of_notes, strict=True):
        is_melody = note.instrument in melodic or track in melody_tracks
        (parts.melody if is_melody else parts.accompaniment).append(note)
    return parts
