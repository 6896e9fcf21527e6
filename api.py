"""Serve requests with the worker. This is the one place where a domain error becomes an HTTP status.

Note: no `from __future__ import annotations` here; LitServe reads the annotations to build /openapi.json.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from amt.errors import AMTError, ControlsError, ModelUnavailableError
from serving.batching import BatchingAPI, Report, UpdateEncoder
from serving.telemetry import start_tracing
from tasks import embed, music
from tasks.body import MODELS, TASKS_WITH_CONTROLS, PredictRequest, request_type
from tasks.requests import AnyMusicRequest, EmbedRequest
from tasks.responses import Metadata, PredictResponse
from tasks.stream import StreamEncoder
from worker.jobs import EmbedJob, GenerateJob

if TYPE_CHECKING:  # torch and transformers take seconds to import, and only the worker needs them
    from worker.runner import Runner

NO_MEMORY_WORDS = ("allocate memory", "out of memory", "ALLOC_FAILED")
"""What PyTorch's errors say when memory is short."""

NO_MEMORY_DETAIL = (
    "there is not enough memory for this request beside what runs: "
    "ask for fewer variations or a smaller model_size, or try again later"
)


class AnticipatoryAPI(BatchingAPI):
    """Serve the tasks with an Anticipatory Music Transformer.

    The API process does what takes a processor but no model (MIDI to events and back), the worker what takes a model.
    """

    _runner: "Runner"

    def __init__(
        self, checkpoints: Mapping[str, str], default_model: str, devices: str, workers_per_device: int, dtype: str
    ) -> None:
        """Take what `ModelStore` and `find_devices` do, and which model requests get that name none."""
        super().__init__(api_path="/predict")
        self._checkpoints, self._default_model = checkpoints, default_model
        self._devices, self._workers_per_device, self._dtype_name = devices, workers_per_device, dtype

    @property
    def request_type(self) -> Any:
        """Return the type of a body, which may name a model on offer."""
        return request_type(tuple(self._checkpoints))

    def rows(self, request: PredictRequest) -> int:
        """Return how many places in the batch a request takes: each variation is a sequence of its own."""
        return 1 if isinstance(request, EmbedRequest) else request.num_variations

    def decode_request(
        self, request: PredictRequest, info: Mapping[str, Any], headers: Mapping[str, str], *, streams: bool
    ) -> GenerateJob | EmbedJob:
        """Return what the worker has to do. Raise an `AMTError` if the MIDI or the instruments cannot be used."""
        size = request.model_size or info["default_size"]
        # Where it is not known yet, because the model has not been fetched, the worker refuses it in the same words.
        if request.task in TASKS_WITH_CONTROLS and info["sizes"][size]["controls"] is False:
            raise ControlsError(size, request.task)
        if isinstance(request, EmbedRequest):
            return embed.decode_request(request, size, headers, streams=streams)
        return music.decode_request(request, size, headers, streams=streams)

    def update_encoder(self, request: AnyMusicRequest, job: GenerateJob) -> UpdateEncoder:
        """Return what tells the caller of a stream of progress; embeds have none."""
        return StreamEncoder(request, job)

    def encode_response(
        self, request: PredictRequest, job: Any, result: Any, info: Mapping[str, Any], report: Report
    ) -> PredictResponse:
        """Return the answer that the worker's result makes."""
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
        if isinstance(request, EmbedRequest):
            return embed.encode_response(request, job, result, metadata)
        return music.encode_response(request, job, result, metadata)

    def is_long_to_encode(self, job: Any, result: Any) -> bool:
        """Tell whether encoding a result takes longer than to tell another process of it, and of its job."""
        return isinstance(job, EmbedJob) or music.is_long_to_encode(job, result)

    def describe(self, workers: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """Return what all workers offer together: as the first one describes itself, and what others have loaded."""
        sizes = {name: _describe_model([each["sizes"][name] for each in workers]) for name in workers[0]["sizes"]}
        names = sorted({name for worker in workers for name in worker["capacity"]}, key=list(sizes).index)
        capacity = {name: sum(worker["capacity"].get(name, 0) for worker in workers) for name in names}
        return {**workers[0], "sizes": sizes, "capacity": capacity}

    def explain(self, error: Exception) -> tuple[int, str]:
        """Return (status, detail): errors of our own are the caller's, but for models that cannot be had now."""
        match error:
            case ModelUnavailableError():
                return 503, str(error)
            case AMTError():
                return 422, str(error)
            case MemoryError():
                return 503, NO_MEMORY_DETAIL
            case RuntimeError() if any(words in str(error) for words in NO_MEMORY_WORDS):
                return 503, NO_MEMORY_DETAIL
            case _:
                return 500, f"{type(error).__name__}: {error}"

    def find_devices(self) -> list[str]:
        """Return the device of each worker: those of one device follow each other."""
        from amt.gpt2.device import find_devices

        return [str(device) for device in find_devices(self._devices) for _ in range(self._workers_per_device)]

    def setup(self, device: str) -> None:
        """Set a worker up, in its process, once.

        Raises:
            ValueError: there is no such device.
        """
        from models import ModelStore
        from worker.runner import Runner

        models = ModelStore(self._checkpoints, device, self._dtype_name, self._workers_per_device)
        self._runner = Runner(models, self._default_model, start_tracing("anticipatory"), self.explain)

    @property
    def runner(self) -> "Runner":
        """The runner that `setup` has made."""
        return self._runner


def _describe_model(by_worker: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return what /info says of a model, of what each worker knows of it; null: not known before it is loaded."""

    def known(key: str) -> Any:
        return next((each[key] for each in by_worker if each[key] is not None), None)

    controls = known("controls")
    return {
        "checkpoint": by_worker[0]["checkpoint"],
        "loaded": any(each["loaded"] for each in by_worker),
        "available": any(each["available"] for each in by_worker),
        "parameters": known("parameters"),
        "tasks": None if controls is None else [task for task in MODELS if controls or task not in TASKS_WITH_CONTROLS],
        "bytes": known("bytes"),
    }
