"""A body becomes the request of its task, whatever other tasks' fields it carries."""

import json
from typing import Any, get_args

import jsonschema_rs  # schemathesis brings it
import pytest
from pydantic import ValidationError

from tasks.body import MODELS
from tasks.examples import EXAMPLE_MIDI, EXAMPLES
from tasks.fields import Task
from tests.tasks.bodies import REQUEST, problems, read

TASKS = get_args(Task)

ALL_FIELDS = {
    "midi_input": EXAMPLE_MIDI,
    "sustain": "apply",
    "length_seconds": 2.5,
    "prime_seconds": 2.5,
    "prime_from": "end",
    "start_seconds": 1.0,
    "end_seconds": 2.0,
    "melody_instruments": ["piano"],
    "melody_tracks": [1],
    "top_p": 0.9,
    "temperature": 0.9,
    "top_k": 9,
    "min_p": 0.1,
    "instruments": [0],
    "exclude_instruments": [9],
    "instrument_balance": 1.0,
    "pitch_range": (48, 60),
    "max_polyphony": 3,
    "density": 3.0,
    "num_variations": 2,
    "seed": 1,
    "on_degenerate": "keep",
    "velocity": 80,
    "bpm": 90.0,
    "time_signature": "3/4",
    "grid": "1/8",
    "grid_durations": True,
    "swing": 0.6,
    "key": "D dorian",
    "key_mode": "strict",
    "chords": "Am | F",
    "chord_share": 0.5,
    "variety": 0.5,
    "include": ["notes"],
    "time_unit": "beats",
    "model_size": "tiny",
    "embed_layer": -1,
    "pooling": "max",
    "windows": "all",
    "normalize": True,
    "client_job_id": "job",
}
"""A value of every field but `task` and those of `OTHERWISE`, none of them the default."""

A_NOTE = {"onset": 0.5, "duration": 1.0, "pitch": 60}
OTHERWISE = {
    "midi_inputs": [EXAMPLE_MIDI],
    "notes": [A_NOTE],
    "length_bars": 2,
    "prime_bars": 2,
    "start_bar": 2,
    "end_bar": 3,
}
"""Fields that say otherwise what others say too."""


def test_each_task_has_a_model_and_a_body_without_a_task_asks_to_generate() -> None:
    assert tuple(MODELS) == TASKS
    assert all(isinstance(read(**EXAMPLES[task]), MODELS[task]) for task in TASKS)
    assert read() == read(task="generate")


@pytest.mark.parametrize("task", TASKS)
def test_a_body_may_carry_the_fields_of_every_task(task: Task) -> None:
    request = read(task=task, **ALL_FIELDS)
    own = MODELS[task].model_fields.keys() - {"task", *OTHERWISE}
    assert {name: getattr(request, name) for name in own} == {name: ALL_FIELDS[name] for name in own}


@pytest.mark.parametrize(
    ("task", "foreign", "message"),
    [
        ("generate", {"prime_seconds": 0}, "prime_seconds must be in range 1.0..60.0, got 0"),
        ("generate", {"embed_layer": "last"}, "Input should be a valid integer"),
        ("generate", {"midi_input": 5}, "Input should be a valid string"),
        ("continue", {"start_seconds": -1}, "start_seconds must be in range 0.0..86400.0, got -1"),
        ("embed", {"length_seconds": 0}, "length_seconds must be in range 1.0..120.0, got 0"),
        ("embed", {"top_k": 0}, "top_k must be in range 1..512, got 0"),
        ("embed", {"melody_tracks": []}, "List should have at least 1 item after validation, not 0"),
    ],
)
def test_a_field_of_another_task_must_be_valid(task: Task, foreign: dict[str, Any], message: str) -> None:
    assert problems({**EXAMPLES[task], **foreign}) == [(*foreign, message)]


@pytest.mark.parametrize(
    "fields",
    [
        {"midi_input": "not base64"},
        {"midi_inputs": ["%"]},
        {"pooling": "none", "windows": "each"},
        {"start_seconds": 2, "end_seconds": 1},
    ],
)
def test_only_the_task_that_uses_fields_asks_whether_they_fit_together_or_hold_a_file(fields: dict[str, Any]) -> None:
    assert read(**fields).task == "generate"


@pytest.mark.parametrize("task", TASKS)
def test_null_is_as_if_the_field_had_not_been_sent(task: Task) -> None:
    nothing = dict.fromkeys([*ALL_FIELDS, *OTHERWISE])
    del nothing["chords"], nothing["variety"]
    assert read(**{**nothing, **EXAMPLES[task]}) == read(**EXAMPLES[task])


@pytest.mark.parametrize("field", ["chords", "variety"])
@pytest.mark.parametrize("task", ["generate", "continue", "accompany", "infill"])
def test_null_switches_off_what_is_on_by_default(task: Task, field: str) -> None:
    assert getattr(read(**{**EXAMPLES[task], field: None}), field) is None


