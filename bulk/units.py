"""Divide the files of a job into units: what is computed, written and, after a crash, done again as one."""

import hashlib
import os
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

MIN_UNIT: Final = 4
MAX_EMBED_UNIT: Final = 64
"""Files: on a GPU a unit is one batch of its windows."""

MAX_MUSIC_UNIT: Final = 16
MIN_UNITS: Final = 64
"""So that many workers have about equally much to do, as far as there are files for it."""

SEED_BYTES: Final = 6
"""Seeds are exact in JavaScript and other languages without integers of 64 bits."""


class Unit(NamedTuple):
    """Hold files that are done together.

    Attributes:
        key: names it: its number, and for a file alone the place within its unit.
        names: of the files.
    """

    key: str
    names: Sequence[str]

    @property
    def is_alone(self) -> bool:
        """Whether it is one file of a unit, by itself."""
        return "-" in self.key

    def alone(self) -> Iterable["Unit"]:
        """Yield a unit for each file."""
        for place, name in enumerate(self.names):
            yield Unit(f"{self.key}-{place:02}", [name])


def divide(names: Sequence[str], task: str, first_number: int) -> list[Unit]:
    """Return units of files, in their order; they are numbered on from `first_number`."""
    most = MAX_EMBED_UNIT if task == "embed" else MAX_MUSIC_UNIT
    size = max(MIN_UNIT, min(most, len(names) // MIN_UNITS))
    return [
        Unit(f"{first_number + number:06}", names[start : start + size])
        for number, start in enumerate(range(0, len(names), size))
    ]


def seed_of(base: int, name: str) -> int:
    """Return the seed of a file, from the job's seed and the file's name alone: the same on every machine."""
    digest = hashlib.sha256(f"{base}\0".encode() + os.fsencode(name)).digest()
    return int.from_bytes(digest[:SEED_BYTES], "big")


def piece_names(count: int) -> list[str]:
    """Return the names of pieces that are made from nothing."""
    return [f"{number:06}.mid" for number in range(count)]
