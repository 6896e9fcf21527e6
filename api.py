"""Requests in, music out. The one place where a domain error becomes an HTTP status.

Note: no `from __future__ import annotations` here; LitServe reads the annotations to build /openapi.json.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from amt.errors import AMTError, ModelUnavailableError
from serving.batching import BatchingAPI, Report, UpdateEncoder
from serving.telemetry import start_tracing
from tasks import embed, music
from tasks.schemas import Metadata, PredictRequest, PredictResponse
from worker.jobs import EmbedJob, GenerateJob

if TYPE_CHECKING:  # torch and transformers take seconds to import, and only the worker needs them
    from worker.runner import Runner

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

    def __init__(self, checkpoints: Mapping[str, str], default_model: str, device: str, dtype: str) -> None:
        """Take what `ModelStore` does, and which model requests get that name none."""
        super().__init__(api_path="/predict")
        self._checkpoints, self._default_model = checkpoints, default_model
        self._device_name, self._dtype_name = device, dtype

    def rows(self, request: PredictRequest) -> int:
        """Each variation is a sequence of its own."""
        return 1 if request.task == "embed" else request.num_variations

    def decode_request(
        self, request: PredictRequest, info: Mapping[str, Any], headers: Mapping[str, str], *, streams: bool
    ) -> GenerateJob | EmbedJob:
        """What the worker has to do. Raises an `AMTError` if the MIDI cannot be used."""
        size = request.model_size or info["default_size"]
        if request.task == "embed":
            return embed.decode_request(request, size, headers, streams=streams)
        return music.decode_request(request, size, headers, streams=streams)

    def update_encoder(self, request: PredictRequest, job: GenerateJob) -> UpdateEncoder:
        """What tells the caller of a stream of progress."""
        return music.StreamEncoder(request, job)

    def encode_response(
        self, request: PredictRequest, job: Any, result: Any, info: Mapping[str, Any], report: Report
    ) -> PredictResponse:
        """What the worker made, as the wire wants it."""
        metadata = Metadata(
            model_size=job.group,
            model_id=info["sizes"][job.group]["checkpoint"],
            device=info["device"],
            client_job_id=request.client_job_id,
            trace_id=report.trace_id,
            span_id=report.span_id,
            queue_seconds=report.queue_seconds,
            load_seconds=report.load_seconds,
            compute_seconds=report.compute_seconds,
        )
        if request.task == "embed":
            return embed.encode_response(request, job, result, metadata)
        return music.encode_response(request, job, result, metadata)

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
        from worker.runner import Runner

        models = ModelStore(self._checkpoints, self._device_name, self._dtype_name)
        self._runner = Runner(models, self._default_model, start_tracing("anticipatory"), self.explain)

    @property
    def runner(self) -> "Runner":
        """What runs in the worker."""
        return self._runner
