"""Read bodies as the service does, and say what is wrong with them."""

import json
from typing import Any, Final

import pytest
from pydantic import TypeAdapter, ValidationError

from tasks.body import request_type

REQUEST: Final[TypeAdapter[Any]] = TypeAdapter(request_type(["tiny", "small", "medium", "large"]))


def read(**body: Any) -> Any:
    """The request that a body becomes."""
    return REQUEST.validate_python(body)


def problems(body: str | dict[str, Any]) -> list[tuple[Any, ...]]:
    """(field, message) of all that is wrong with a body."""
    value = json.loads(body) if isinstance(body, str) else body
    with pytest.raises(ValidationError) as caught:
        REQUEST.validate_python(value)
    return [(*problem["loc"], problem["msg"]) for problem in caught.value.errors()]
