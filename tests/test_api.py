"""The contract, over HTTP, against a real service with the bundled model."""

import base64
import io
import json
import random
from typing import Any

import httpx
import mido
import pytest

from amt.midi import codec
from amt.midi.notes import Note
from tasks.examples import MORE_EXAMPLES
from tests.conftest import GOLDEN, Service

CASTLE = (GOLDEN / "midi/easyrpg_castle1.mid").read_bytes()
CHORALE = (GOLDEN / "midi/chorale_001.mid").read_bytes()

METADATA = {
    "model_size", "model_id", "device", "client_job_id", "trace_id", "span_id", "queue_seconds", "load_seconds",
    "compute_seconds", "redrawn",
}  # fmt: skip


@pytest.fixture
def http(service: Service) -> Any:
    with httpx.Client(base_url=service.url, timeout=120) as client:
        yield client


def encoded(data: bytes) -> str:
    return base64.b64encode(data).decode()


def predict(http: httpx.Client, **body: Any) -> dict[str, Any]:
    response = http.post("/predict", json=body)
    assert response.status_code == 200, response.text
    result: dict[str, Any] = response.json()
    return result


def notes_of(variation: dict[str, Any]) -> list[Note]:
    return codec.read_notes(base64.b64decode(variation["midi_base64"]))


def refusal(http: httpx.Client, status: int = 422, **body: Any) -> str:
    response = http.post("/predict", json=body)
    assert response.status_code == status, response.text
    return json.dumps(response.json()["detail"])


def test_health_is_ok(http: httpx.Client) -> None:
    response = http.get("/health")
    assert (response.status_code, response.text) == (200, "ok")


def test_generate_answers_as_specified(http: httpx.Client) -> None:
    result = predict(http, task="generate", length_seconds=2.0, top_p=0.95, num_variations=1, client_job_id="job.1")
    assert set(result) == {"task", "variations", "timing", "notices", "metadata"}
    assert result["task"] == "generate"
    (variation,) = result["variations"]
    assert set(variation) == {"midi_base64", "num_events", "duration_seconds", "seed", "draws", "flaw"}
    assert variation["duration_seconds"] == 2.0
    assert set(result["metadata"]) == METADATA
    assert result["metadata"]["client_job_id"] == "job.1"


def test_the_generated_file_lasts_as_long_as_asked_and_holds_the_notes_counted(http: httpx.Client) -> None:
    (variation,) = predict(http, task="generate", length_seconds=4, seed=1)["variations"]
    file = mido.MidiFile(file=io.BytesIO(base64.b64decode(variation["midi_base64"])))
    assert file.length == pytest.approx(4.0)
    assert sum(message.type == "note_on" for message in file) == variation["num_events"] > 0


def test_an_empty_request_generates_with_the_defaults(http: httpx.Client) -> None:
    result = predict(http)
    assert result["task"] == "generate"
    assert [variation["duration_seconds"] for variation in result["variations"]] == [20.0]
    assert result["metadata"]["model_size"] == "tiny"


def test_variations_differ(http: httpx.Client) -> None:
    result = predict(http, task="generate", length_seconds=2, num_variations=5, seed=1)
    assert len({variation["midi_base64"] for variation in result["variations"]}) == 5


@pytest.mark.parametrize("task", ["generate", "continue"])
def test_a_seed_sent_back_alone_gives_the_same_bytes(task: str, http: httpx.Client) -> None:
    body = {"task": task, "midi_input": encoded(CHORALE), "length_seconds": 3}
    for variation in predict(http, **body, num_variations=2, seed=1)["variations"]:
        # If it had to be drawn again, its seed gives it at once.
        assert predict(http, **body, seed=variation["seed"])["variations"] == [{**variation, "draws": 1}]


def test_the_largest_seed_is_followed_by_the_smallest(http: httpx.Client) -> None:
    variations = predict(http, length_seconds=1, seed=2**63 - 1, num_variations=2)["variations"]
    assert [variation["seed"] for variation in variations] == [2**63 - 1, 0]


