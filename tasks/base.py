"""Define what the requests of all tasks share."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator
from pydantic_core import PydanticCustomError

from tasks.fields import ClientJobId, ModelName, Task


def _document(schema: dict[str, Any], model: type[BaseModel]) -> None:
    """Complete a request's JSON schema: its own fields come first, and those that may be left out may be null."""
    properties, required = schema["properties"], schema.get("required", ())
    order = dict.fromkeys(["task", "midi_input", "notes", *model.__annotations__, *properties])
    schema["properties"] = {name: properties[name] for name in order if name in properties}
    for name, described in properties.items():
        if name == "task" or name in required:
            continue
        texts = {key: described.pop(key) for key in ("title", "description", "default") if key in described}
        choices = described.pop("anyOf", None) or [dict(described)]
        described.clear()
        described |= {"anyOf": choices if {"type": "null"} in choices else [*choices, {"type": "null"}], **texts}


@dataclass(frozen=True)
class _Conflict:
    """Stand in for the value of a field that was sent together with another one that says the same."""

    names: tuple[str, ...]


class TaskRequest(BaseModel):
    """Hold what any task takes.

    A field that is null counts as not sent. Unknown fields are refused, those of other tasks too: `tasks.body` adds
    them.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, json_schema_extra=_document)

    null_is_off: ClassVar[frozenset[str]] = frozenset()
    """Fields of which null does not count as not sent: it switches off what their default does."""

    one_of: ClassVar[tuple[tuple[str, ...], ...]] = ()
    """Fields that say the same in different ways: of each group one may be sent."""

    task: Task = Field(description="What to do.")
    model_size: ModelName | None = Field(
        default=None,
        description="Which model: tiny (bundled with the service), small (about 128 million parameters), "
        "medium (350) or large (780), or another that the service offers, by its name. Larger is better and slower. "
        "A model is loaded when it is first asked for. Null: the service's default; the answer's metadata says which.",
    )
    client_job_id: ClientJobId | None = Field(
        default=None,
        description="Your own name for this job: 1 to 256 letters, digits or any of . _ : - . It comes back "
        "in the metadata, and appears in the service's log.",
    )

    @classmethod
    def _find_required(cls, given: Mapping[str, Any]) -> set[str]:
        """Return the fields that a body with those that are given must have."""
        return {name for name, field in cls.model_fields.items() if field.is_required()}

    @model_validator(mode="before")
    @classmethod
    def _treat_null_as_missing(cls, body: dict[str, Any]) -> dict[str, Any]:
        """Leave null out where a field may be missing, and put it in where it may not: its own check then complains.

        So it does of the last of several fields of which there may be one.
        """
        known = cls.model_fields.keys() - cls.null_is_off - {"task"}
        given = {name: value for name, value in body.items() if value is not None or name not in known}
        for group in cls.one_of:
            sent = tuple(name for name in group if name in given)
            if len(sent) > 1:
                given[sent[-1]] = _Conflict(sent)
        return dict.fromkeys(cls._find_required(given)) | given

    @field_validator("*", mode="before")
    @classmethod
    def _check_required(cls, value: Any, info: ValidationInfo) -> Any:
        if isinstance(value, _Conflict):
            names = " or ".join(reversed(value.names))
            raise PydanticCustomError("ambiguous", "send either {names}, not both", {"names": names})
        if value is None and info.field_name not in cls.null_is_off | {"task"}:
            raise PydanticCustomError(
                "missing",
                "{field} is required for task '{task}'",
                {"field": info.field_name, "task": info.data["task"]},
            )
        return value
