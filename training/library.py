"""Read somebody's own MIDI: a folder tree -> pieces, and what could not be used."""

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from amt.errors import MidiError, TrainingError
from amt.midi.instruments import instrument_name
from amt.midi.notes import N_PITCHES, TICKS_PER_SECOND
from amt.tokens.vocab import MAX_WINDOW_EVENTS, NOTE
from training import corpus
from training.corpus import Piece

MIN_PIECES = 5

HELD_OUT_SHARE = 0.1

SUFFIXES = (".mid", ".midi", ".kar", ".rmi", ".smf")

READING = "reading"

SHOWN = 20
"""Unusable files that are listed; of more only the number is said."""

INSTRUMENTS_SHOWN = 8


@dataclass(frozen=True)
class Library:
    """Hold the pieces of a folder tree in the order of their paths, and why its other MIDI files could not be used."""

    pieces: list[Piece]
    unusable: list[tuple[str, str]]
    """Paths from the folder, each with a reason."""

    def split(self) -> tuple[list[Piece], list[Piece]]:
        """Return (the pieces to train on, a tenth, at least one, to measure by).

        Which they are depends on the names of the files alone, so they stay the same when others come or go, or nearly,
        and pieces that the bundled model was not trained on are the first.
        """
        order = sorted(range(len(self.pieces)), key=lambda index: self.pieces[index].rank)  # stable: names may be equal
        held_out = set(order[: max(round(HELD_OUT_SHARE * len(order)), 1)])
        return (
            [piece for index, piece in enumerate(self.pieces) if index not in held_out],
            [piece for index, piece in enumerate(self.pieces) if index in held_out],
        )

    @property
    def fingerprint(self) -> str:
        """Return a number that says whether these are the same pieces."""
        digest = hashlib.sha256()
        for piece in self.pieces:
            digest.update(piece.rank)
            digest.update(piece.events.tobytes())
        return digest.hexdigest()

    def unusable_lines(self) -> list[str]:
        """Return a line for each of the first unusable files, and one for the rest."""
        lines = [f"{path}: {reason}" for path, reason in self.unusable[:SHOWN]]
        n_more = len(self.unusable) - SHOWN
        return [*lines, f"and {n_more} more"] if n_more > 0 else lines


def read_library(folder: Path) -> Library:
    """Read every MIDI file under a folder; a file that holds the same notes as one before it is left out.

    Raises:
        TrainingError: there is no such folder, or it holds fewer than five pieces that can be used.
    """
    if not folder.is_dir():
        raise TrainingError(f"there is no folder {folder}: name the folder that holds your MIDI files")
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())
    names = [path.relative_to(folder).as_posix() for path in paths]
    pieces, unusable, known = list[Piece](), list[tuple[str, str]](), dict[bytes, str]()
    for name, found in zip(names, map(_read, tqdm(paths, READING, disable=None, leave=False)), strict=True):
        if isinstance(found, str):
            unusable.append((name, found))
        elif twin := known.get(found.events.tobytes()):
            unusable.append((name, f"it holds the same notes as {twin}"))
        else:
            known[found.events.tobytes()] = name
            pieces.append(found)
    library = Library(pieces, unusable)
    if len(pieces) < MIN_PIECES:
        reasons = "".join(f"\n  {line}" for line in library.unusable_lines())
        raise TrainingError(
            f"{folder} holds {_count(len(pieces), 'piece')} that can be used, of {_count(len(paths), 'MIDI file')}: "
            f"at least {MIN_PIECES} are needed, with {corpus.MIN_NOTES} notes or more each{reasons}"
        )
    return library


def _read(path: Path) -> Piece | str:
    try:
        return corpus.read(path.absolute())
    except MidiError as error:
        return str(error)
    except OSError as error:
        return f"it cannot be read: {error.strerror}"


@dataclass(frozen=True)
class Summary:
    """Say how much music some pieces hold."""

    n_pieces: int
    seconds: float
    n_notes: int
    instruments: list[tuple[str, float]]
    """Names with their share of the notes, the commonest first."""

    def __str__(self) -> str:
        """Return one sentence."""
        shown = ", ".join(f"{name} {share:.0%}" for name, share in self.instruments[:INSTRUMENTS_SHOWN])
        n_more = len(self.instruments) - INSTRUMENTS_SHOWN
        more = f" and {n_more} more" if n_more > 0 else ""
        length = f"{self.seconds / 3600:.1f} hours" if self.seconds >= 3600 else f"{self.seconds / 60:.1f} minutes"
        return f"{_count(self.n_pieces, 'piece')}, {length}, {self.n_notes:,} notes: {shown}{more}"


def summarise(pieces: Sequence[Piece]) -> Summary:
    """Return how much music the pieces hold; there is at least one."""
    codes = np.concatenate([piece.events[:, 2] for piece in pieces]) - NOTE.offset
    counts = Counter((codes // N_PITCHES).tolist()).most_common()
    ends = sum(int(piece.events[-1, 0]) for piece in pieces)
    instruments = [(instrument_name(code), count / len(codes)) for code, count in counts]
    return Summary(len(pieces), ends / TICKS_PER_SECOND, len(codes), instruments)


def count_windows(pieces: Sequence[Piece]) -> int:
    """Return how many full windows the pieces would fill once."""
    return max(round(sum(len(piece.events) for piece in pieces) / MAX_WINDOW_EVENTS), 1)


def _count(n: int, noun: str) -> str:
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"
