"""Read a body as the request of its task."""

import copyreg
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, Final, TypeAlias

from pydantic import BaseModel, GetJsonSchemaHandler, PlainValidator, create_model
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError

from tasks.base import TaskRequest
from tasks.edit_requests import FitRequest
from tasks.fields import Task, shown
from tasks.requests import (
    AccompanyRequest,
    AnyMusicRequest,
    ContinueRequest,
    EmbedRequest,
    GenerateRequest,
    InfillRequest,
    VariationRequest,
)

MAX_FIELDS: Final = 100

MODELS: Final[dict[Task, type[TaskRequest]]] = {
    "generate": GenerateRequest,
    "continue": ContinueRequest,
    "accompany": AccompanyRequest,
    "infill": InfillRequest,
    "variation": VariationRequest,
    "embed": EmbedRequest,
}

TASKS_WITH_CONTROLS: Final = frozenset(task for task, model in MODELS.items() if issubclass(model, FitRequest))
"""Those that tell the model notes ahead of their time."""


def _with_fields_of_other_tasks(model: type[TaskRequest]) -> type[TaskRequest]:
    """Return a request's model that also takes the fields that only other tasks use.

    Nothing reads them, but a value must be one that the first of these tasks allows. Whether it fits other fields, and
    whether a text is a file, is not checked.
    """
    fields = {name: field for other in reversed(MODELS.values()) for name, field in other.model_fields.items()}
    foreign: dict[str, Any] = {
        name: (Annotated[field.annotation, field], None)
        for name, field in fields.items()
        if name not in model.model_fields
    }
    return create_model(model.__name__, __base__=model, **foreign)


_TOLERANT: Final = {task: _with_fields_of_other_tasks(model) for task, model in MODELS.items()}


def _reduce(request: TaskRequest) -> tuple[Any, ...]:
    """Return how another process makes a request again, whose model is nowhere to be found by its name."""
    return _restore, (request.task, request.__getstate__())


def _restore(task: Task, state: Any) -> TaskRequest:
    request = _TOLERANT[task].__new__(_TOLERANT[task])
    request.__setstate__(state)
    return request


for _model in _TOLERANT.values():
    copyreg.pickle(_model, _reduce)


class _TaskOf(BaseModel):
    """Read the task of a body, whatever else that holds."""

    task: Task = "generate"


def read_body(body: Any, models: Sequence[str] | None = None) -> TaskRequest:
    """Return a request's body, as JSON has it, as the request of its task; a body without a task asks to generate.

    Args:
        body: an object.
        models: names of those on offer; None: any name is taken.

    Raises:
        PydanticCustomError: it is no object, or has too many fields.
        ValidationError: a field is missing, unknown or wrong.
    """
    if not isinstance(body, dict):
        raise PydanticCustomError("not_an_object", "a request is one JSON object, got {got}", {"got": shown(body)})
    if len(body) > MAX_FIELDS:  # one error at once, where pydantic would list a million unknown fields first
        raise PydanticCustomError(
            "too_many_fields",
            "a request has at most {maximum} fields, got {got}",
            {"maximum": MAX_FIELDS, "got": len(body)},
        )
    return _TOLERANT[_TaskOf.model_validate(body).task].model_validate(body, context={"models": models})


@dataclass(frozen=True)
class _OneOfEachTask:
    """Describe the requests as alternatives that their task tells apart, and that may carry each other's fields.

    Attributes:
        models: names of those on offer.
    """

    models: tuple[str, ...]

    def __get_pydantic_json_schema__(self, core_schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        choices = handler(core_schema)["anyOf"]
        requests = [handler.resolve_ref_schema(choice) for choice in choices]
        known = {name for request in requests for name in request["properties"]}
        for request in requests:
            foreign = "|".join(sorted(known - request["properties"].keys()))
            request["patternProperties"] = {f"^({foreign})$": {"description": "Of other tasks: checked, then ignored."}}
            request["properties"]["model_size"]["anyOf"][0] |= {"enum": list(self.models)}
        tasks = [request["properties"]["task"]["const"] for request in requests]
        mapping = {task: choice["$ref"] for task, choice in zip(tasks, choices, strict=True)}
        return {"oneOf": choices, "discriminator": {"propertyName": "task", "mapping": mapping}}


PredictRequest: TypeAlias = AnyMusicRequest | EmbedRequest
"""What a body becomes."""


def request_type(models: Sequence[str]) -> Any:
    """Return the type by which pydantic reads and describes a body that may name one of these models."""
    described = Annotated[PredictRequest, _OneOfEachTask(tuple(models))]
    # A union of pydantic's own would put the task before each field's name in errors.
    reader = PlainValidator(partial(read_body, models=models), json_schema_input_type=described)
    return Annotated[PredictRequest, reader]
