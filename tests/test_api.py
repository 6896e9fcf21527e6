"""The contract, over HTTP, against a real service with the bundled model."""

import base64
import io
import json
import random
import time
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import httpx
import mido
import pytest

from amt import midi
from amt.events import Note
from tests.conftest import GOLDEN, Service

CASTLE = (GOLDEN / "midi/easyrpg_castle1.mid").read_bytes()
CHORALE = (GOLDEN / "midi/chorale_001.mid").read_bytes()

METADATA = {
    "model_size", "model_id", "device", "client_job_id", "trace_id", "span_id", "queue_seconds", "compute_seconds",
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
    return midi.read_notes(base64.b64decode(variation["midi_base64"]))


def refusal(http: httpx.Client, status: int = 422, **body: Any) -> str:
    response = http.post("/predict", json=body)
    assert response.status_code == status, response.text
    return json.dumps(response.json()["detail"])


def test_health_is_ok(http: httpx.Client) -> None:
    response = http.get("/health")
    assert (response.status_code, response.text) == (200, "ok")


def test_generate_answers_as_specified(http: httpx.Client) -> None:
    result = predict(http, task="generate", length_seconds=2.0, top_p=0.95, num_variations=1, client_job_id="job.1")
    assert set(result) == {"task", "variations", "metadata"}
    assert result["task"] == "generate"
    (variation,) = result["variations"]
    assert set(variation) == {"midi_base64", "num_events", "duration_seconds"}
    assert variation["duration_seconds"] == 2.0
    assert set(result["metadata"]) == METADATA
    assert result["metadata"]["client_job_id"] == "job.1"


def test_the_generated_file_lasts_as_long_as_asked_and_holds_the_notes_counted(http: httpx.Client) -> None:
    (variation,) = predict(http, task="generate", length_seconds=10)["variations"]
    file = mido.MidiFile(file=io.BytesIO(base64.b64decode(variation["midi_base64"])))
    assert file.length == pytest.approx(10.0)
    assert sum(message.type == "note_on" for message in file) == variation["num_events"] > 0


def test_an_empty_request_generates_with_the_defaults(http: httpx.Client) -> None:
    result = predict(http)
    assert result["task"] == "generate"
    assert [variation["duration_seconds"] for variation in result["variations"]] == [20.0]
    assert result["metadata"]["model_size"] == "tiny"


def test_variations_differ(http: httpx.Client) -> None:
    result = predict(http, task="generate", length_seconds=4, num_variations=5)
    assert len({variation["midi_base64"] for variation in result["variations"]}) == 5


def test_continue_answers_as_specified(http: httpx.Client) -> None:
    result = predict(http, task="continue", midi_input=encoded(CHORALE), prime_seconds=5.0, length_seconds=3.0)
    assert set(result) == {"task", "variations", "prime_seconds", "metadata"}
    assert result["prime_seconds"] == 5.0
    assert result["variations"][0]["duration_seconds"] == 8.0


@pytest.mark.parametrize("name", ["easyrpg_castle1", "freedoom_e1m2", "twenty_programs", "chorale_010"])
def test_the_prime_comes_back_note_for_note_and_new_notes_follow_it(name: str, http: httpx.Client) -> None:
    data = (GOLDEN / f"midi/{name}.mid").read_bytes()
    prime = sorted(note for note in midi.read_notes(data) if note.onset < 400)
    result = predict(http, task="continue", midi_input=encoded(data), prime_seconds=4, length_seconds=2)
    notes = sorted(notes_of(result["variations"][0]))
    assert notes[: len(prime)] == prime
    assert all(400 <= note.onset < 600 and note.onset + note.duration <= 600 for note in notes[len(prime) :])


def test_a_piece_shorter_than_the_prime_is_continued_from_its_end(http: httpx.Client) -> None:
    data = midi.write_notes([Note(0, 150, 60, 0)])
    result = predict(http, task="continue", midi_input=encoded(data), prime_seconds=5, length_seconds=2)
    assert result["prime_seconds"] == 5
    assert result["variations"][0]["duration_seconds"] == 3.5


def test_embed_answers_as_specified(http: httpx.Client) -> None:
    result = predict(http, task="embed", midi_input=encoded(CHORALE), embed_layer=-3)
    assert set(result) == {
        "task", "embedding", "embedding_dim", "layer", "num_tokens", "original_tokens", "truncated", "metadata",
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
        ({"num_variations": 6}, "num_variations must be in range 1..5"),
        ({"model_size": "huge"}, "'tiny', 'small', 'medium' or 'large'"),
        ({"task": "compose"}, "'generate', 'continue' or 'embed'"),
        ({"client_job_id": "two words"}, "client_job_id"),
        ({"seconds": 3}, "seconds"),
        ({"task": "continue"}, "midi_input"),
        ({"task": "embed", "midi_input": "%%%"}, "base64"),
        ({"task": "embed", "midi_input": encoded(b"hello")}, "not a MIDI file"),
        ({"task": "embed", "midi_input": encoded(midi.write_notes([]))}, "no notes"),
        ({"task": "continue", "midi_input": encoded(midi.write_notes([]))}, "no notes"),
        ({"task": "embed", "midi_input": encoded(CHORALE), "embed_layer": 7}, "embed_layer must be in range -7..6"),
    ],
)
def test_a_wrong_request_is_refused_with_the_reason(body: dict[str, Any], complaint: str, http: httpx.Client) -> None:
    assert complaint in refusal(http, **body)


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
    for _ in range(40):
        data = bytearray(rng.choice([CHORALE, CASTLE[:3_000]]))
        for _ in range(rng.randrange(1, 30)):
            data[rng.randrange(len(data))] = rng.randrange(256)
        body = {"task": "embed", "midi_input": encoded(bytes(data[: rng.randrange(20, len(data))]))}
        response = http.post("/predict", json=body)
        assert response.status_code in (200, 422), response.text