@pytest.mark.parametrize(
    ("task", "names"),
    [
        ("generate", ("length_seconds", "length_bars")),
        ("continue", ("midi_input", "notes")),
        ("continue", ("prime_seconds", "prime_bars")),
        ("continue", ("length_seconds", "length_bars")),
        ("accompany", ("midi_input", "notes")),
        ("accompany", ("prime_seconds", "prime_bars")),
        ("accompany", ("length_seconds", "length_bars")),
        ("infill", ("midi_input", "notes")),
        ("infill", ("start_seconds", "start_bar")),
        ("infill", ("end_seconds", "end_bar")),
        ("embed", ("midi_input", "notes")),
        ("embed", ("midi_inputs", "notes")),
    ],
)
def test_what_says_the_same_in_two_ways_is_sent_in_one(task: Task, names: tuple[str, str]) -> None:
    one, other = names
    body = EXAMPLES[task] | {name: (ALL_FIELDS | OTHERWISE)[name] for name in names}
    if "midi_inputs" in body:
        del body["midi_input"]
    places = {where for where, *_, message in problems(body) if "send either" in message}
    messages = [message for _, *_, message in problems(body) if one in message and other in message]
    assert places <= set(names)
    assert any(message.endswith("not both") for message in messages)


def test_a_body_of_bars_and_notes_alone_is_taken() -> None:
    notes = {"notes": OTHERWISE["notes"]}
    assert read(length_bars=4).length_bars == 4
    assert read(task="continue", prime_bars=1, length_bars=2, **notes).prime_bars == 1
    assert read(task="infill", start_bar=1, end_bar=2, **notes).end_bar == 2
    assert read(task="accompany", prime_bars=0, **notes).prime_bars == 0
    assert read(task="embed", **notes).notes[0].velocity == 80


def test_bars_of_a_span_go_together() -> None:
    body = {"task": "infill", "midi_input": EXAMPLE_MIDI}
    assert problems({**body, "start_bar": 1}) == [("end_bar", "end_bar is required for task 'infill'")]
    assert problems({**body, "start_bar": 1, "end_seconds": 2}) == [
        ("end_bar", "end_bar is required for task 'infill'")
    ]
    [(where, message)] = problems({**body, "start_bar": 3, "end_bar": 3})
    assert (where, message[-10:]) == ("end_bar", "got 3 to 3")


@pytest.mark.parametrize("task", TASKS)
def test_errors_of_own_and_other_fields_come_together_under_the_fields_names(task: Task) -> None:
    wrong = {"length_seconds": 0, "embed_layer": 0.5, "humour": None}
    assert {where for where, _ in problems({**EXAMPLES[task], **wrong})} == wrong.keys()


def test_a_field_that_nobody_knows_is_refused() -> None:
    assert problems({"humour": 1.0}) == [("humour", "Extra inputs are not permitted")]


@pytest.mark.parametrize("task", ["sing", None, 1, ["generate"]])
def test_a_wrong_task_is_the_only_problem_and_is_told_the_right_ones(task: object) -> None:
    expected = "Input should be 'generate', 'continue', 'accompany', 'infill' or 'embed'"
    assert problems({"task": task, "midi_input": "%", "humour": 1.0}) == [("task", expected)]


@pytest.mark.parametrize(("body", "shown"), [("[]", "[]"), ("null", "null"), ('"text"', "'text'"), ("1", "1")])
def test_what_is_no_object_is_told_so(body: str, shown: str) -> None:
    assert problems(body) == [(f"a request is one JSON object, got {shown}",)]


def test_a_body_of_very_many_fields_is_one_problem() -> None:
    body = {f"field{number}": number for number in range(10_000)}
    assert problems(body) == [("a request has at most 100 fields, got 10000",)]


@pytest.fixture(scope="module")
def schema() -> dict[str, Any]:
    return REQUEST.json_schema()


def test_the_json_schema_shows_each_task_its_own_fields(schema: dict[str, Any]) -> None:
    mapping = schema["discriminator"]["mapping"]
    assert tuple(mapping) == tuple(sorted(TASKS))
    for task, reference in mapping.items():
        described = schema["$defs"][reference.rpartition("/")[2]]["properties"]
        assert described.keys() == MODELS[task].model_fields.keys()
        assert next(iter(described)) == "task"
        assert all(field["description"] for field in described.values())


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize(
    ("more", "valid"),
    [
        ({}, True),
        (ALL_FIELDS, True),
        (dict.fromkeys(ALL_FIELDS.keys() - {"midi_input", "start_seconds", "end_seconds"}), True),
        ({"chords": [{"symbol": "Am", "start_bar": 2.5}]}, True),
        ({"humour": 1}, False),
        ({"task": None}, False),
        ({"client_job_id": "two words"}, False),
    ],
)
def test_the_json_schema_allows_what_the_service_takes(
    task: Task, more: dict[str, Any], valid: bool, schema: dict[str, Any]
) -> None:
    body = json.loads(json.dumps({**EXAMPLES[task], **more}))
    assert jsonschema_rs.is_valid(schema, body) == is_taken(body) == valid


@pytest.mark.parametrize(
    ("body", "valid"),
    [
        ({}, True),
        ({"midi_input": EXAMPLE_MIDI}, True),
        ({"length_seconds": None}, True),
        ({"length_seconds": 0}, False),
        ({"chords": [{"symbol": "Am", "start_seconds": 2}, 5]}, False),
        ({"time_signature": "32/32"}, True),
        ({"time_signature": "33/4"}, False),
        ({"include": ["notes", "midi"]}, True),
        ({"include": []}, False),
        ({"variety": 0.05}, False),
    ],
)
def test_the_json_schema_reads_a_body_without_a_task_as_the_service_does(
    body: dict[str, Any], valid: bool, schema: dict[str, Any]
) -> None:
    assert jsonschema_rs.is_valid(schema, body) == is_taken(body) == valid


def is_taken(body: dict[str, Any]) -> bool:
    try:
        read(**body)
    except ValidationError:
        return False
    return True
