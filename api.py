"""Requests in, music out. The one place where a domain error becomes an HTTP status.

Note: no `from __future__ import annotations` here; LitServe reads the annotations to build /openapi.json.
"""

import base64
import logging
import secrets
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import Depends, HTTPException, Request
from litserve import LitAPI
from opentelemetry.trace import Span, SpanKind, StatusCode, Tracer

from amt import midi
from amt.errors import AMTError, ModelUnavailableError
from amt.events import Events, Note, clip, from_notes, to_notes
from amt.prime import Prime, take_prime
from amt.vocab import TICKS_PER_SECOND
from schemas import (
    ContinueResponse,
    EmbedResponse,
    GenerateResponse,
    Metadata,
    ModelSize,
    PredictRequest,
    PredictResponse,
    Variation,
)
from serving.settings import Settings
from serving.shutdown import leave_interrupts_to_main
from serving.telemetry import TRACE_HEADERS, caller_context, span_ids, start_tracing

if TYPE_CHECKING:  # torch and transformers take seconds to import, and only the worker needs them
    from amt.gpt2 import GPT2
    from models import LoadedModel

logger = logging.getLogger("anticipatory")


@dataclass
class Job:
    """A request on its way to the worker. `received` is in seconds of the monotonic clock, `received_ns` Unix time."""

    request: PredictRequest
    headers: Mapping[str, str]
    received: float = field(default_factory=time.monotonic)
    received_ns: int = field(default_factory=time.time_ns)


def receive(request: Request, body: PredictRequest) -> Job:
    """In the API process: take along what the worker needs besides the body."""
    return Job(body, {name: request.headers[name] for name in TRACE_HEADERS if name in request.headers})


