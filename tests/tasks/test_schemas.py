import base64
import json
import pickle
import subprocess
import sys
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from amt.midi.codec import read_notes
from tasks.schemas import (
    EXAMPLE_MIDI,
    EXAMPLE_SCALE,
    AccompanyResponse,
    ContinueResponse,
    EmbedFilesResponse,
    EmbedResponse,
    FileEmbedding,
    GenerateResponse,
    InfillResponse,
    Metadata,
    PredictRequest,
    PredictResponse,
    Variation,
    WindowEmbedding,
)

METADATA = Metadata(
    model_size="tiny",
    model_id="weights/tiny",
    device="cpu",
    client_job_id=None,
    trace_id="0" * 32,
    span_id="0" * 16,
    queue_seconds=0.0,
    compute_seconds=1.5,
)
A_FILE = FileEmbedding(
    windows=[WindowEmbedding(embedding=[0.5], start_seconds=0.0, end_seconds=0.5, num_tokens=3)],
    embedding_dim=1,
    layer=-3,
    num_tokens=3,
    original_tokens=3,
    truncated=False,
)
VARIATION = Variation(midi_base64=EXAMPLE_MIDI, num_events=1, duration_seconds=0.5, seed=0)

RANGES = [
    ("length_seconds", 1.0, 120.0, "1.0..120.0"),
    ("top_p", 0.1, 1.0, "0.1..1.0"),
    ("num_variations", 1, 5, "1..5"),
]


def problems(body: str | dict[str, Any]) -> list[tuple[Any, ...]]:
    """(field, message) of all that is wrong with a body."""
    text = body if isinstance(body, str) else json.dumps(body)
    with pytest.raises(ValidationError) as caught:
        PredictRequest.model_validate_json(text)
    return [(*problem["loc"], problem["msg"]) for problem in caught.value.errors()]


def test_an_empty_body_asks_for_what_the_contract_calls_default() -> None:
    assert PredictRequest().model_dump() == {
        "task": "generate",
        "length_seconds": 20.0,
        "prime_seconds": 5.0,
        "prime_from": "start",
        "start_seconds": None,
        "end_seconds": None,
        "melody_instruments": None,
        "melody_tracks": None,
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
        "num_variations": 1,
        "seed": None,
        "on_degenerate": "retry",
        "velocity": "auto",
        "bpm": None,
        "model_size": None,
        "embed_layer": -3,
        "pooling": "mean",
        "windows": "first",
        "normalize": False,
        "midi_inputs": None,
        "midi_input": None,
        "client_job_id": None,
    }


@pytest.mark.parametrize("task", ["generate", "continue", "accompany", "embed"])
def test_a_body_may_carry_the_fields_of_every_task(task: str) -> None:
    everything = {**PredictRequest().model_dump(), "midi_input": EXAMPLE_MIDI, "task": task}
    assert PredictRequest.model_validate(everything).model_dump() == everything


@pytest.mark.parametrize(("field", "minimum", "maximum", "shown"), RANGES)
def test_both_ends_of_a_range_are_allowed(field: str, minimum: float, maximum: float, shown: str) -> None:
    for value in (minimum, maximum):
        assert getattr(PredictRequest.model_validate({field: value}), field) == value


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
        ("generate", "1.0..60.0", [1, 60], [0, 61]),
        ("accompany", "0.0..60.0", [0, 60], [-0.1, 60.1]),
    ],
)
def test_how_long_a_prime_may_be_depends_on_the_task(
    task: str, shown: str, allowed: list[float], refused: list[float]
) -> None:
    body = {"task": task, "midi_input": EXAMPLE_MIDI}
    for value in allowed:
        assert PredictRequest.model_validate({**body, "prime_seconds": value}).own_prime_seconds == value
    for value in refused:
        [(where, message)] = problems({**body, "prime_seconds": value})
        assert (where, message) == ("prime_seconds", f"prime_seconds must be in range {shown}, got {value}")


def test_an_accompaniment_begins_at_once_and_lasts_as_long_as_the_melody_unless_it_says_otherwise() -> None:
    request = PredictRequest(task="accompany", midi_input=EXAMPLE_MIDI)
    assert (request.own_prime_seconds, request.own_length_seconds) == (0, None)
    request = PredictRequest(task="accompany", midi_input=EXAMPLE_MIDI, prime_seconds=5, length_seconds=20)
    assert (request.own_prime_seconds, request.own_length_seconds) == (5, 20)
    request = PredictRequest(task="continue", midi_input=EXAMPLE_MIDI)
    assert (request.own_prime_seconds, request.own_length_seconds) == (5, 20)


