"""Requests in, music out. The one place where a domain error becomes an HTTP status.

Note: no `from __future__ import annotations` here; LitServe reads the annotations to build /openapi.json.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from amt.errors import AMTError, ModelUnavailableError
from composing import Narrator, compose, present
from embedding import describe, prepare
from jobs import Embed, Generation
from schemas import Metadata, PredictRequest, PredictResponse
from serving.batching import BatchingAPI, Report, UpdateEncoder
from serving.settings import Settings
from serving.telemetry import start_tracing

if TYPE_CHECKING:  # torch and transformers take seconds to import, and only the worker needs them
    from runner import Runner

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
            return prepare(request, size, headers, streams=streams)
        return compose(request, size, headers, streams=streams)

    def update_encoder(self, request: PredictRequest, work: Generation) -> UpdateEncoder:
        """What tells the caller of a stream of progress."""
        return Narrator(request, work)

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
            return describe(request, work, result, metadata)
        return present(request, work, result, metadata)

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
