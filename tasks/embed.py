"""Run the task that makes vectors: a request becomes a job for the model, and its result the answer."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Final

import numpy as np

from amt.errors import ExcerptError, MidiError
from amt.midi import codec
from amt.midi.codec import Piece
from amt.midi.notes import TICKS_PER_SECOND
from amt.pooling import Vectors, combine, normalized
from amt.tokens.windows import Excerpt, take_excerpt
from tasks.pieces import read_piece
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
    excerpts, notices = _find_excerpts(request)
    return EmbedJob(size, headers, streams, excerpts, notices, request.embed_layer, request.pooling)


def encode_response(
    request: EmbedRequest, job: EmbedJob, vectors: list[Vectors], metadata: Metadata
) -> PredictResponse:
    """Return the answer to the task; there are vectors for each window of each excerpt in turn."""
    remaining = iter(vectors)
    files = [
        _embed_file(request, excerpt, notices, [next(remaining) for _ in excerpt.windows])
        for excerpt, notices in zip(job.excerpts, job.notices, strict=True)
    ]
    if request.midi_inputs is not None:
        return EmbedFilesResponse(files=files, metadata=metadata)
    return EmbedResponse(**dict(files[0]), metadata=metadata)


def _find_excerpts(request: EmbedRequest) -> tuple[tuple[Excerpt, ...], tuple[list[str], ...]]:
    """Return what is embedded of each file, and what was mended while it was read.

    Raises:
        MidiError: a file cannot be used; the message names it if there are several.
        ExcerptError: there is too much music.
    """
    excerpts: list[Excerpt] = []
    notices: list[list[str]] = []
    for index, read in enumerate(_readers(request)):
        try:
            piece = read()
            excerpts.append(take_excerpt(piece.notes, whole=request.windows != "first"))
            notices.append(piece.notices)
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
    return tuple(excerpts), tuple(notices)


def _readers(request: EmbedRequest) -> list[Callable[[], Piece]]:
    """Return what reads each piece, one after the other, so that at most one is in memory."""
    if request.midi_inputs is None:
        return [partial(read_piece, request)]
    return [partial(codec.read_piece, data, sustained=request.sustain == "apply") for data in request.files]


def _embed_file(request: EmbedRequest, excerpt: Excerpt, notices: list[str], vectors: list[Vectors]) -> FileEmbedding:
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
        notices=notices,
    )
