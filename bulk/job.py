"""Hold what a bulk job asks of each file, and turn a file into the request that the service would get."""

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from pydantic import ValidationError
from pydantic_core import PydanticCustomError

from api import AnticipatoryAPI
from bulk.errors import BulkError
from bulk.files import FileTooLargeError
from bulk.units import seed_of
from tasks.base import TaskRequest
from tasks.body import MODELS
from tasks.fields import MAX_SEED, InRange, Task

INPUTS: Final = frozenset({"task", "midi_input", "midi_inputs", "notes"})
"""Fields that a job fills in for each file."""


class Failure(NamedTuple):
    """Say why a file has no result: the status that the service would answer, and its sentence."""

    status: int
    error: str


@dataclass(frozen=True)
class Settings:
    """Hold which models there are, and how they are computed; as `AnticipatoryAPI` takes them.

    Attributes:
        checkpoints: name -> folder or hub repository.
        model: the model of the job; auto before one has been chosen.
        device: of each worker.
        dtype: precision of the weights.
        step_seconds: after which a step of a worker counts as hung.
    """

    checkpoints: Mapping[str, str]
    model: str
    device: str
    dtype: str
    step_seconds: float

    def new_api(self, n_sharing: int = 1) -> AnticipatoryAPI:
        """Return what decodes requests and encodes responses, for one of `n_sharing` processes on a device."""
        return AnticipatoryAPI(self.checkpoints, self.model, self.device, n_sharing, self.dtype)


@dataclass(frozen=True)
class BulkJob:
    """Ask for a task to be done to each of many files.

    Attributes:
        task: what to do.
        fields: of the requests; all but the input and the seed.
        seed: of the job; each file's is derived from it.
        max_file_bytes: how large a file may be.
        file_seconds: how long reading or writing one may take.
    """

    task: Task
    fields: Mapping[str, Any]
    seed: int
    max_file_bytes: int
    file_seconds: float

    def request(self, name: str, data: bytes | None) -> TaskRequest:
        """Return the request for a file; `data` is None where there is no input.

        Raises:
            ValidationError: a field is unknown, missing or wrong.
        """
        body: dict[str, Any] = {"task": self.task, **self.fields}
        if data is not None:
            body["midi_input"] = base64.b64encode(data).decode()
        if self.task != "embed":
            body["seed"] = seed_of(self.seed, name)
        return MODELS[self.task].model_validate(body)

    def check(self) -> None:
        """Find what would be wrong with the request for every file. Raise BulkError if anything is."""
        if given := INPUTS & self.fields.keys():
            raise BulkError(f"{sorted(given)[0]} cannot be sent for many files: leave it out")
        if self.fields.get("pooling") == "none":
            raise BulkError("pooling must be mean, last or max for many files, got 'none'")
        try:
            InRange(0, MAX_SEED).check(self.seed, "seed")
            self.request("", None if self.task == "generate" else b"any file")
        except PydanticCustomError as error:
            raise BulkError(error.message()) from error
        except ValidationError as error:
            raise BulkError(_sentence(error)) from error


def explain(api: AnticipatoryAPI, error: Exception) -> Failure:
    """Return what the service would answer to a file that failed so."""
    match error:
        case ValidationError():
            return Failure(422, _sentence(error))
        case FileTooLargeError():
            return Failure(413, str(error))
        case OSError():
            return Failure(500, f"the file cannot be read: {error.strerror or error}")
        case _:
            return Failure(*api.explain(error))


def _sentence(error: ValidationError) -> str:
    """Return all that is wrong with a request: `field: message; field: message`."""
    problems = []
    for problem in error.errors(include_url=False, include_context=False, include_input=False):
        field = ".".join(map(str, problem["loc"]))
        is_named = not field or problem["msg"].startswith(f"{field} ")
        problems.append(problem["msg"] if is_named else f"{field}: {problem['msg']}")
    return "; ".join(problems)