@pytest.mark.parametrize(
    ("span", "complaint"),
    [
        ({}, "start_seconds and end_seconds are required for task 'infill'"),
        ({"start_seconds": 1}, "start_seconds and end_seconds are required for task 'infill'"),
        ({"start_seconds": 2, "end_seconds": 1}, "0.1 to 120.0 s after start_seconds, got 2.0 to 1.0"),
        ({"start_seconds": 2, "end_seconds": 2}, "0.1 to 120.0 s after start_seconds"),
        ({"start_seconds": 2, "end_seconds": 123}, "0.1 to 120.0 s after start_seconds"),
        ({"start_seconds": 2, "end_seconds": 1e9}, "end_seconds must be in range 0.0..86400.0"),
    ],
)
def test_a_span_has_two_ends_in_order_and_not_too_far_apart(span: dict[str, float], complaint: str) -> None:
    [(where, message)] = problems({"task": "infill", "midi_input": EXAMPLE_MIDI, **span})
    assert where == "end_seconds"
    assert complaint in message


@pytest.mark.parametrize("span", [(0, 0.1), (1.25, 1.35), (0.1, 120.1), (0.7, 0.8)])
def test_the_shortest_and_the_longest_span_are_allowed(span: tuple[float, float]) -> None:
    request = PredictRequest(task="infill", midi_input=EXAMPLE_MIDI, start_seconds=span[0], end_seconds=span[1])
    assert (request.start_seconds, request.end_seconds) == span


@pytest.mark.parametrize("names", [[], "violin", [1.5], [True], [None], ["x"] * 130])
@pytest.mark.parametrize("field", ["melody_instruments", "melody_tracks"])
def test_instruments_and_tracks_are_a_list_of_names_and_whole_numbers(field: str, names: object) -> None:
    assert {where for where, *_ in problems({field: names})} == {field}


def test_an_error_shows_the_value_as_sent() -> None:
    assert problems('{"length_seconds": 200.0}') == [
        ("length_seconds", "length_seconds must be in range 1.0..120.0, got 200.0")
    ]


@pytest.mark.parametrize(("value", "shown"), [("true", "true"), ("null", "null"), ('"1"', "'1'"), ("[1]", "[1]")])
@pytest.mark.parametrize(("field", "minimum", "maximum", "range_shown"), RANGES)
def test_what_is_not_a_number_is_not_read_as_one(
    field: str, minimum: float, maximum: float, range_shown: str, value: str, shown: str
) -> None:
    expected = f"{field} must be a number in range {range_shown}, got {shown}"
    assert problems(f'{{"{field}": {value}}}') == [(field, expected)]


def test_a_count_is_whole_however_it_is_written() -> None:
    assert repr(PredictRequest.model_validate_json('{"num_variations": 2.0}').num_variations) == "2"
    assert problems({"num_variations": 2.5}) == [
        ("num_variations", "num_variations must be a whole number in range 1..5, got 2.5")
    ]


@pytest.mark.parametrize(("field", "minimum", "maximum", "shown"), RANGES)
def test_the_json_schema_states_the_range(field: str, minimum: float, maximum: float, shown: str) -> None:
    schema = PredictRequest.model_json_schema()["properties"][field]
    schema = schema.get("anyOf", [schema])[0]
    assert (schema["minimum"], schema["maximum"]) == (minimum, maximum)
    assert schema["type"] == ("integer" if field == "num_variations" else "number")


@pytest.mark.parametrize("layer", [-100, 0, 10**30])
def test_any_whole_number_may_name_a_layer(layer: int) -> None:
    assert PredictRequest(embed_layer=layer).embed_layer == layer


@pytest.mark.parametrize("layer", [True, 1.5, "3", None])
def test_a_layer_is_named_by_a_whole_number(layer: object) -> None:
    assert [where for where, _ in problems({"embed_layer": layer})] == ["embed_layer"]


def test_fields_that_nobody_knows_are_refused() -> None:
    assert problems({"humour": 1.0}) == [("humour", "Extra inputs are not permitted")]


@pytest.mark.parametrize("size", ["tiny", "small", "medium", "large", None])
def test_every_size_and_none_may_be_asked_for(size: str | None) -> None:
    assert PredictRequest.model_validate({"model_size": size}).model_size == size


@pytest.mark.parametrize(("field", "value"), [("task", "sing"), ("task", None), ("model_size", "huge")])
def test_a_wrong_name_is_told_the_right_ones(field: str, value: str | None) -> None:
    [(where, message)] = problems({field: value, "midi_input": "%"})
    assert where == field
    assert message.startswith("Input should be ")


@pytest.mark.parametrize("task", ["continue", "accompany", "embed"])
@pytest.mark.parametrize("given", [{}, {"midi_input": None}, {"midi_input": " \n"}])
def test_tasks_that_read_midi_require_it(task: str, given: dict[str, Any]) -> None:
    assert problems({"task": task, **given}) == [("midi_input", f"midi_input is required for task '{task}'")]


@pytest.mark.parametrize("text", ["TVRo$A==", "TVRoZA", "TVRoé", "TVRo_-=="])
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


def test_several_files_take_the_place_of_one() -> None:
    request = PredictRequest(task="embed", midi_inputs=[EXAMPLE_MIDI, EXAMPLE_MIDI])
    assert request.midi_files == [PredictRequest(task="embed", midi_input=EXAMPLE_MIDI).midi_bytes] * 2