def test_continue_answers_as_specified(http: httpx.Client) -> None:
    result = predict(http, task="continue", midi_input=encoded(CHORALE), prime_seconds=5.0, length_seconds=3.0)
    assert set(result) == {"task", "variations", "prime_seconds", "timing", "notices", "metadata"}
    assert result["prime_seconds"] == 5.0
    assert result["variations"][0]["duration_seconds"] == 8.0


@pytest.mark.parametrize("name", ["easyrpg_castle1", "freedoom_e1m2", "twenty_programs", "chorale_010"])
def test_the_prime_comes_back_note_for_note_and_new_notes_follow_it(name: str, http: httpx.Client) -> None:
    data = (GOLDEN / f"midi/{name}.mid").read_bytes()
    prime = sorted(note for note in codec.read_notes(data) if note.onset < 400)
    result = predict(http, task="continue", midi_input=encoded(data), prime_seconds=4, length_seconds=2)
    notes = sorted(notes_of(result["variations"][0]))
    assert notes[: len(prime)] == prime
    assert all(400 <= note.onset < 600 and note.onset + note.duration <= 600 for note in notes[len(prime) :])


def test_a_piece_shorter_than_the_prime_is_continued_from_its_end(http: httpx.Client) -> None:
    data = codec.write_notes([Note(0, 150, 60, 0)])
    result = predict(http, task="continue", midi_input=encoded(data), prime_seconds=5, length_seconds=2)
    assert result["prime_seconds"] == 5
    assert result["variations"][0]["duration_seconds"] == 3.5


def test_embed_answers_as_specified(http: httpx.Client) -> None:
    result = predict(http, task="embed", midi_input=encoded(CHORALE), embed_layer=-3)
    assert set(result) == {
        "task", "embedding", "embedding_dim", "layer", "num_tokens", "original_tokens", "truncated", "notices",
        "metadata",
    }  # fmt: skip
    assert len(result["embedding"]) == result["embedding_dim"] == 256
    assert (result["layer"], result["num_tokens"], result["original_tokens"]) == (-3, 651, 651)
    assert result["truncated"] is False


def test_a_long_piece_is_embedded_truncated(http: httpx.Client) -> None:
    result = predict(http, task="embed", midi_input=encoded(CASTLE))
    assert result["truncated"] is True
    assert result["num_tokens"] == 1_023 < result["original_tokens"]


def test_the_size_asked_for_is_used_and_named(http: httpx.Client) -> None:
    result = predict(http, task="embed", midi_input=encoded(CHORALE), model_size="small")
    assert result["metadata"]["model_size"] == "small"
    assert result["metadata"]["model_id"] == str(GOLDEN / "model")
    assert result["embedding_dim"] == 32


def test_a_size_that_cannot_be_had_is_refused_with_what_to_do(http: httpx.Client) -> None:
    detail = refusal(http, 503, task="generate", model_size="medium")
    assert "use model_size tiny, or set ANTICIPATORY_MODEL_MEDIUM to a folder" in detail


@pytest.mark.parametrize(
    ("body", "complaint"),
    [
        ({"length_seconds": 121}, "length_seconds must be in range 1.0..120.0, got 121"),
        ({"length_seconds": 0.5}, "length_seconds must be in range 1.0..120.0"),
        ({"prime_seconds": 61}, "prime_seconds must be in range 1.0..60.0"),
        ({"top_p": 0}, "top_p must be in range 0.1..1.0"),
        ({"seed": -1}, "seed must be in range 0..9223372036854775807, got -1"),
        ({"num_variations": 6}, "num_variations must be in range 1..5"),
        ({"model_size": "huge"}, "'tiny', 'small', 'medium' or 'large'"),
        ({"task": "compose"}, "'generate', 'continue', 'accompany', 'infill', 'variation' or 'embed'"),
        ({"client_job_id": "two words"}, "client_job_id"),
        ({"seconds": 3}, "seconds"),
        ({"task": "continue"}, "midi_input"),
        ({"task": "embed", "midi_input": "%%%"}, "base64"),
        (
            {"task": "embed", "midi_input": "data:audio/midi,MThd"},
            "a data: URI must begin like data:audio/midi;base64,",
        ),
        ({"task": "embed", "midi_input": encoded(b"hello")}, "not a MIDI file"),
        ({"task": "embed", "midi_input": encoded(codec.write_notes([]))}, "no notes"),
        ({"task": "continue", "midi_input": encoded(codec.write_notes([]))}, "no notes"),
        ({"task": "embed", "midi_input": encoded(CHORALE), "embed_layer": 9}, "embed_layer must be in range -9..8"),
    ],
)
def test_a_wrong_request_is_refused_with_the_reason(body: dict[str, Any], complaint: str, http: httpx.Client) -> None:
    assert complaint in refusal(http, **body)


