"""Find the pieces of a folder that are nearest to one, by the model's vectors, which are kept on the disk."""

import asyncio
import hashlib
import os
import re
import tempfile
from collections.abc import Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from agents.errors import FileRefused
from agents.files import MAX_MIDI_BYTES, Files, read_bytes
from agents.pieces import GivenPiece
from agents.service import Report
from amt.errors import MidiError
from amt.midi.codec import read_notes
from client import AsyncAnticipatoryClient

Vector = NDArray[np.float32]

MAX_FILES: Final = 2_000
CACHE_FOLDER: Final = ".embeddings"


class Near(NamedTuple):
    """Hold a file and how near it is: a cosine, from -1 to 1."""

    path: Path
    similarity: float


class Neighbours(NamedTuple):
    """Hold the nearest files, how many were compared, and how many could not be."""

    nearest: list[Near]
    compared: int
    skipped: int


class Index:
    """Look for similar pieces. Vectors are kept in the folder of results, by model and by what a file holds."""

    def __init__(self, files: Files, client: AsyncAnticipatoryClient) -> None:
        self._files = files
        self._client = client

    async def nearest(self, piece: GivenPiece, folder: Path, count: int, report: Report) -> Neighbours:
        """Return the files of a folder that are nearest to a piece, the piece itself left out.

        Cosines are of vectors without their mean, for all vectors of a model have much in common.

        Raises:
            FileRefused: there are too many files, or none that can be compared.
        """
        answer = await self._client.embed(piece.data)
        vector = np.asarray(answer["embedding"], np.float32)
        cache = self._files.folder / CACHE_FOLDER / re.sub(r"[^\w.-]+", "_", answer["metadata"]["model_id"])
        paths = await asyncio.to_thread(lambda: list(self._files.midi_files(folder)))
        if len(paths) > MAX_FILES:
            raise FileRefused(f"{folder} holds {len(paths)} MIDI files, and at most {MAX_FILES} are compared")
        own = _digest(piece.data)
        known: dict[Path, Vector] = {}
        wanted: dict[Path, str] = {}
        for path in paths:
            found = await asyncio.to_thread(_look_up, cache, path, own)
            if isinstance(found, str):
                wanted[path] = found
            elif found is not None:
                known[path] = found
        await self._embed(wanted, known, cache, report)
        if not known:
            raise FileRefused(f"{folder} holds no other MIDI file that can be compared")
        return Neighbours(_nearest(vector, known, count), len(known), len(paths) - len(known))

    async def _embed(self, wanted: dict[Path, str], known: dict[Path, Vector], cache: Path, report: Report) -> None:
        """Ask for the vectors of files, a few at a time, and keep each at once, by its digest."""
        results = self._client.embed_many(path.resolve() for path in wanted)
        async with aclosing(results):
            for done, (path, digest) in enumerate(wanted.items(), 1):
                result = await anext(results)
                known[path] = np.asarray(result["embedding"], np.float32)
                _keep(cache / f"{digest}.npy", known[path])
                await report(done, len(wanted), f"{done} of {len(wanted)} files read")


def _look_up(cache: Path, path: Path, own: str) -> Vector | str | None:
    """Return a file's vector if it is kept, else its digest; None if it is the piece itself or cannot be embedded."""
    try:
        data = read_bytes(path.resolve(), MAX_MIDI_BYTES)
        digest = _digest(data)
        if digest == own:
            return None
        kept = cache / f"{digest}.npy"
        if kept.is_file():
            vector: Vector = np.load(kept, allow_pickle=False)
            return vector
        return digest if read_notes(data) else None
    except (FileRefused, MidiError, OSError, ValueError):
        return None


def _keep(path: Path, vector: Vector) -> None:
    """Write a vector so that it is there as a whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(dir=path.parent)
    with os.fdopen(descriptor, "wb") as file:
        np.save(file, vector, allow_pickle=False)
    Path(temporary).replace(path)


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _nearest(vector: Vector, known: dict[Path, Vector], count: int) -> list[Near]:
    """Return the files whose vectors have the largest cosines, without the mean of all."""
    paths: Sequence[Path] = list(known)
    vectors = np.array([vector, *known.values()], np.float64)
    if len(vectors) > 2:  # of two vectors each would be the other's opposite
        vectors -= vectors.mean(axis=0)
    vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), np.finfo(np.float64).tiny)
    cosines = vectors[1:] @ vectors[0]
    best = np.argsort(-cosines, kind="stable")[:count]
    return [Near(paths[place], round(float(cosines[place]), 3)) for place in best]
