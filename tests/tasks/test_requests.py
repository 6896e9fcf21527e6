"""What each task takes, and how it says what is wrong."""

import base64
import subprocess
import sys
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from amt.midi import codec
from amt.midi.notes import Note
from tasks.body import MODELS, request_type
from tasks.examples import EXAMPLE_MIDI, EXAMPLE_SCALE, EXAMPLES
from tasks.fields import Task
from tasks.requests import GenerateRequest
from tests.tasks.bodies import problems, read

RANGES = [
    ("length_seconds", 1.0, 120.0, "1.0..120.0"),
    ("top_p", 0.1, 1.0, "0.1..1.0"),
    ("num_variations", 1, 5, "1..5"),
]


COMMON = {"model_size": None, "client_job_id": None}
MUSIC = {
    "num_variations": 1,
    "seed": None,
    "top_p": 0.95,
    "temperature": 1.0,
    "top_k": None,
    "min_p": 0.0,
    "instruments": None,
    "exclude_instruments": None,
    "instrument_balance": 3.0,
    "pitch_range": None,
    "max_polyphony": None,
    "density": None,
    "velocity": "auto",
    "bpm": None,
    "time_signature": None,
    "grid": None,
    "grid_durations": False,
    "swing": 0.5,
    "key": None,
    "key_mode": "bias",
    "chords": None,
    "chord_share": None,
    "variety": "auto",
    "include": ["midi"],
    "time_unit": "seconds",
    "on_degenerate": "retry",
}
INPUT = {"notes": None, "sustain": "keep"}
EDIT = {**INPUT, "avoid_copy": False}
DEFAULTS = {
    "generate": {**COMMON, **MUSIC, "length_seconds": 20.0, "length_bars": None},
    "continue": {
        **COMMON,
        **MUSIC,
        **EDIT,
        "prime_seconds": 5.0,
        "prime_bars": None,
        "prime_from": "start",
        "length_seconds": 20.0,
        "length_bars": None,
    },
    "accompany": {
        **COMMON,
        **MUSIC,
        **EDIT,
        "instrument_balance": None,
        "chords": "auto",
        "melody_instruments": None,
        "melody_tracks": None,
        "prime_seconds": 0.0,
        "prime_bars": None,
        "length_seconds": None,
        "length_bars": None,
    },
    "infill": {
        **COMMON,
        **MUSIC,
        **EDIT,
        "instrument_balance": None,
        "chords": "auto",
        "start_bar": None,
        "end_bar": None,
        "locked": None,
    },
    "variation": {
        **COMMON,
        **MUSIC,
        **INPUT,
        "instrument_balance": None,
        "chords": "auto",
        "start_seconds": None,
        "end_seconds": None,
        "start_bar": None,
        "end_bar": None,
        "similarity": 0.5,
        "avoid_copy": True,
    },
    "embed": {
        **COMMON,
        **INPUT,
        "time_unit": "seconds",
        "bpm": None,
        "embed_layer": -3,
        "pooling": "mean",
        "windows": "first",
        "normalize": False,
        "midi_inputs": None,
    },
}


@pytest.mark.parametrize("task", DEFAULTS)
def test_each_task_has_the_contracts_defaults(task: Task) -> None:
    required = {"task", "midi_input", "start_seconds", "end_seconds"} & MODELS[task].model_fields.keys()
    given = {name: value for name, value in EXAMPLES[task].items() if name in required}
    request = read(**given)
    assert {name: getattr(request, name) for name in MODELS[task].model_fields} == {**given, **DEFAULTS[task]}


@pytest.mark.parametrize(("field", "minimum", "maximum", "shown"), RANGES)
def test_both_ends_of_a_range_are_allowed(field: str, minimum: float, maximum: float, shown: str) -> None:
    for value in (minimum, maximum):
        assert getattr(read(**{field: value}), field) == value


