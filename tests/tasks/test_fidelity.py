"""What is handed in comes back whole, over HTTP, with the bundled model."""

import base64
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from amt.midi import codec
from tests.amt.midi.building import body, control, gs_rhythm, meta, name, note, on, program, song, tempo
from tests.amt.midi.damaging import damaged_files
from tests.amt.midi.hearing import Hearing
from tests.conftest import Service
from tests.test_api import encoded, predict

SHORT: Any = {"length_seconds": 1, "on_degenerate": "keep", "seed": 1}
PIANO = [
    *(name("ピアノ".encode("cp932")), program(0, 0), control(0, 7, 77), control(0, 64, 127)),
    *(note(0, 250, 60) + note(250, 500, 64) + note(1_500, 2_000, 67)),
    *(control(1_900, 64, 0), meta(1_000, 0x05, b"La")),
]
DRUMS = [
    name("Kit"),
    gs_rhythm(0, 10, 1),
    *(each for beat in range(4) for each in note(500 * beat, 500 * beat + 90, 40, 10)),
]
WHOLE = song([tempo(0, 500_000), meta(0, 0x02, b"(C)")], PIANO, DRUMS)
UNCLOSED = song(body(on(0, 60), note(0, 1_900, 64), end=2_000))


@pytest.fixture
def http(service: Service) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=service.url, timeout=120) as client:
        yield client


def heard(result: dict[str, Any]) -> Hearing:
    return Hearing(base64.b64decode(result["variations"][0]["midi_base64"]))


def test_from_its_end_a_file_comes_back_with_all_that_it_says(http: httpx.Client) -> None:
    result = predict(http, task="continue", midi_input=encoded(WHOLE), prime_from="end", **SHORT)
    hearing = heard(result)
    assert result["notices"] == []
    assert result["variations"][0]["duration_seconds"] == 3.0
    assert hearing.names[1:3] == ["ピアノ".encode("cp932").decode("latin-1"), "Kit"]
    assert [len(own) for own in hearing.texts[:3]] == [1, 1, 0]
    piano = [each for each in hearing.notes if each.track == 1 and each.begin < 2_000]
    assert [(each.begin, each.end, each.state["control", 7]) for each in piano] == [
        (0, 250, 77),
        (250, 500, 77),
        (1_500, 2_000, 77),
    ]


def test_infill_gives_back_the_controllers_of_the_span(http: httpx.Client) -> None:
    fields = {"start_seconds": 0.4, "end_seconds": 1.4, "on_degenerate": "keep", "seed": 1}
    hearing = heard(predict(http, task="infill", midi_input=encoded(WHOLE), **fields))
    assert [text for own in hearing.texts for _, text in own if "La" in text]


def test_a_track_is_found_by_its_name_in_shift_jis(http: httpx.Client) -> None:
    result = predict(http, task="accompany", midi_input=encoded(WHOLE), melody_tracks=["ピアノ"], **SHORT)
    assert sum(each.velocity == 64 and each.track == 1 for each in heard(result).notes) == 3


@pytest.mark.parametrize("task", [{"task": "continue", "prime_seconds": 2, **SHORT}, {"task": "embed"}])
def test_every_answer_says_what_was_mended(http: httpx.Client, task: dict[str, Any]) -> None:
    assert predict(http, **task, midi_input=encoded(UNCLOSED))["notices"] == ["1 note was never closed"]


def test_each_of_several_files_has_its_own_notices(http: httpx.Client) -> None:
    files = predict(http, task="embed", midi_inputs=[encoded(WHOLE), encoded(UNCLOSED)])["files"]
    assert [each["notices"] for each in files] == [[], ["1 note was never closed"]]


def test_with_the_pedal_applied_the_model_sees_other_notes(http: httpx.Client) -> None:
    keep, apply = (
        predict(http, task="embed", midi_input=encoded(WHOLE), sustain=sustain)["embedding"]
        for sustain in ("keep", "apply")
    )
    assert keep != apply


@pytest.mark.parametrize("task", ["embed", "continue", "infill"])
def test_no_damaged_file_is_an_error_of_the_service(http: httpx.Client, task: str) -> None:
    fields: dict[str, Any] = {
        "embed": {},
        "continue": {"prime_from": "end", **SHORT},
        "infill": {"start_seconds": 0.1, "end_seconds": 0.3, "seed": 1, "on_degenerate": "keep"},
    }[task]
    statuses = []
    for data in damaged_files(7, 12):
        answer = http.post("/predict", json={"task": task, "midi_input": encoded(data), **fields})
        statuses.append(answer.status_code)
        if answer.status_code == 200 and task != "embed":
            for variation in answer.json()["variations"]:
                codec.read_notes(base64.b64decode(variation["midi_base64"]))
    assert set(statuses) <= {200, 422}
    assert statuses.count(200) > 3
