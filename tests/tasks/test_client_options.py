"""The client's texts on its options say what the requests' models say: their ranges and their defaults.

A text names the range, if there is one, and in parentheses at its end the default; what is otherwise for some tasks
comes after a semicolon: "how much is kept, 1 to 60; accompany: 0 to 60 (default: 5; accompany: 0)".
"""

import inspect
import re
import tomllib
from collections.abc import Iterator
from typing import Any, Final, get_args, get_type_hints

import pytest

from client import AnticipatoryClient, EmbedOptions, Fields, MusicOptions
from tasks.base import TaskRequest
from tasks.body import MODELS
from tasks.documentation import DOCUMENTATION
from tasks.music_request import MusicRequest
from tasks.requests import EmbedRequest
from tests.conftest import PROJECT

FILES: Final = {"task", "midi_input", "midi_inputs", "notes"}
"""Fields that are no options: a method sets them."""

WIDE: Final = {"seed", "start_seconds", "end_seconds", "start_bar", "end_bar"}
"""Fields whose range is too wide to be told."""

METHODS: Final = {
    "generate": AnticipatoryClient.generate,
    "continue": AnticipatoryClient.continue_midi,
    "accompany": AnticipatoryClient.accompany,
    "infill": AnticipatoryClient.infill,
    "variation": AnticipatoryClient.vary,
    "embed": AnticipatoryClient.embed,
}

OPTIONS: Final = {name: get_args(hint) for name, hint in get_type_hints(Fields, include_extras=True).items()}
"""Name -> (type, text)."""

EACH: Final = [
    pytest.param(task, name, id=f"{task}-{name}") for task, model in MODELS.items() for name in model.model_fields
    if name not in FILES
]  # fmt: skip


def schema_of(task: str, name: str) -> Iterator[dict[str, Any]]:
    """The JSON schemas of the values that a field may have in a task, null left out."""
    field = MODELS[task].model_json_schema()["properties"][name]
    return (choice for choice in field.get("anyOf", [field]) if choice.get("type") != "null")


def said_of(task: str, text: str) -> str:
    """What a text says of a task: what begins with the task's name, else what comes first."""
    first, *others = text.split("; ")
    named = (other.split(": ", 1) for other in others)
    return next((said for tasks, said in named if task in tasks.split(", ")), first)


def named_range(task: str, name: str) -> tuple[float, float] | None:
    text = OPTIONS[name][1].partition(" (default: ")[0]
    found = re.search(r"(-?[\d.]+) to (-?[\d.]+)$", said_of(task, text))
    return (float(found[1]), float(found[2])) if found else None


def named_default(task: str, name: str) -> str | None:
    _, _, text = OPTIONS[name][1].partition(" (default: ")
    return said_of(task, text.removesuffix(")")) if text else None


@pytest.mark.parametrize(("task", "name"), EACH)
def test_the_range_that_the_client_names_is_the_services(task: str, name: str) -> None:
    numbers = [choice for choice in schema_of(task, name) if "minimum" in choice]
    expected = (numbers[0]["minimum"], numbers[0]["maximum"]) if numbers and name not in WIDE else None
    assert named_range(task, name) == expected


@pytest.mark.parametrize(("task", "name"), EACH)
def test_the_default_that_the_client_names_is_the_services(task: str, name: str) -> None:
    default = MODELS[task].model_fields[name].default
    named = named_default(task, name)
    if isinstance(default, bool):  # a flag: it is off unless it is given, or something else is said
        assert named in (("on",) if default else ("off", None))
    elif isinstance(default, int | float):
        assert named == f"{default:g}"
    elif isinstance(default, str):
        assert named == default
    else:  # found out from other things, which words say, or required
        assert named is None or not re.fullmatch(r"-?[\d.]+", named)


@pytest.mark.parametrize(("task", "name"), EACH)
def test_the_names_that_the_client_offers_are_the_services(task: str, name: str) -> None:
    kind, text = OPTIONS[name]
    for names in (choice["enum"] for choice in schema_of(task, name) if "enum" in choice):
        literals = [get_args(each) for each in get_args(kind) if each is not type(None)]
        assert literals == [tuple(names)] or all(re.search(rf"\b{each}\b", text) for each in names)


@pytest.mark.parametrize("task", MODELS)
def test_the_defaults_of_the_clients_methods_are_the_services(task: str) -> None:
    for name, parameter in inspect.signature(METHODS[task]).parameters.items():
        if name in OPTIONS and parameter.default not in (None, inspect.Parameter.empty):
            assert parameter.default == MODELS[task].model_fields[name].default


@pytest.mark.parametrize(
    ("options", "model"), [(MusicOptions, MusicRequest), (EmbedOptions, EmbedRequest), (Fields, None)]
)
def test_what_the_service_takes_the_client_offers(options: Any, model: type[TaskRequest] | None) -> None:
    models = [model] if model else MODELS.values()
    taken = set().union(*(each.model_fields for each in models)) - FILES
    if model is EmbedRequest:
        taken.remove("embed_layer")  # a parameter of its own
    assert set(get_type_hints(options)) == taken


@pytest.mark.parametrize("task", MODELS)
def test_the_projects_description_names_every_task(task: str) -> None:
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
    assert re.search(rf"\b{'vary' if task == 'variation' else task}\b", project["description"])


def test_the_documentation_says_which_tasks_stream_notes() -> None:
    [silent] = [task for task, model in MODELS.items() if not issubclass(model, MusicRequest)]
    told = re.findall(r"`(note|discard|progress)`[^:]*?\(all tasks but (\w+)\)", DOCUMENTATION.stream_description)
    assert told == [("note", silent), ("discard", silent), ("progress", silent)]
