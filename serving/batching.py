"""What an API must offer to be served with continuous batching: the hooks of LitServe's LitAPI, and a few more."""

from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

from litserve import LitAPI
from pydantic import BaseModel

from serving.messages import FromWorker

UpdateEncoder: TypeAlias = Callable[[Any], Iterator[tuple[str, dict[str, Any]]]]
"""An update -> (name, data) of the events that it stands for."""


class Job(Protocol):
    """One request's job, as the worker gets it; it can be pickled."""

    @property
    def group(self) -> str:
        """What must be loaded for it, such as a model."""

    @property
    def headers(self) -> Mapping[str, str]:
        """Of the trace that it belongs to."""


@dataclass(frozen=True)
class Report:
    """What the service knows of a request when it is answered; ids in hexadecimal digits."""

    trace_id: str
    span_id: str
    queue_seconds: float
    compute_seconds: float


class BatchRunner(Protocol):
    """What runs in the worker. Its only loop calls all of these; errors of one work must not reach another."""

    @property
    def poll_timeout(self) -> float:
        """How long the loop may wait for messages before the next step: 0 while there is work."""

    def add(self, uid: int, job: Any) -> None:
        """Let work join; its group is loaded."""

    def cancel(self, uid: int) -> None:
        """Let work leave, if it is still there."""

    def load(self, group: Any, headers: Mapping[str, str]) -> None:
        """Begin to make a group ready in the background; `step` tells of the end."""

    def step(self) -> Iterator[FromWorker]:
        """Advance everything by one step; what it raises ends the worker."""


class BatchingAPI(LitAPI):  # type: ignore[misc]
    """Work that many requests share, step by step, in one worker process.

    `setup` and `runner` are the worker's. The rest is called in the API process: `decode_request`, `update_encoder` and
    `encode_response` in threads, as they may take long, the others in the event loop.
    """

    @property
    @abstractmethod
    def runner(self) -> BatchRunner:
        """What `setup` has set up."""

    @abstractmethod
    def rows(self, request: Any) -> int:
        """How many places in the batch the request takes."""

    @abstractmethod
    def decode_request(
        self, request: Any, info: Mapping[str, Any], headers: Mapping[str, str], *, streams: bool
    ) -> Job:
        """The request as work; raises what `explain` explains. `info` is the worker's."""

    @abstractmethod
    def update_encoder(self, request: Any, job: Any) -> UpdateEncoder:
        """What turns the updates of one job, in their order, into events; it may remember what it has told."""

    @abstractmethod
    def encode_response(
        self, request: Any, job: Any, result: Any, info: Mapping[str, Any], report: Report
    ) -> BaseModel:
        """The answer."""

    @abstractmethod
    def explain(self, error: Exception) -> tuple[int, str]:
        """(status, detail) of an error; the status is 500 for one that nobody expected."""