@pytest.mark.parametrize("value", ["0.0999", "0", "-1", "120.001", "1e999", "-1e999", "NaN", "1" + "0" * 400])
@pytest.mark.parametrize(("field", "minimum", "maximum", "shown"), RANGES)
def test_a_number_out_of_range_is_told_the_whole_range(
    field: str, minimum: float, maximum: float, shown: str, value: str
) -> None:
    [(where, message)] = problems(f'{{"{field}": {value}}}')
    assert where == field
    assert message.startswith(f"{field} must be in range {shown}, got ")
    assert len(message) < 120


@pytest.mark.parametrize(
    ("task", "shown", "allowed", "refused"),
    [
        ("continue", "1.0..60.0", [1, 60], [0.99, 60.1]),
        ("accompany", "0.0..60.0", [0, 60], [-0.1, 60.1]),
    ],
)
def test_how_long_a_prime_may_be_depends_on_the_task(
    task: str, shown: str, allowed: list[float], refused: list[float]
) -> None:
    body = {"task": task, "midi_input": EXAMPLE_MIDI}
    for value in allowed:
        assert read(**body, prime_seconds=value).prime_seconds == value
    for value in refused:
        [(where, message)] = problems({**body, "prime_seconds": value})
        assert (where, message) == ("prime_seconds", f"prime_seconds must be in range {shown}, got {value}")


def test_a_span_needs_both_ends() -> None:
    body = {"task": "infill", "midi_input": EXAMPLE_MIDI}
    start, end = ((f"{name}_seconds", f"{name}_seconds is required for task 'infill'") for name in ("start", "end"))
    assert problems(body) == [start, end]
    assert problems({**body, "start_seconds": 1, "end_seconds": None}) == [end]
    assert problems({**body, "end_seconds": 1}) == [start]


@pytest.mark.parametrize(
    ("span", "complaint"),
    [
        ({"start_seconds": 2, "end_seconds": 1}, "0.1 to 120.0 s after start_seconds, got 2.0 to 1.0"),
        ({"start_seconds": 2, "end_seconds": 2}, "0.1 to 120.0 s after start_seconds"),
        ({"start_seconds": 2, "end_seconds": 123}, "0.1 to 120.0 s after start_seconds"),
        ({"start_seconds": 2, "end_seconds": 1e9}, "end_seconds must be in range 0.0..86400.0"),
    ],
)
def test_the_ends_of_a_span_are_in_order_and_not_too_far_apart(span: dict[str, float], complaint: str) -> None:
    [(where, message)] = problems({"task": "infill", "midi_input": EXAMPLE_MIDI, **span})
    assert where == "end_seconds"
    assert complaint in message


@pytest.mark.parametrize("span", [(0, 0.1), (1.25, 1.35), (0.1, 120.1), (0.7, 0.8)])
def test_the_shortest_and_the_longest_span_are_allowed(span: tuple[float, float]) -> None:
    request = read(task="infill", midi_input=EXAMPLE_MIDI, start_seconds=span[0], end_seconds=span[1])
    assert (request.start_seconds, request.end_seconds) == span


@pytest.mark.parametrize("names", [[], "violin", [1.5], [True], [None], ["x"] * 130])
@pytest.mark.parametrize("field", ["melody_instruments", "melody_tracks"])
def test_instruments_and_tracks_are_a_list_of_names_and_whole_numbers(field: str, names: object) -> None:
    assert {where for where, *_ in problems({field: names})} == {field}


def test_an_error_shows_the_value_as_sent() -> None:
    assert problems('{"length_seconds": 200.0}') == [
        ("length_seconds", "length_seconds must be in range 1.0..120.0, got 200.0")
    ]


@pytest.mark.parametrize(("value", "shown"), [("true", "true"), ('"1"', "'1'"), ("[1]", "[1]")])
@pytest.mark.parametrize(("field", "minimum", "maximum", "range_shown"), RANGES)
def test_what_is_not_a_number_is_not_read_as_one(
    field: str, minimum: float, maximum: float, range_shown: str, value: str, shown: str
) -> None:
    expected = f"{field} must be a number in range {range_shown}, got {shown}"
    assert problems(f'{{"{field}": {value}}}') == [(field, expected)]