@pytest.mark.parametrize("task", ["generate", "continue", "accompany", "infill", "variation", "embed"])
def test_errors_name_the_field_alone(task: str, http: httpx.Client) -> None:
    body = {"task": task, "midi_input": "%", "top_p": 2, "embed_layer": "x", "humour": 1}
    problems = http.post("/predict", json=body).json()["detail"]
    required = {"generate": [], "infill": [["midi_input"], ["start_seconds"], ["end_seconds"]]}
    expected = [["top_p"], ["embed_layer"], ["humour"], *required.get(task, [["midi_input"]])]
    assert sorted(problem["loc"] for problem in problems) == sorted(expected)


def test_null_is_taken_as_not_given(http: httpx.Client) -> None:
    fields = ["length_seconds", "prime_seconds", "num_variations", "top_p", "velocity", "on_degenerate", "embed_layer"]
    assert predict(http, **dict.fromkeys(fields))["variations"][0]["duration_seconds"] == 20.0
    data = encoded(codec.write_notes([Note(0, 300, 60, 0)]))
    result = predict(http, task="accompany", midi_input=data, **dict.fromkeys(fields))
    assert (result["prime_seconds"], result["variations"][0]["duration_seconds"]) == (0.0, 3.0)


def test_an_instrument_named_many_times_needs_room_for_one(http: httpx.Client) -> None:
    (variation,) = predict(http, instruments=["Acoustic Grand Piano", *[0] * 128], length_seconds=5, seed=1)[
        "variations"
    ]
    assert {note.instrument for note in notes_of(variation)} == {0}


@pytest.mark.parametrize("form", ["standard", "URL-safe", "data: URI"])
def test_files_may_come_as_browsers_write_them(form: str, http: httpx.Client) -> None:
    safe = base64.urlsafe_b64encode(CHORALE).decode().rstrip("=")
    text = {"standard": encoded(CHORALE), "URL-safe": safe, "data: URI": f"data:audio/midi;base64,{safe}"}[form]
    assert predict(http, task="embed", midi_input=text)["num_tokens"] == 651
    assert predict(http, task="embed", midi_inputs=[text])["files"][0]["num_tokens"] == 651


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"null", b'"text"', b"\xff\xfe", b'{"length_seconds": NaN}', b'{"length_seconds": 1e999}',
     b'{"embed_layer": 1' + b"0" * 5_000 + b"}", b"[" * 5_000, b'{"midi_input": "\\ud800", "task": "embed"}'],
)  # fmt: skip
def test_a_body_that_is_no_request_is_a_client_error(content: bytes, http: httpx.Client) -> None:
    response = http.post("/predict", content=content, headers={"content-type": "application/json"})
    assert 400 <= response.status_code < 500, response.text


def test_a_body_over_the_limit_is_refused(http: httpx.Client) -> None:
    response = http.post("/predict", json={"task": "embed", "midi_input": "A" * 9 * 2**20})
    assert response.status_code == 413


def test_damaged_files_are_read_or_refused_but_never_an_error_of_ours(http: httpx.Client) -> None:
    rng = random.Random(0)
    for _ in range(20):
        data = bytearray(rng.choice([CHORALE, CASTLE[:3_000]]))
        for _ in range(rng.randrange(1, 30)):
            data[rng.randrange(len(data))] = rng.randrange(256)
        body = {"task": "embed", "midi_input": encoded(bytes(data[: rng.randrange(20, len(data))]))}
        response = http.post("/predict", json=body)
        assert response.status_code in (200, 422), response.text


