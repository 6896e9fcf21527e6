"""Turn the responses of the tasks into rows of Parquet, and into MIDI files."""

import base64
import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

import pyarrow as pa

from bulk.ledger import both_names
from tasks.responses import EmbedResponse, PredictResponse, Variation, WindowEmbedding

MIDI_SUFFIXES: Final = (".mid", ".midi")

_VARIATION: Final = {
    "seed": pa.int64(),
    "draws": pa.int32(),
    "flaw": pa.string(),
    "num_events": pa.int32(),
    "duration_seconds": pa.float64(),
}
"""Columns that are fields of a variation."""


def embedding_rows(name: str, response: EmbedResponse) -> pa.Table:
    """Return a row for each vector of a file; `embedding` is a list of float32 of fixed size."""
    windows: Sequence[WindowEmbedding | None] = response.windows or [None]
    vectors = [each.embedding if each else response.embedding for each in windows]
    flat = pa.array([number for vector in vectors for number in vector or ()], pa.float32())
    n = len(vectors)
    return pa.table(
        {
            **both_names([name] * n),
            "window": pa.array(range(n), pa.int32()),
            "start_seconds": pa.array([each and each.start_seconds for each in windows], pa.float64()),
            "end_seconds": pa.array([each and each.end_seconds for each in windows], pa.float64()),
            "num_tokens": pa.array([each.num_tokens if each else response.num_tokens for each in windows], pa.int32()),
            "original_tokens": pa.array([response.original_tokens] * n, pa.int32()),
            "embedding": pa.FixedSizeListArray.from_arrays(flat, response.embedding_dim),
            **_of_the_answer(response, n),
        }
    )


def piece_rows(name: str, response: Any) -> tuple[pa.Table, Mapping[str, bytes]]:
    """Return a row for each variation of a file, and its MIDI files by their names."""
    variations: Sequence[Variation] = response.variations
    n = len(variations)
    files = [midi_name(name, number, n) if each.midi_base64 else None for number, each in enumerate(variations, 1)]
    table = pa.table(
        {
            **both_names([name] * n),
            "variation": pa.array(range(1, n + 1), pa.int32()),
            **{key: pa.array([getattr(each, key) for each in variations], kind) for key, kind in _VARIATION.items()},
            "key": pa.array([response.key] * n, pa.string()),
            "notes": pa.array([_json(each) for each in variations], pa.string()),
            **_of_the_answer(response, n),
        }
    )
    midis = {
        file: base64.b64decode(each.midi_base64 or "") for file, each in zip(files, variations, strict=True) if file
    }
    return table, midis


def midi_name(name: str, variation: int, n_variations: int) -> str:
    """Return the name of the MIDI file of a variation: that of its input, with a number if there are several."""
    stem, dot, suffix = name.rpartition(".")
    if not dot or f".{suffix.lower()}" not in MIDI_SUFFIXES:
        stem, suffix = name, "mid"
    return f"{stem}-{variation}.{suffix}" if n_variations > 1 else f"{stem}.{suffix}"


def _of_the_answer(response: PredictResponse, n: int) -> dict[str, pa.Array]:
    """Return what is the same in all rows of a file."""
    metadata, notices = response.metadata, getattr(response, "notices", [])
    return {
        "notices": pa.array([notices] * n, pa.list_(pa.string())),
        "model": pa.array([metadata.model_size] * n, pa.string()),
        "checkpoint": pa.array([metadata.model_id] * n, pa.string()),
    }


def _json(variation: Variation) -> str | None:
    """Return the notes of a variation as JSON, if they were asked for."""
    return None if variation.notes is None else json.dumps([note.model_dump() for note in variation.notes])