def test_a_count_is_whole_however_it_is_written() -> None:
    assert repr(read(num_variations=2.0).num_variations) == "2"
    assert problems({"num_variations": 2.5}) == [
        ("num_variations", "num_variations must be a whole number in range 1..5, got 2.5")
    ]


@pytest.mark.parametrize(("field", "minimum", "maximum", "shown"), RANGES)
def test_the_json_schema_states_the_range(field: str, minimum: float, maximum: float, shown: str) -> None:
    schema = GenerateRequest.model_json_schema()["properties"][field]["anyOf"][0]
    assert (schema["minimum"], schema["maximum"]) == (minimum, maximum)
    assert schema["type"] == ("integer" if field == "num_variations" else "number")


@pytest.mark.parametrize("layer", [-100, 0, 10**30])
def test_any_whole_number_may_name_a_layer(layer: int) -> None:
    assert read(task="embed", midi_input=EXAMPLE_MIDI, embed_layer=layer).embed_layer == layer


@pytest.mark.parametrize("layer", [True, 1.5, "3"])
def test_a_layer_is_named_by_a_whole_number(layer: object) -> None:
    assert [where for where, _ in problems({"embed_layer": layer})] == ["embed_layer"]


@pytest.mark.parametrize("size", ["tiny", "small", "medium", "large", None])
def test_every_size_and_none_may_be_asked_for(size: str | None) -> None:
    assert read(model_size=size).model_size == size


def test_any_model_on_offer_may_be_asked_for_and_no_other() -> None:
    offer: TypeAdapter[Any] = TypeAdapter(request_type(["tiny", "jazz"]))
    assert offer.validate_python({"model_size": "jazz"}).model_size == "jazz"
    for wrong in ("small", 5, ["tiny"]):
        with pytest.raises(ValidationError, match="Input should be 'tiny' or 'jazz'"):
            offer.validate_python({"model_size": wrong})
    requests = offer.json_schema()["$defs"].values()
    choices = [each["properties"]["model_size"]["anyOf"] for each in requests if "model_size" in each["properties"]]
    assert choices == [[{"type": "string", "enum": ["tiny", "jazz"]}, {"type": "null"}]] * len(MODELS)


def test_a_wrong_size_is_told_the_right_ones() -> None:
    expected = "Input should be 'tiny', 'small', 'medium' or 'large'"
    assert problems({"model_size": "huge"}) == [("model_size", expected)]


@pytest.mark.parametrize("task", ["continue", "accompany", "embed"])
@pytest.mark.parametrize("given", [{}, {"midi_input": None}, {"midi_input": " \n"}])
def test_tasks_that_read_midi_require_it(task: str, given: dict[str, Any]) -> None:
    assert problems({"task": task, **given}) == [("midi_input", f"midi_input is required for task '{task}'")]


@pytest.mark.parametrize("text", ["TVRo$A==", "TVRoZ", "TVRoé", "data:audio/midi,TVRo"])
def test_what_is_not_base64_is_named_so(text: str) -> None:
    [(where, message)] = problems({"task": "embed", "midi_input": text})
    assert where == "midi_input"
    assert message.startswith("midi_input is not valid base64: ")


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        (
            {"midi_inputs": [EXAMPLE_MIDI], "midi_input": EXAMPLE_MIDI},
            ("midi_input", "not both"),
        ),
        ({"midi_inputs": []}, ("midi_inputs", "at least 1 item")),
        ({"midi_inputs": [EXAMPLE_MIDI] * 65}, ("midi_inputs", "at most 64 items")),
        ({"midi_inputs": [EXAMPLE_MIDI, "%"]}, ("midi_inputs", "midi_inputs[1] is not valid base64: ")),
        ({"midi_inputs": [EXAMPLE_MIDI, " "]}, ("midi_inputs", "midi_inputs[1] is required")),
        ({"midi_inputs": [EXAMPLE_MIDI], "pooling": "none"}, ("midi_inputs", "cannot be used when pooling is 'none'")),
        (
            {"midi_input": EXAMPLE_MIDI, "pooling": "none", "windows": "all"},
            ("windows", "must be 'first'"),
        ),
        ({"midi_input": EXAMPLE_MIDI, "pooling": "sum"}, ("pooling", "'mean', 'last', 'max' or 'none'")),
        ({"midi_input": EXAMPLE_MIDI, "windows": "last"}, ("windows", "'first', 'all' or 'each'")),
        ({"midi_input": EXAMPLE_MIDI, "normalize": 1}, ("normalize", "valid boolean")),
    ],
)
def test_an_embed_that_cannot_be_is_one_problem(fields: dict[str, Any], problem: tuple[str, str]) -> None:
    [(where, *_, message)] = problems({"task": "embed", **fields})
    assert where == problem[0]
    assert problem[1] in message


