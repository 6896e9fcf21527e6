"""Requests in, music out. The one place where a domain error becomes an HTTP status.

Note: no `from __future__ import annotations` here; LitServe reads the annotations to build /openapi.json.
"""

import base64
import secrets
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from amt import events as ev
from amt import midi
from amt.errors import AMTError, ExcerptError, MidiError, ModelUnavailableError
from amt.events import Note
from amt.excerpt import Excerpt, Vectors, combine, normalized, take_excerpt
from amt.prime import Prime, take_prime
from amt.sequence import Request as Decoding
from amt.vocab import TICKS_PER_SECOND
from jobs import Embed, Generation, Progress
from schemas import (
    MAX_SEED,
    ContinueResponse,
    EmbedFilesResponse,
    EmbedResponse,
    FileEmbedding,
    GenerateResponse,
    Metadata,
    PredictRequest,
    PredictResponse,
    Variation,
    WindowEmbedding,
)
from serving.batching import BatchingAPI, Report
from serving.settings import Settings
from serving.telemetry import start_tracing

if TYPE_CHECKING:  # torch and transformers take seconds to import, and only the worker needs them
    from runner import Runner

DRAWN_SEED_BITS = 48
"""Seeds that we draw are exact in JavaScript and other languages without integers of 64 bits."""

MAX_WINDOWS = 1_024
"""Embedded for one request."""

TOKEN_DECIMALS = 6
"""Of vectors for each token: there are so many that their digits are half of the answer."""

TORCH_SAYS_NO_MEMORY = ("allocate memory", "out of memory", "ALLOC_FAILED")

NO_MEMORY = (
    "there is not enough memory for this request beside what runs: "
    "ask for fewer variations or a smaller model_size, or try again later"
)


