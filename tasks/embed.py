"""The task that makes vectors: a request as work for the model, and what came of it as the caller wants it."""

from collections.abc import Mapping
from typing import Final

import numpy as np

from amt.errors import ExcerptError, MidiError
from amt.midi import codec
from amt.midi.notes import TICKS_PER_SECOND
from amt.pooling import Vectors, combine, normalized
from amt.tokens.windows import Excerpt, take_excerpt
from tasks.schemas import (
    EmbedFilesResponse,
    EmbedResponse,
    FileEmbedding,
    Metadata,
    PredictRequest,
    PredictResponse,
    WindowEmbedding,
)
from worker.jobs import EmbedJob

MAX_WINDOWS: Final = 1_024
"""Embedded for one request."""

TOKEN_DECIMALS: Final = 6
"""Of vectors for each token: there are so many that their digits are half of the answer."""


def decode_request(request: PredictRequest, size: str, headers: Mapping[str, str], *, streams: bool) -> EmbedJob:
    """What the worker has to embed. Raises an `AMTError` if the MIDI cannot be used."""
    return EmbedJob(size, headers, streams, _excerpts(request), request.embed_layer, request.pooling)


def encode_response(
    request: PredictRequest, job: EmbedJob, vectors: list[Vectors], metadata: Metadata
) -> PredictResponse:
    """The answer to the task; there are vectors for each window of each excerpt in turn."""
    each = iter(vectors)
    files = [_file_embedding(request, excerpt, [next(each) for _ in excerpt.windows]) for excerpt in job.excerpts]
    if request.midi_inputs is not None:
        return EmbedFilesResponse(files=files, metadata=metadata)
    return EmbedResponse(**dict(files[0]), metadata=metadata)


def _excerpts(request: PredictRequest) -> tuple[Excerpt, ...]:
    """What is embedded of each file. Raises an `AMTError` that names the file if it cannot be used."""
    whole = request.windows != "first"
    if request.midi_inputs is None:
        excerpts = [take_excerpt(codec.read_notes(request.midi_bytes), whole=whole)]
    else:
        excerpts = []
        for index, data in enumerate(request.midi_files):
            try:
                excerpts.append(take_excerpt(codec.read_notes(data), whole=whole))
            except MidiError as error:
                raise MidiError(f"midi_inputs[{index}]: {error}") from error
    n_windows = sum(len(excerpt.windows) for excerpt in excerpts)
    if n_windows > MAX_WINDOWS:
        raise ExcerptError(
            f"this is {n_windows:,} windows of music: at most {MAX_WINDOWS:,} are embedded for one request, "
            "so send fewer or shorter files, or set windows to 'first'"
        )
    return tuple(excerpts)


def _file_embedding(request: PredictRequest, excerpt: Excerpt, vectors: list[Vectors]) -> FileEmbedding:
    """What the answer says of one file, whose windows have these vectors."""
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
