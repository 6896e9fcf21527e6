"""What the API process says of the models on offer, and what it refuses before a worker hears of it."""

from typing import Any

import pytest

from amt.errors import ControlsError
from api import AnticipatoryAPI
from tests.tasks.bodies import read
from tests.tasks.results import golden

API = AnticipatoryAPI({"tiny": "weights/tiny", "plain": "./plain"}, "tiny", "cpu", 1, "float32")

LOADED = {"checkpoint": "./plain", "loaded": True, "available": True, "parameters": 5, "controls": False, "bytes": 9}
NOT_LOADED = {**LOADED, "loaded": False, "bytes": None}
UNKNOWN = {**NOT_LOADED, "available": False, "parameters": None, "controls": None}


def worker(**plain: Any) -> dict[str, Any]:
    """What a worker says of itself, and of one model."""
    return {"default_size": "plain", "sizes": {"plain": plain}, "capacity": {"plain": 3} if plain["loaded"] else {}}


def job_for(task: str, **plain: Any) -> Any:
    given = {} if task == "generate" else {"midi_input": golden("chorale_001")}
    span = {"start_seconds": 1, "end_seconds": 3} if task == "infill" else {}
    return API.decode_request(read(task=task, **given, **span), worker(**plain), {}, streams=False)


@pytest.mark.parametrize("task", ["accompany", "infill", "variation"])
def test_what_needs_controls_is_refused_where_a_model_is_known_to_have_none(task: str) -> None:
    with pytest.raises(ControlsError, match=f"model plain cannot do task {task}, which tells it notes ahead") as caught:
        job_for(task, **NOT_LOADED)
    assert API.explain(caught.value)[0] == 422
    assert job_for(task, **UNKNOWN).controlled == task  # the worker will know


@pytest.mark.parametrize("task", ["generate", "continue", "embed"])
def test_everything_else_is_not(task: str) -> None:
    assert job_for(task, **NOT_LOADED).group == "plain"


def test_what_any_worker_knows_of_a_model_is_said() -> None:
    said = API.describe([worker(**UNKNOWN), worker(**LOADED), worker(**NOT_LOADED)])
    assert said["capacity"] == {"plain": 3}
    assert said["sizes"]["plain"] == {
        "checkpoint": "./plain",
        "loaded": True,
        "available": True,
        "parameters": 5,
        "tasks": ["generate", "continue", "embed"],
        "bytes": 9,
    }


def test_a_model_of_which_nothing_is_known_has_unknown_tasks() -> None:
    said = API.describe([worker(**UNKNOWN)])["sizes"]["plain"]
    assert (said["tasks"], said["parameters"], said["bytes"]) == (None, None, None)