@pytest.mark.parametrize("files", [{"midi_input": EXAMPLE_MIDI}, {"midi_inputs": [EXAMPLE_MIDI, EXAMPLE_SCALE]}])
def test_files_are_read_from_one_field_or_the_other(files: dict[str, Any]) -> None:
    [given] = files.values()
    expected = [base64.b64decode(text) for text in ([given] if isinstance(given, str) else given)]
    assert read(task="embed", **files).files == expected


@pytest.mark.parametrize("form", ["{}", "data:audio/midi;base64,{}"])
@pytest.mark.parametrize("task", ["continue", "accompany", "infill", "embed"])
def test_every_task_reads_files_as_browsers_write_them(task: str, form: str) -> None:
    data = codec.write_notes([Note(0, 50, 60, 0)]) + bytes([0, 251, 255])
    text = base64.urlsafe_b64encode(data).decode().rstrip("=")
    request = read(**EXAMPLES[task] | {"midi_input": form.format(text)})
    assert (request.files if task == "embed" else [request.midi_bytes]) == [data]
    assert read(task="embed", midi_inputs=[form.format(text)]).files == [data]


@pytest.mark.parametrize("job", ["a", "A-Za-z0-9._:-", "x" * 256, None])
def test_a_job_may_be_named_with_letters_digits_and_some_signs(job: str | None) -> None:
    assert read(client_job_id=job).client_job_id == job


@pytest.mark.parametrize("job", ["", "x" * 257, "a b", "a\n", "ä", "a/b", "{got}"])
def test_a_job_with_another_name_is_told_what_is_allowed(job: str) -> None:
    [(where, message)] = problems({"client_job_id": job})
    assert where == "client_job_id"
    assert message.startswith("client_job_id must be 1 to 256 letters, digits or any of . _ : - , got ")


def test_the_wire_needs_neither_the_model_nor_the_server() -> None:
    code = "import tasks.body, tasks.responses, sys; print({'torch', 'litserve', 'transformers'} & set(sys.modules))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout == "set()\n"


@pytest.mark.parametrize("value", [0.5, {"note": 0.5}, {"onset": 0.5, "duration": 1, "note": 0.1}])
def test_sampling_may_differ_by_slot(value: Any) -> None:
    assert read(top_p=value).top_p == value


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"note": 2}, "top_p.note must be in range 0.1..1.0, got 2"),
        ({"pitch": 0.5}, "top_p must be a number, or an object with any of onset, duration and note, got 'pitch'"),
        ("0.5", "top_p must be a number in range 0.1..1.0, got '0.5'"),
    ],
)
def test_wrong_sampling_says_what_may_be(value: Any, message: str) -> None:
    assert problems({"top_p": value}) == [("top_p", message)]


@pytest.mark.parametrize("value", ["Violin", [], [1.5], [True], [None], 0])
def test_instruments_are_a_list_of_numbers_and_names(value: Any) -> None:
    [(where, message)] = problems({"instruments": value})
    assert where == "instruments"
    assert message.startswith("instruments must be a list of 1 to 129 General MIDI numbers, names or families")


@pytest.mark.parametrize("value", [[60, 48], [0, 128], [-1, 5], [60], "48-60", {"Violin": [60]}, {}, [1.5, 2]])
def test_a_pitch_range_is_two_pitches_in_order(value: Any) -> None:
    [(where, message)] = problems({"pitch_range": value})
    assert where == "pitch_range"
    assert "two whole numbers in range 0..127" in message
