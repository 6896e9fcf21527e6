"""Read a folder of MIDI files, one sub-folder per collection, as event arrays."""

import hashlib
import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from amt.errors import MidiError, NoNotesError
from amt.midi import codec
from amt.tokens import events as ev

MIN_NOTES = 24
"""Shorter pieces teach little: a window would be mostly padding."""


@dataclass(frozen=True)
class Piece:
    """Hold one file: its notes as sorted events, without rests."""

    collection: str
    name: str
    events: ev.Events

    @property
    def held_out(self) -> bool:
        """Return whether the piece is kept from training.

        About 5 % are, by a hash of the file name. That rule alone keeps no piece of the smallest collection, so as
        many more are held out by the same hash of the path.
        """
        return self.rank[0] < 13

    @property
    def rank(self) -> bytes:
        """Return the piece's place in the order in which pieces are held out, first ones first; 16 bytes."""
        names = (self.name, f"{self.collection}/{self.name}")
        return min(hashlib.md5(name.encode(errors="surrogateescape")).digest() for name in names)


def read(path: Path) -> Piece:
    """Return the piece in a file.

    Raises:
        MidiError: it is no MIDI file, or has too few notes.
        OSError: it cannot be read.
    """
    notes = codec.read_notes(path.read_bytes())
    if len(notes) < MIN_NOTES:
        raise NoNotesError(
            f"it has {len(notes)} notes: at least {MIN_NOTES} are needed" if notes else "it has no notes"
        )
    events = ev.sort(ev.from_notes(notes))
    return Piece(path.parent.name, path.name, ev.translate(events, -int(events[0, 0])))


def read_or_none(path: Path) -> Piece | None:
    """Return the piece in a file, or nothing if it cannot be read or is too short."""
    try:
        return read(path)
    except MidiError:
        return None


def load(folder: Path, cache: Path) -> list[Piece]:
    """Return every readable piece under the folder, from the cache file when there is one; else write that."""
    if not cache.exists():
        with ProcessPoolExecutor() as pool:
            pieces = [piece for piece in pool.map(read_or_none, sorted(folder.glob("*/*.mid")), chunksize=16) if piece]
        part = cache.with_suffix(f".{os.getpid()}.npz")  # another program may be about to read or to write it
        np.savez_compressed(
            part,
            collections=[piece.collection for piece in pieces],
            names=[piece.name for piece in pieces],
            lengths=[len(piece.events) for piece in pieces],
            events=np.concatenate([piece.events for piece in pieces]).astype(np.int32),
        )
        part.replace(cache)
    return list(_from_cache(cache))


def _from_cache(cache: Path) -> Iterator[Piece]:
    """Yield the pieces in a cache file."""
    with np.load(cache) as arrays:
        parts = np.split(arrays["events"].astype(np.int64), np.cumsum(arrays["lengths"])[:-1])
        for collection, name, events in zip(arrays["collections"], arrays["names"], parts, strict=True):
            yield Piece(str(collection), str(name), events)