class AnticipatoryAPI(BatchingAPI):
    """Generates, continues and embeds MIDI with an Anticipatory Music Transformer.

    What takes a processor but no model (MIDI to events and back) happens in the API process; the worker decodes.
    """

    _runner: "Runner"

    def __init__(self, settings: Settings) -> None:
        super().__init__(api_path="/predict")
        self.settings = settings

    def rows(self, request: PredictRequest) -> int:
        """Each variation is a sequence of its own."""
        return 1 if request.task == "embed" else request.num_variations

    def decode_request(
        self, request: PredictRequest, info: Mapping[str, Any], headers: Mapping[str, str], *, streams: bool
    ) -> Generation | Embed:
        """What the worker has to do. Raises an `AMTError` if the MIDI cannot be used."""
        size = request.model_size or info["default_size"]
        if request.task == "embed":
            return Embed(size, headers, streams, _excerpts(request), request.embed_layer, request.pooling)
        prime = Prime([], 0)
        if request.task == "continue":
            prime = take_prime(midi.read_notes(request.midi_bytes), _ticks(request.prime_seconds))
        prompt = ev.from_notes(prime.notes)
        seed = secrets.randbits(DRAWN_SEED_BITS) if request.seed is None else request.seed
        sequences = tuple(
            Decoding(
                end_ticks=prime.end_ticks + _ticks(request.length_seconds),
                start_ticks=prime.end_ticks,
                prompt=prompt,
                top_p=request.top_p,
                seed=(seed + variation) % (MAX_SEED + 1),
            )
            for variation in range(request.num_variations)
        )
        return Generation(size, headers, streams, prime, sequences)

    def encode_update(
        self, request: PredictRequest, work: Generation, update: Progress
    ) -> Iterator[tuple[str, dict[str, Any]]]:
        """New notes as `note` events, and one `progress`."""
        end_ticks = work.sequences[0].end_ticks
        for variation, event in update.new:
            for note in _new_notes(ev.from_tokens(event), end_ticks):
                yield "note", {"variation": variation, **_in_seconds(note)}
        yield (
            "progress",
            {
                "seconds": round(update.decided_ticks - work.prime.end_ticks) / TICKS_PER_SECOND,
                "total_seconds": (end_ticks - work.prime.end_ticks) / TICKS_PER_SECOND,
                "events": update.n_events,
            },
        )

    def encode_response(
        self, request: PredictRequest, work: Any, result: Any, info: Mapping[str, Any], report: Report
    ) -> PredictResponse:
        """What the worker made, as the wire wants it."""
        metadata = Metadata(
            model_size=work.group,
            model_id=info["sizes"][work.group]["checkpoint"],
            device=info["device"],
            client_job_id=request.client_job_id,
            trace_id=report.trace_id,
            span_id=report.span_id,
            queue_seconds=report.queue_seconds,
            compute_seconds=report.compute_seconds,
        )
        if request.task == "embed":
            vectors = iter(result)
            files = [
                _file_embedding(request, excerpt, [next(vectors) for _ in excerpt.windows]) for excerpt in work.excerpts
            ]
            if request.midi_inputs is not None:
                return EmbedFilesResponse(files=files, metadata=metadata)
            return EmbedResponse(**dict(files[0]), metadata=metadata)
        end_ticks = work.sequences[0].end_ticks
        variations = [
            _variation(work.prime.followed_by(_new_notes(events, end_ticks)), end_ticks, sequence.seed)
            for events, sequence in zip(result, work.sequences, strict=True)
        ]
        if request.task == "generate":
            return GenerateResponse(variations=variations, metadata=metadata)
        return ContinueResponse(variations=variations, prime_seconds=request.prime_seconds, metadata=metadata)

    def explain(self, error: Exception) -> tuple[int, str]:
        """Domain errors are the caller's, but for models that cannot be had; memory may be there later."""
        match error:
            case ModelUnavailableError():
                return 503, str(error)
            case AMTError():
                return 422, str(error)
            case MemoryError():
                return 503, NO_MEMORY
            case RuntimeError() if any(words in str(error) for words in TORCH_SAYS_NO_MEMORY):
                return 503, NO_MEMORY
            case _:
                return 500, f"{type(error).__name__}: {error}"

    def setup(self, device: str) -> None:
        """In the worker, once. Our own setting names the device, not LitServe.

        Raises:
            ValueError: there is no such device.
        """
        from models import ModelStore
        from runner import Runner

        models = ModelStore(self.settings.checkpoints, self.settings.device, self.settings.dtype)
        self._runner = Runner(models, self.settings.default_model, start_tracing("anticipatory"), self.explain)

    @property
    def runner(self) -> "Runner":
        """What runs in the worker."""
        return self._runner


def _excerpts(request: PredictRequest) -> tuple[Excerpt, ...]:
    """What is embedded of each file. Raises an `AMTError` that names the file if it cannot be used."""
    whole = request.windows != "first"
    if request.midi_inputs is None:
        excerpts = [take_excerpt(midi.read_notes(request.midi_bytes), whole=whole)]
    else:
        excerpts = []
        for index, data in enumerate(request.midi_files):
            try:
                excerpts.append(take_excerpt(midi.read_notes(data), whole=whole))
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


def _ticks(seconds: float) -> int:
    return round(seconds * TICKS_PER_SECOND)


def _new_notes(generated: ev.Events, end_ticks: int) -> list[Note]:
    """Decoded events as notes; none sounds past the end."""
    return ev.to_notes(ev.clip(ev.unpad(generated), 0, end_ticks, clip_duration=True))


def _in_seconds(note: Note) -> dict[str, Any]:
    return note._asdict() | {"onset": note.onset / TICKS_PER_SECOND, "duration": note.duration / TICKS_PER_SECOND}


def _variation(notes: list[Note], end_ticks: int, seed: int) -> Variation:
    return Variation(
        midi_base64=base64.b64encode(midi.write_notes(notes, end_ticks)).decode(),
        num_events=len(notes),
        seed=seed,
        duration_seconds=end_ticks / TICKS_PER_SECOND,
    )