class AnticipatoryAPI(LitAPI):
    """Generates, continues and embeds MIDI with an Anticipatory Music Transformer."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(api_path="/predict")
        self.settings = settings

    def setup(self, device: str) -> None:
        """In the worker, once. Our own setting names the device, not LitServe."""
        from models import ModelStore

        leave_interrupts_to_main()
        logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
        self.tracer: Tracer = start_tracing("anticipatory")
        self.models: ModelStore = ModelStore(self.settings.checkpoints, self.settings.device, self.settings.dtype)
        self.default_size = self.models.default_size(self.settings.default_model)

    def decode_request(self, request: Annotated[Job, Depends(receive)]) -> Job:
        """The job itself: reading its MIDI is part of the work that is traced."""
        return request

    def predict(self, job: Job) -> PredictResponse:
        """Carry out one request, whatever its task, in the trace of its caller."""
        with (
            self.tracer.start_as_current_span(
                f"predict {job.request.task}",
                context=caller_context(job.headers),
                kind=SpanKind.SERVER,
                start_time=job.received_ns,
                record_exception=False,
                set_status_on_exception=False,
            ) as span,
            _http_errors(job, span),
        ):
            return self._respond(job, span)

    def _respond(self, job: Job, span: Span) -> PredictResponse:
        started = time.monotonic()
        request = job.request
        model = self._model(request.model_size or self.default_size)
        span.set_attribute("anticipatory.model_size", model.size)
        response_type, run = {
            "generate": (GenerateResponse, self._generate),
            "continue": (ContinueResponse, self._continue),
            "embed": (EmbedResponse, self._embed),
        }[request.task]
        fields = run(job, model.gpt2)
        trace_id, span_id = span_ids(span)
        metadata = Metadata(
            model_size=model.size,
            model_id=model.model_id,
            device=str(self.models.device),
            client_job_id=request.client_job_id,
            trace_id=trace_id,
            span_id=span_id,
            queue_seconds=started - job.received,
            compute_seconds=time.monotonic() - started,
        )
        logger.info("%s with %s in %.2f s, %s", request.task, model.size, metadata.compute_seconds, _names(job, span))
        response: PredictResponse = response_type(task=request.task, **fields, metadata=metadata)
        return response

    def encode_response(self, output: PredictResponse) -> PredictResponse:
        """The response, as its model describes it."""
        return output

    def _model(self, size: ModelSize) -> "LoadedModel":
        if self.models.is_loaded(size):
            return self.models.get(size)
        with self.tracer.start_as_current_span("load model"):
            return self.models.get(size)

    def _generate(self, job: Job, model: "GPT2") -> dict[str, Any]:
        end_ticks = _ticks(job.request.length_seconds)
        variations = self._variations(job, model, Prime([], 0), end_ticks)
        return {"variations": variations}

    def _continue(self, job: Job, model: "GPT2") -> dict[str, Any]:
        prime = take_prime(self._read(job.request), _ticks(job.request.prime_seconds))
        end_ticks = prime.end_ticks + _ticks(job.request.length_seconds)
        variations = self._variations(job, model, prime, end_ticks)
        return {"variations": variations, "prime_seconds": job.request.prime_seconds}

    def _embed(self, job: Job, model: "GPT2") -> dict[str, Any]:
        from amt.embedding import embed

        notes = self._read(job.request)
        with self.tracer.start_as_current_span("embed"):
            embedding = embed(model, notes, job.request.embed_layer)
        return {
            "embedding": embedding.vector,
            "embedding_dim": len(embedding.vector),
            "layer": job.request.embed_layer,
            "num_tokens": embedding.num_tokens,
            "original_tokens": embedding.original_tokens,
            "truncated": embedding.num_tokens < embedding.original_tokens,
        }

    def _read(self, request: PredictRequest) -> list[Note]:
        with self.tracer.start_as_current_span("decode"):
            return midi.read_notes(request.midi_bytes)

    def _variations(self, job: Job, model: "GPT2", prime: Prime, end_ticks: int) -> list[Variation]:
        """All variations of a request, decoded as one batch."""
        from amt.engine import Engine
        from amt.sequence import Request as Decoding

        engine = Engine(model)
        with self.tracer.start_as_current_span("generate"):
            sequences = [
                engine.add(
                    Decoding(
                        end_ticks=end_ticks,
                        start_ticks=prime.end_ticks,
                        prompt=from_notes(prime.notes),
                        top_p=job.request.top_p,
                        seed=secrets.randbits(63),
                    )
                )
                for _ in range(job.request.num_variations)
            ]
            while not engine.is_idle:
                if time.monotonic() - job.received > self.settings.timeout:
                    raise HTTPException(
                        504, f"the request took longer than {self.settings.timeout:g} s and was stopped"
                    )
                engine.step()
        with self.tracer.start_as_current_span("encode"):
            new = [_new_notes(sequence.generated, end_ticks) for sequence in sequences]
            return [_variation(prime.followed_by(notes), end_ticks) for notes in new]


def _ticks(seconds: float) -> int:
    return round(seconds * TICKS_PER_SECOND)


def _new_notes(generated: Events, end_ticks: int) -> list[Note]:
    """Decoded events as notes; none sounds past the end."""
    return to_notes(clip(generated, 0, end_ticks, clip_duration=True))


def _variation(notes: list[Note], end_ticks: int) -> Variation:
    return Variation(
        midi_base64=base64.b64encode(midi.write_notes(notes, end_ticks)).decode(),
        num_events=len(notes),
        duration_seconds=end_ticks / TICKS_PER_SECOND,
    )


@contextmanager
def _http_errors(job: Job, span: Span) -> Iterator[None]:
    """A domain error leaves as the HTTP error that the caller can act on; only ours mark the span as failed."""
    try:
        yield
    except Exception as error:
        status, reason = _status(error)
        span.set_attribute("http.response.status_code", status)
        logger.warning("%s answered with %d: %s, %s", job.request.task, status, reason, _names(job, span))
        if status >= 500:
            span.record_exception(error)
            span.set_status(StatusCode.ERROR, reason)
        if status == 500:
            raise
        # The arguments are positional: LitServe pickles the exception, and the keyword form cannot be unpickled.
        raise HTTPException(status, reason) from error


def _status(error: Exception) -> tuple[int, str]:
    match error:
        case HTTPException():
            return error.status_code, error.detail
        case ModelUnavailableError():
            return 503, str(error)
        case AMTError():
            return 422, str(error)
        case _:
            return 500, f"{type(error).__name__}: {error}"


def _names(job: Job, span: Span) -> str:
    return f"job {job.request.client_job_id or '-'}, trace {span_ids(span)[0]}"