def test_the_documentation_shows_each_task_its_own_fields(http: httpx.Client) -> None:
    openapi = http.get("/openapi.json").json()
    for path in ("/predict", "/predict/stream"):
        schema = openapi["paths"][path]["post"]["requestBody"]["content"]["application/json"]["schema"]
        tasks = schema["discriminator"]["mapping"]
        assert set(tasks) == {"generate", "continue", "accompany", "infill", "variation", "embed"}
        assert {choice["$ref"] for choice in schema["oneOf"]} == set(tasks.values())
        models = {task: openapi["components"]["schemas"][name.rpartition("/")[2]] for task, name in tasks.items()}
        assert {task for task, model in models.items() if "prime_seconds" in model["properties"]} == {
            "continue",
            "accompany",
        }


def test_the_documentation_names_every_status(http: httpx.Client) -> None:
    operation = http.get("/openapi.json").json()["paths"]["/predict"]["post"]
    assert set(operation["responses"]) == {"200", "400", "401", "413", "415", "422", "429", "500", "503", "504"}


def test_every_request_has_a_trace_of_its_own(http: httpx.Client) -> None:
    first, second = (predict(http, task="embed", midi_input=encoded(CHORALE))["metadata"] for _ in range(2))
    assert first["trace_id"] != second["trace_id"]
    assert all(len(each["trace_id"]) == 32 and len(each["span_id"]) == 16 for each in (first, second))


def test_the_documentation_has_working_examples_of_each_task_and_of_bars_and_notes(http: httpx.Client) -> None:
    assert http.get("/docs").status_code == 200
    operation = http.get("/openapi.json").json()["paths"]["/predict"]["post"]
    examples = operation["requestBody"]["content"]["application/json"]["examples"]
    assert list(examples) == ["generate", "continue", "accompany", "infill", "variation", "embed", *MORE_EXAMPLES]
    for example in examples.values():
        short = {} if "length_bars" in example["value"] else {"length_seconds": 1, "num_variations": 1}
        predict(http, **example["value"] | {"model_size": "tiny"} | short)


def test_info_names_sizes_limits_and_version(http: httpx.Client) -> None:
    info = http.get("/info").json()
    assert (info["ready"], info["device"], info["default_size"]) == (True, "cpu", "tiny")
    tasks = ["generate", "continue", "accompany", "infill", "variation", "embed"]
    tiny = info["sizes"]["tiny"]
    assert (tiny["checkpoint"], tiny["loaded"], tiny["available"]) == ("weights/tiny", True, True)
    assert (tiny["parameters"], tiny["tasks"]) == (20_667_904, tasks)
    assert 0.5 < tiny["bytes"] / tiny["parameters"] < 8
    unknown = {"loaded": False, "available": False, "parameters": None, "tasks": None, "bytes": None}
    assert info["sizes"]["large"] == {"checkpoint": "stanford-crfm/music-large-800k", **unknown}
    assert info["limits"]["max_loaded"] is None
    assert info["capacity"]["tiny"] > 0
    assert info["limits"]["timeout_seconds"] == 300
    assert info["version"] == http.get("/openapi.json").json()["info"]["version"]


def test_from_the_end_the_whole_input_comes_back_and_new_notes_follow_it(http: httpx.Client) -> None:
    piece = codec.read_piece(CASTLE)
    whole, end = sorted(piece.notes), piece.length_ticks  # it ends on a beat behind the last note
    body = {"task": "continue", "midi_input": encoded(CASTLE), "prime_from": "end", "prime_seconds": 4}
    (variation,) = predict(http, **body, length_seconds=3, seed=1)["variations"]
    notes = sorted(notes_of(variation))
    assert notes[: len(whole)] == whole
    assert len(notes) > len(whole)
    assert all(end <= note.onset and note.onset + note.duration <= end + 300 for note in notes[len(whole) :])
    assert variation["duration_seconds"] == (end + 300) / 100