def test_the_callers_trace_is_continued_to_the_collector(http: httpx.Client, collector: Any) -> None:
    trace_id, caller = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
    body = {"task": "continue", "midi_input": encoded(CHORALE), "length_seconds": 1}
    response = http.post("/predict", json=body, headers={"traceparent": f"00-{trace_id}-{caller}-01"})
    metadata = response.json()["metadata"]
    assert metadata["trace_id"] == trace_id
    spans = {span.name: span for span in collector.of_trace(trace_id, 4)}
    assert set(spans) == {"predict continue", "decode", "generate", "encode"}
    root = spans.pop("predict continue")
    assert (root.parent_span_id.hex(), root.span_id.hex()) == (caller, metadata["span_id"])
    assert {span.parent_span_id for span in spans.values()} == {root.span_id}


def test_the_documentation_names_every_status(http: httpx.Client) -> None:
    operation = http.get("/openapi.json").json()["paths"]["/predict"]["post"]
    assert set(operation["responses"]) == {"200", "400", "401", "413", "422", "429", "500", "503", "504"}


def test_a_clients_mistake_does_not_count_as_a_failure_of_the_service(http: httpx.Client, collector: Any) -> None:
    trace_id = "1af7651916cd43dd8448eb211c80319d"
    body = {"task": "embed", "midi_input": encoded(b"hello")}
    http.post("/predict", json=body, headers={"traceparent": f"00-{trace_id}-b7ad6b7169203331-01"})
    (root,) = [span for span in collector.of_trace(trace_id, 2) if span.name == "predict embed"]
    assert {each.key: each.value.int_value for each in root.attributes}["http.response.status_code"] == 422
    assert root.status.code == root.status.STATUS_CODE_UNSET


def test_every_request_has_a_trace_of_its_own(http: httpx.Client) -> None:
    first, second = (predict(http, task="embed", midi_input=encoded(CHORALE))["metadata"] for _ in range(2))
    assert first["trace_id"] != second["trace_id"]
    assert all(len(each["trace_id"]) == 32 and len(each["span_id"]) == 16 for each in (first, second))


def test_the_documentation_has_a_working_example_of_each_task(http: httpx.Client) -> None:
    assert http.get("/docs").status_code == 200
    operation = http.get("/openapi.json").json()["paths"]["/predict"]["post"]
    examples = operation["requestBody"]["content"]["application/json"]["examples"]
    assert list(examples) == ["generate", "continue", "embed"]
    for example in examples.values():
        predict(http, **example["value"] | {"model_size": "tiny", "length_seconds": 1, "num_variations": 1})


def descendants(pid: int) -> set[int]:
    """All processes below one, itself included."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return {pid}.union(*(descendants(int(child)) for child in children))


def running(pids: set[int]) -> set[int]:
    """Those that are still there five seconds later; Python's resource tracker outlives its parent by a moment."""
    deadline = time.monotonic() + 5
    while (left := {pid for pid in pids if Path(f"/proc/{pid}").exists()}) and time.monotonic() < deadline:
        time.sleep(0.05)
    return left


def test_stopping_finishes_what_runs_and_leaves_nothing_behind() -> None:
    own = Service("--default-model", "tiny")
    own.wait_until_ready()
    processes = descendants(own.process.pid)
    assert len(processes) > 2
    connection = HTTPConnection(own.url.removeprefix("http://"), timeout=60)
    connection.request("POST", "/predict", body='{"length_seconds": 10}', headers={"content-type": "application/json"})
    assert httpx.get(f"{own.url}/health").text == "ok"  # asked later, so the request before it has been taken
    assert own.stop() == 0
    assert connection.getresponse().status == 200
    connection.close()
    assert not running(processes)


def test_stopping_before_the_model_is_loaded_is_quick_and_clean() -> None:
    own = Service("--default-model", "tiny")
    while not len(descendants(own.process.pid)) > 2:  # the worker has been started
        assert own.process.poll() is None
    processes = descendants(own.process.pid)
    assert own.stop() == 0
    assert "Traceback" not in own.output()
    assert not running(processes)