@pytest.mark.parametrize("fields", [{"midi_inputs": ["%"]}, {"pooling": "none", "windows": "each"}])
def test_generate_ignores_what_embed_wants(fields: dict[str, Any]) -> None:
    assert PredictRequest.model_validate(fields).task == "generate"


def test_generate_ignores_the_midi() -> None:
    assert PredictRequest(midi_input="not base64").task == "generate"


@pytest.mark.parametrize("broken", ["\n", "\r\n", " ", "\t"])
def test_white_space_in_base64_does_not_matter(broken: str) -> None:
    data = bytes(range(256))
    text = base64.b64encode(data).decode()
    lines = broken.join(text[start : start + 76] for start in range(0, len(text), 76)) + broken
    assert PredictRequest(task="embed", midi_input=lines).midi_bytes == data


def test_without_midi_there_are_no_bytes() -> None:
    assert PredictRequest().midi_bytes == b""


@pytest.mark.parametrize("job", ["a", "A-Za-z0-9._:-", "x" * 256, None])
def test_a_job_may_be_named_with_letters_digits_and_some_signs(job: str | None) -> None:
    assert PredictRequest(client_job_id=job).client_job_id == job


@pytest.mark.parametrize("job", ["", "x" * 257, "a b", "a\n", "ä", "a/b", "{got}"])
def test_a_job_with_another_name_is_told_what_is_allowed(job: str) -> None:
    [(where, message)] = problems({"client_job_id": job})
    assert where == "client_job_id"
    assert message.startswith("client_job_id must be 1 to 256 letters, digits or any of . _ : - , got ")


def test_every_field_is_described() -> None:
    for model in (PredictRequest, Variation, Metadata, FileEmbedding, WindowEmbedding):
        assert all(field["description"] for field in model.model_json_schema()["properties"].values())


def test_the_examples_are_valid_and_show_every_task() -> None:
    examples = PredictRequest.model_json_schema()["examples"]
    assert [PredictRequest.model_validate(each).task for each in examples] == [
        "generate",
        "continue",
        "accompany",
        "infill",
        "embed",
    ]


def test_the_example_midi_is_one_middle_c_of_half_a_second() -> None:
    [note] = read_notes(PredictRequest(task="embed", midi_input=EXAMPLE_MIDI).midi_bytes)
    assert (note.onset, note.duration, note.pitch) == (0, 50, 60)


def test_the_example_scale_is_eight_notes_of_half_a_second() -> None:
    notes = read_notes(base64.b64decode(EXAMPLE_SCALE))
    assert [(note.onset, note.duration) for note in notes] == [(50 * step, 50) for step in range(8)]


def test_a_request_survives_the_way_to_the_worker() -> None:
    request = PredictRequest(task="embed", midi_input=EXAMPLE_MIDI)
    assert pickle.loads(pickle.dumps(request)) == request


@pytest.mark.parametrize(
    ("response", "fields"),
    [
        (GenerateResponse(variations=[VARIATION], metadata=METADATA), ["task", "variations", "metadata"]),
        (
            ContinueResponse(variations=[VARIATION], prime_seconds=5.0, metadata=METADATA),
            ["task", "variations", "prime_seconds", "metadata"],
        ),
        (
            AccompanyResponse(variations=[VARIATION], prime_seconds=0.0, metadata=METADATA),
            ["task", "variations", "prime_seconds", "metadata"],
        ),
        (
            InfillResponse(variations=[VARIATION], start_seconds=1.0, end_seconds=2.0, metadata=METADATA),
            ["task", "variations", "start_seconds", "end_seconds", "metadata"],
        ),
        (
            EmbedResponse(
                embedding=[0.5],
                embedding_dim=1,
                layer=-3,
                num_tokens=3,
                original_tokens=3,
                truncated=False,
                metadata=METADATA,
            ),
            [
                "task",
                "embedding",
                "embedding_dim",
                "layer",
                "num_tokens",
                "original_tokens",
                "truncated",
                "metadata",
            ],
        ),
        (EmbedFilesResponse(files=[A_FILE], metadata=METADATA), ["task", "files", "metadata"]),
    ],
)
def test_an_answer_has_its_fields_in_the_contracts_order_and_is_told_apart_by_its_task(
    response: PredictResponse, fields: list[str]
) -> None:
    text = response.model_dump_json()
    assert list(json.loads(text)) == fields
    assert TypeAdapter(PredictResponse).validate_json(text) == response


def test_the_wire_needs_neither_the_model_nor_the_server() -> None:
    code = "import tasks.schemas, sys; print({'torch', 'litserve', 'transformers'} & set(sys.modules))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout == "set()\n"


def test_a_body_of_very_many_fields_is_one_problem() -> None:
    body = {f"field{number}": number for number in range(10_000)}
    assert problems(body) == [("a request has at most 100 fields, got 10000",)]


@pytest.mark.parametrize("value", [0.5, {"note": 0.5}, {"onset": 0.5, "duration": 1, "note": 0.1}])
def test_sampling_may_differ_by_slot(value: Any) -> None:
    assert PredictRequest.model_validate({"top_p": value}).top_p == value


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
