"""POST /predict/stream: the same request, answered while it is made."""

import base64
import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from amt.midi import codec
from tests.conftest import GOLDEN, Service

CHORALE = base64.b64encode((GOLDEN / "midi/chorale_001.mid").read_bytes()).decode()


def events(service: Service, **body: Any) -> Iterator[tuple[str, Any]]:
    """(name, data) as they come; every event is two lines and an empty one."""
    with httpx.stream("POST", f"{service.url}/predict/stream", json=body, timeout=120) as answer:
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/event-stream")
        lines = answer.iter_lines()
        for name, data, empty in zip(lines, lines, lines, strict=True):
            assert empty == ""
            yield name.removeprefix("event: "), json.loads(data.removeprefix("data: "))


@pytest.fixture(scope="module")
def two_variations(service: Service) -> list[tuple[str, Any]]:
    body = {"task": "continue", "midi_input": CHORALE, "prime_seconds": 2, "length_seconds": 4, "seed": 1}
    return list(events(service, **body, num_variations=2))


def named(found: list[tuple[str, Any]], name: str) -> list[Any]:
    return [data for each, data in found if each == name]


def test_the_result_comes_last_and_is_what_predict_answers(two_variations: list[tuple[str, Any]]) -> None:
    assert [name for name, _ in two_variations].index("result") == len(two_variations) - 1
    result = two_variations[-1][1]
    assert set(result) == {"task", "variations", "prime_seconds", "timing", "notices", "metadata"}
    assert len(result["variations"]) == 2


@pytest.mark.parametrize("variation", [0, 1])
def test_the_notes_are_those_of_the_result(variation: int, two_variations: list[tuple[str, Any]]) -> None:
    file = codec.read_notes(base64.b64decode(two_variations[-1][1]["variations"][variation]["midi_base64"]))
    new = sorted((note.onset / 100, note.pitch, note.instrument) for note in file if note.onset >= 200)
    notes = [note for note in named(two_variations, "note") if note["variation"] == variation]
    assert sorted((note["onset"], note["pitch"], note["instrument"]) for note in notes) == new
    fields = {"variation", "onset", "duration", "pitch", "instrument", "velocity", "is_new"}
    assert all(set(note) == fields and note["is_new"] for note in notes)


def test_notes_are_told_in_the_form_of_the_result_and_in_its_unit(service: Service) -> None:
    body = {"length_bars": 2, "bpm": 100, "grid": "1/8", "time_unit": "beats", "include": ["notes"], "seed": 1}
    found = list(events(service, **body))
    [variation] = found[-1][1]["variations"]
    told = [{name: value for name, value in note.items() if name != "variation"} for note in named(found, "note")]
    assert sorted(told, key=str) == sorted(variation["notes"], key=str)
    assert told


def test_progress_only_grows_and_reaches_the_end(two_variations: list[tuple[str, Any]]) -> None:
    progress = named(two_variations, "progress")
    assert [each["seconds"] for each in progress] == sorted(each["seconds"] for each in progress)
    assert [each["events"] for each in progress] == sorted(each["events"] for each in progress)
    assert (progress[-1]["seconds"], progress[-1]["total_seconds"]) == (4.0, 4.0)


def test_an_embed_is_a_stream_of_its_result(service: Service) -> None:
    ((name, data),) = events(service, task="embed", midi_input=CHORALE)
    assert (name, data["embedding_dim"]) == ("result", 256)


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"length_seconds": 0}, 422),
        ({"task": "continue", "midi_input": "AAAA"}, 422),
        ({"task": "embed", "midi_input": CHORALE, "embed_layer": 99}, 422),
        ({"model_size": "medium"}, 503),
    ],
)
def test_an_error_before_the_first_event_has_a_status_of_its_own(
    body: dict[str, Any], status: int, service: Service
) -> None:
    response = httpx.post(f"{service.url}/predict/stream", json=body, timeout=60)
    assert (response.status_code, set(response.json())) == (status, {"detail"})
