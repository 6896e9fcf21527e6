"""The part of a piece that is accompanied."""

from collections.abc import Sequence
from typing import NamedTuple

from amt.errors import ArrangementError
from amt.midi.instruments import find_instruments, instrument_name
from amt.midi.notes import Note
from amt.midi.tracks import Tracks


class Part(NamedTuple):
    """The notes that are fixed, and all others."""

    fixed: list[Note]
    others: list[Note]


def split_melody(
    notes: Sequence[Note], tracks: Tracks, instruments: Sequence[int | str], track_names: Sequence[int | str]
) -> Part:
    """The notes of any of the instruments or tracks named; all notes if none is.

    Args:
        notes: of the file, in its order.
        tracks: of the same file.
        instruments: as `find_instruments` takes them.
        track_names: numbers from 1 on, or names.

    Raises:
        InstrumentError: there is no such instrument.
        ArrangementError: there is no such track, or no note of an instrument.
    """
    if not instruments and not track_names:
        return Part(list(notes), [])
    playing = {note.instrument for note in notes}
    wanted: set[int] = set()
    for name in instruments:
        found = find_instruments(name) & playing
        if not found:
            known = ", ".join(f"{instrument} {instrument_name(instrument)!r}" for instrument in sorted(playing))
            raise ArrangementError(f"no note of the MIDI file is played by {name!r}: its instruments are {known}")
        wanted |= found
    on_tracks = {track for name in track_names for track in tracks.find(name)}
    part = Part([], [])
    for note, track in zip(notes, tracks.of_notes, strict=True):
        (part.fixed if note.instrument in wanted or track in on_tracks else part.others).append(note)
    return part
