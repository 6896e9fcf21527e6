"""Define what an API offers to be served with continuous batching: the hooks of LitServe's LitAPI, and a few more."""

from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, Self, TypeAlias

from litserve import LitAPI
from pydantic import BaseModel

from serving.messages import FromWorker

UpdateEncoder: TypeAlias = Callable[[Any], Iterator[tuple[str, dict[str, Any]]]]
"""Turns an update of the worker into the (name, data) of server-sent events."""


class Job(Protocol):
    """Hold what is asked to be done for one request; it can be pickled."""

    @property
    def group(self) -> str:
        """Name what must be loaded before the job can run: a model."""

    @property
    def headers(self) -> Mapping[str, str]:
        """Return the headers of the trace that the job belongs to."""

    def for_worker(self) -> Self:
        """Return what the worker needs of it."""


@dataclass(frozen=True)
class Report:
    """Hold what the service knows of a request when it is answered.

    The three durations follow each other and add up to the time from the request's arrival to the job's end.

    Attributes:
        trace_id: 32 hexadecimal digits.
        span_id: 16 hexadecimal digits.
        queue_seconds: from the arrival to the start of the job, without `load_seconds`.
        load_seconds: in which the request waited for its group to be loaded; 0 when it was loaded already.
        compute_seconds: from the start of the job to its end.
    """

    trace_id: str
    span_id: str
    queue_seconds: float
    load_seconds: float
    compute_seconds: float


class BatchRunner(Protocol):
    """Run jobs in the worker. The worker's only loop calls all of these; an error of one job must not reach another."""

    @property
    def poll_timeout(self) -> float:
        """Return how many seconds the loop may wait for messages before the next step: 0 while there are jobs."""

    def add(self, uid: int, job: Any) -> None:
        """Let a job join; its group is loaded."""

    def cancel(self, uid: int) -> None:
        """Let a job leave, if it is still there."""

    def load(self, group: Any, headers: Mapping[str, str], instead_of: Any | None) -> None:
        """Begin to load a group in the background; `step` tells of the end.

        `instead_of` is a group that no job uses, if one is to be unloaded for it; `step` tells of that too.
        """

    def step(self) -> Iterator[FromWorker]:
        """Advance every job by one step; an exception ends the worker."""


class BatchingAPI(LitAPI):  # type: ignore[misc]
    """Describe an API whose jobs share batches, step by step, in worker processes.

    `find_devices`, `setup(device)` and `runner` are the workers'. The rest is called in the API process:
    `decode_request`, `update_encoder` and `encode_response` in threads, as they may take long, the others in the event
    loop.
    """

    @abstractmethod
    def find_devices(self) -> Sequence[str]:
        """Return the device of each worker that is to run; called in the first one.

        Raises:
            ValueError: the devices that are wanted are not there.
        """

    @property
    @abstractmethod
    def request_type(self) -> Any:
        """Return the type by which pydantic reads a body; what it allows may depend on settings."""

    @property
    @abstractmethod
    def runner(self) -> BatchRunner:
        """Return what `setup` has set up."""

    @abstractmethod
    def rows(self, request: Any) -> int:
        """Return how many rows of the batch the request takes."""

    @abstractmethod
    def decode_request(
        self, request: Any, info: Mapping[str, Any], headers: Mapping[str, str], *, streams: bool
    ) -> Job:
        """Return the job that a request asks for.

        Args:
            request: its body, validated.
            info: how a worker describes what it offers.
            headers: of the trace.
            streams: whether updates are wanted.

        Raises:
            Exception: the request cannot be done; `explain` says why.
        """

    @abstractmethod
    def update_encoder(self, request: Any, job: Any) -> UpdateEncoder:
        """Return what turns the updates of one job, in their order, into events; it may keep a state."""

    @abstractmethod
    def encode_response(
        self, request: Any, job: Any, result: Any, info: Mapping[str, Any], report: Report
    ) -> BaseModel:
        """Return the response that carries the job's result; `info` describes the worker that it comes from."""

    @abstractmethod
    def is_long_to_encode(self, job: Any, result: Any) -> bool:
        """Tell whether encoding a result takes longer than to tell another process of it, and of its job."""

    @abstractmethod
    def describe(self, workers: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
        """Return what all workers offer together, of how each describes itself; there is one or more."""

    @abstractmethod
    def explain(self, error: Exception) -> tuple[int, str]:
        """Return (status, detail) of an error; the status is 500 for one that nobody expected."""
