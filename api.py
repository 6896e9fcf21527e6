"""Requests in, music out. The one place where a domain error becomes an HTTP status.

Note: no `from __future__ import annotations` here; LitServe reads the annotations to build /openapi.json.
"""

import base64
import secrets
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from amt import events as ev
from amt import midi
from amt.dynamics import Dynamics, Surroundings
from amt.errors import AMTError, ModelUnavailableError
from amt.events import Note
from amt.excerpt import take_excerpt
from amt.prime import Prime, take_prime
from amt.sequence import Request as Decoding
from amt.timing import MILLISECONDS_PER_TICK, Timing
from amt.vocab import TICKS_PER_SECOND
from jobs import Embed, Generation, Progress
from schemas import (
    MAX_SEED,
    ContinueResponse,
    EmbedResponse,
    GenerateResponse,
    Metadata,
    PredictRequest,
    PredictResponse,
    Variation,
)
from serving.batching import BatchingAPI, Report, UpdateEncoder
from serving.settings import Settings
from serving.telemetry import start_tracing
from wishing import find_sampling, find_wishes

if TYPE_CHECKING:  # torch and transformers take seconds to import, and only the worker needs them
    from runner import Runner

DRAWN_SEED_BITS = 48
"""Seeds that we draw are exact in JavaScript and other languages without integers of 64 bits."""

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
            excerpt = take_excerpt(midi.read_notes(request.midi_bytes))
            return Embed(size, headers, streams, excerpt, request.embed_layer)
        sampling, wishes = find_sampling(request), find_wishes(request)
        prime, timing = Prime([], 0), Timing()
        if request.task == "continue":
            piece = midi.read_piece(request.midi_bytes)
            prime = take_prime(piece.notes, _ticks(request.prime_seconds))
            timing = piece.timing.until(MILLISECONDS_PER_TICK * prime.end_ticks)
        prompt = ev.from_notes(prime.notes)
        seed = secrets.randbits(DRAWN_SEED_BITS) if request.seed is None else request.seed
        sequences = tuple(
            Decoding(
                end_ticks=prime.end_ticks + _ticks(request.length_seconds),
                start_ticks=prime.end_ticks,
                prompt=prompt,
                sampling=sampling,
                wishes=wishes,
                seed=(seed + variation) % (MAX_SEED + 1),
            )
            for variation in range(request.num_variations)
        )
        return Generation(size, headers, streams, prime, sequences, _paced(timing, request))

    def update_encoder(self, request: PredictRequest, work: Generation) -> UpdateEncoder:
        """New notes as `note` events, and one `progress`."""
        end_ticks = work.sequences[0].end_ticks
        dynamics = _dynamics(request, work.prime.notes, work.sequences)

        def encode(update: Progress) -> Iterator[tuple[str, dict[str, Any]]]:
            for variation, event in update.new:
                for note in _new_notes(ev.from_tokens(event), end_ticks, dynamics[variation]):
                    yield "note", {"variation": variation, **_in_seconds(note)}
            yield (
                "progress",
                {
                    "seconds": round(update.decided_ticks - work.prime.end_ticks) / TICKS_PER_SECOND,
                    "total_seconds": (end_ticks - work.prime.end_ticks) / TICKS_PER_SECOND,
                    "events": update.n_events,
                },
            )

        return encode

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
            excerpt = work.excerpt
            return EmbedResponse(
                embedding=result,
                embedding_dim=len(result),
                layer=request.embed_layer,
                num_tokens=excerpt.num_tokens,
                original_tokens=excerpt.original_tokens,
                truncated=excerpt.num_tokens < excerpt.original_tokens,
                metadata=metadata,
            )
        end_ticks = work.sequences[0].end_ticks
        dynamics = _dynamics(request, work.prime.notes, work.sequences)
        variations = [
            _variation(
                work.prime.followed_by(_new_notes(events, end_ticks, levels)), end_ticks, sequence.seed, work.timing
            )
            for events, levels, sequence in zip(result, dynamics, work.sequences, strict=True)
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


def _ticks(seconds: float) -> int:
    return round(seconds * TICKS_PER_SECOND)


def _paced(timing: Timing, request: PredictRequest) -> Timing:
    """The timing of the music that is kept, unless the request has a tempo of its own."""
    return timing if request.bpm is None else timing.with_tempo(request.bpm)


def _dynamics(request: PredictRequest, kept: Sequence[Note], sequences: Sequence[Decoding]) -> list[Dynamics]:
    """What gives the new notes of each variation their velocities."""
    velocity = None if request.velocity == "auto" else request.velocity
    surroundings = Surroundings(kept if velocity is None else ())
    return [Dynamics(surroundings, velocity, sequence.seed) for sequence in sequences]


def _new_notes(generated: ev.Events, end_ticks: int, dynamics: Dynamics) -> list[Note]:
    """Decoded events as notes with velocities; none sounds past the end."""
    notes = ev.to_notes(ev.clip(ev.unpad(generated), 0, end_ticks, clip_duration=True))
    return [dynamics.shape(note) for note in notes]


def _in_seconds(note: Note) -> dict[str, Any]:
    return note._asdict() | {"onset": note.onset / TICKS_PER_SECOND, "duration": note.duration / TICKS_PER_SECOND}


def _variation(notes: list[Note], end_ticks: int, seed: int, timing: Timing) -> Variation:
    return Variation(
        midi_base64=base64.b64encode(midi.write_notes(notes, end_ticks, timing)).decode(),
        num_events=len(notes),
        seed=seed,
        duration_seconds=end_ticks / TICKS_PER_SECOND,
    )
