"""Run the task that makes vectors: a request becomes a job for the model, and its result the answer."""

from collections.abc import Mapping
from typing import Final

import numpy as np

from amt.errors import ExcerptError, MidiError
from amt.midi import codec
from amt.midi.notes import TICKS_PER_SECOND
from amt.pooling import Vectors, combine, normalized
from amt.tokens.windows import Excerpt, take_excerpt
from tasks.requests import EmbedRequest
from tasks.responses import (
    EmbedFilesResponse,
    EmbedResponse,
    FileEmbedding,
    Metadata,
    PredictResponse,
    WindowEmbedding,
)
from worker.jobs import EmbedJob

MAX_WINDOWS: Final = 1_024
"""How many are embedded for one request."""

TOKEN_DECIMALS: Final = 6
"""How vectors for each token are rounded: there are thousands, and their digits are most of the answer."""


def decode_request(request: EmbedRequest, size: str, headers: Mapping[str, str], *, streams: bool) -> EmbedJob:
    """Return what the worker must embed. Raise an `AMTError` if the MIDI cannot be used."""
    return EmbedJob(size, headers, streams, _find_excerpts(request), request.embed_layer, request.pooling)


def encode_response(
    request: EmbedRequest, job: EmbedJob, vectors: list[Vectors], metadata: Metadata
) -> PredictResponse:
    """Return the answer to the task; there are vectors for each window of each excerpt in turn."""
    remaining = iter(vectors)
    files = [_embed_file(request, excerpt, [next(remaining) for _ in excerpt.windows]) for excerpt in job.excerpts]
    if request.midi_inputs is not None:
        return EmbedFilesResponse(files=files, metadata=metadata)
    return EmbedResponse(**dict(files[0]), metadata=metadata)


def _find_excerpts(request: EmbedRequest) -> tuple[Excerpt, ...]:
    """Return what is embedded of each file.

    Raises:
        MidiError: a file cannot be used; the message names it if there are several.
        ExcerptError: there is too much music.
    """
    excerpts = []
    for index, data in enumerate(request.files):
        try:
            excerpts.append(take_excerpt(codec.read_notes(data), whole=request.windows != "first"))
        except MidiError as error:
            if request.midi_inputs is None:
                raise
            raise MidiError(f"midi_inputs[{index}]: {error}") from error
    n_windows = sum(len(excerpt.windows) for excerpt in excerpts)
    if n_windows > MAX_WINDOWS:
        raise ExcerptError(
            f"this is {n_windows:,} windows of music: at most {MAX_WINDOWS:,} are embedded for one request, "
            "so send fewer or shorter files, or set windows to 'first'"
        )
    return tuple(excerpts)


def _embed_file(request: EmbedRequest, excerpt: Excerpt, vectors: list[Vectors]) -> FileEmbedding:
    """Return what the answer says of one file, whose windows have these vectors."""
    found = np.concatenate(vectors)
    if request.windows == "all":
        found = combine(found, excerpt.windows, request.pooling)
    if request.normalize:
        found = normalized(found)
    embedding = token_embeddings = windows = None
    if request.pooling == "none":
        token_embeddings = found.astype(np.float64).round(TOKEN_DECIMALS).tolist()
    elif request.windows == "each":
        windows = [
            WindowEmbedding(
                embedding=vector,
                start_seconds=window.start_ticks / TICKS_PER_SECOND,
                end_seconds=window.end_ticks / TICKS_PER_SECOND,
                num_tokens=window.num_tokens,
            )
            for vector, window in zip(found.tolist(), excerpt.windows, strict=True)
        ]
    else:
        embedding = found[0].tolist()
    return FileEmbedding(
        embedding=embedding,
        token_embeddings=token_embeddings,
        windows=windows,
        embedding_dim=found.shape[1],
        layer=request.embed_layer,
        num_tokens=excerpt.num_tokens,
        original_tokens=excerpt.original_tokens,
        truncated=excerpt.num_tokens < excerpt.original_tokens,
    )
