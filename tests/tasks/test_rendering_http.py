"""POST /render of a real service: sound and images, refusals, and the life of the process that makes them."""

import io
import socket
import threading
import time
from collections.abc import Callable
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from xml.etree import ElementTree

import httpx
import numpy as np
import psutil
import pytest

from amt.midi.codec import read_piece, write_notes
from amt.midi.notes import Note
from tasks.rendering import MAX_NOTES, MAX_SECONDS, MEDIA_TYPES
from tests.amt.midi.building import song
from tests.conftest import GOLDEN, Service, descendants
from tests.test_api import encoded

ORGAN = 16
CHORALE = (GOLDEN / "midi/chorale_001.mid").read_bytes()
TONES = write_notes([Note(0, 40, 60, ORGAN), Note(100, 40, 60, ORGAN)])

needs_audio = pytest.mark.skipif(
    not (find_spec("tinysoundfont") and find_spec("soundfile")),
    reason="the group audio is not installed: uv run --group audio pytest",
)


@cache
def long() -> bytes:
    """A file that takes long to render."""
    return write_notes([Note(100 * second, 100, 40 + key, 48) for second in range(590) for key in range(24)])


def render(service: Service, content: bytes, path: str = "/render", **headers: str) -> httpx.Response:
    return httpx.post(f"{service.url}{path}", content=content, headers=headers, timeout=120)


def detail(response: httpx.Response, status: int) -> Any:
    assert response.status_code == status, response.text
    return response.json()["detail"]


def converter(service: Service) -> int:
    """The process that converts, spawned after the worker."""
    spawned = [
        pid for pid in descendants(service.process.pid) if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()
    ]
    return max(spawned, key=lambda pid: psutil.Process(pid).create_time())


def wait_until_busy(pid: int) -> None:
    """Return once a process runs, or waits for a processor."""
    while Path(f"/proc/{pid}/stat").read_text().split()[2] != "R":
        time.sleep(0.001)


@needs_audio
@pytest.mark.parametrize("name", ["wav", "flac", "ogg", "mp3"])
def test_sound_has_the_notes_where_the_file_has_them(name: str, service: Service) -> None:
    import soundfile

    response = render(service, TONES, f"/render?format={name}")
    assert (response.status_code, response.headers["content-type"]) == (200, MEDIA_TYPES[name])
    assert int(response.headers["content-length"]) == len(response.content)
    sound, rate = soundfile.read(io.BytesIO(response.content))
    assert 1.4 <= len(sound) / rate <= 4.5

    def level(begin: float, end: float) -> float:
        return float(np.std(sound[round(begin * rate) : round(end * rate)]))

    assert min(level(0.1, 0.35), level(1.1, 1.35)) > 20 * level(0.75, 0.95)


def test_the_image_has_every_note(service: Service) -> None:
    response = render(service, CHORALE, "/render?format=svg")
    assert (response.status_code, response.headers["content-type"]) == (200, "image/svg+xml")
    root = ElementTree.fromstring(response.content)
    rectangles = root.findall("{*}g[@class]/{*}rect")
    assert len(rectangles) == len(read_piece(CHORALE).notes)


@needs_audio
def test_without_a_wish_it_is_wav(service: Service) -> None:
    assert render(service, TONES).headers["content-type"] == "audio/wav"


def test_accept_says_what_it_is(service: Service) -> None:
    assert render(service, TONES, accept="image/*").headers["content-type"] == "image/svg+xml"
    assert "image/svg+xml" in detail(render(service, TONES, accept="text/html"), 406)


@pytest.mark.parametrize("kind", ["audio/midi", "application/octet-stream", "application/x-www-form-urlencoded", ""])
def test_the_bytes_may_be_called_anything(kind: str, service: Service) -> None:
    headers = {"content-type": kind} if kind else {}
    assert render(service, TONES, "/render?format=svg", **headers).status_code == 200


def test_files_wrapped_in_something_are_told_so(service: Service) -> None:
    files = {"file": ("a.mid", TONES)}
    response = httpx.post(f"{service.url}/render", files=files)
    assert detail(response, 415).startswith("the body has the content type multipart/form-data: send the bytes of")
    response = httpx.post(f"{service.url}/render", json={"midi_input": encoded(TONES)})
    assert "application/json" in detail(response, 415)


@pytest.mark.parametrize(
    "data",
    [b"hello", CHORALE[:10], CHORALE.replace(b"MTrk", b"XTrk"), song(file_type=7)],
    ids=["text", "short", "no tracks", "type 7"],
)
def test_bad_files_are_refused_in_the_words_of_predict(data: bytes, service: Service) -> None:
    predicted = httpx.post(f"{service.url}/predict", json={"task": "embed", "midi_input": encoded(data)}, timeout=60)
    rendered = render(service, data, "/render?format=svg")
    assert detail(rendered, 422).replace("render", "embed") == detail(predicted, 422)


@pytest.mark.parametrize(
    ("content", "path", "status", "words"),
    [
        (b"", "/render", 400, "the body is empty: send a MIDI file"),
        (b"A" * 9 * 2**20, "/render", 413, "too large"),
        (song([]), "/render?format=svg", 422, "holds no notes: there is nothing to render"),
        (write_notes([Note(0, 100 * MAX_SECONDS + 100, 60, 0)]), "/render?format=svg", 422, "lasts 10:01 minutes"),
        (write_notes([Note(0, 1, 60, 0)] * (MAX_NOTES + 1)), "/render?format=svg", 422, f"at most {MAX_NOTES}"),
    ],
    ids=["empty", "large", "no notes", "long", "dense"],
)
def test_refusals_say_what_is_allowed(content: bytes, path: str, status: int, words: str, service: Service) -> None:
    assert words in detail(render(service, content, path), status)


def test_an_unknown_format_is_named_as_fields_are(service: Service) -> None:
    (problem,) = detail(render(service, TONES, "/render?format=gif"), 422)
    assert problem["loc"] == ["query", "format"]
    assert all(name in problem["msg"] for name in MEDIA_TYPES)


def test_it_is_counted_and_traced_like_other_routes(service: Service, collector: Any) -> None:
    names = [
        "anticipatory_requests_total{size=-,status=200,task=render}",
        "anticipatory_compute_duration_seconds_count{size=-,task=render}",
    ]
    before = service.metrics()
    trace_id = "3af7651916cd43dd8448eb211c80319f"
    render(service, TONES, "/render?format=svg", traceparent=f"00-{trace_id}-b7ad6b7169203331-01")
    after = service.metrics()
    assert [after[name] - before.get(name, 0) for name in names] == [1, 1]
    (span,) = collector.of_trace(trace_id, 1)
    assert (span.name, span.parent_span_id.hex()) == ("render", "b7ad6b7169203331")
    assert f"render, job -, trace {trace_id}" in service.output()


def test_the_schema_says_what_goes_in_and_comes_out(service: Service) -> None:
    route = httpx.get(f"{service.url}/openapi.json").json()["paths"]["/render"]["post"]
    assert set(route["requestBody"]["content"]) == {"audio/midi", "application/octet-stream"}
    assert list(route["responses"]["200"]["content"]) == list(MEDIA_TYPES.values())
    assert {"400", "406", "413", "415", "422", "429", "501", "504"} <= route["responses"].keys()
    (parameter,) = route["parameters"]
    assert parameter["schema"]["anyOf"][0]["enum"] == list(MEDIA_TYPES)


@needs_audio
def test_a_client_that_goes_away_ends_the_work(service: Service) -> None:
    render(service, TONES, "/render?format=svg")
    pid = converter(service)
    name = "anticipatory_requests_total{size=-,status=499,task=render}"
    before = service.metrics().get(name, 0)
    address = urlsplit(service.url)
    head = f"POST /render?format=mp3 HTTP/1.1\r\nHost: x\r\nContent-Length: {len(long())}\r\n\r\n"
    with socket.create_connection((address.hostname, address.port)) as client:
        client.sendall(head.encode() + long())
        wait_until_busy(pid)
    service.wait_for(name, before + 1)
    assert not Path(f"/proc/{pid}").exists()
    assert render(service, TONES, "/render?format=svg").status_code == 200


@needs_audio
@pytest.mark.slow
def test_time_is_bounded_and_the_queue_too(start: Callable[..., Service]) -> None:
    own = start("--default-model", "tiny", "--timeout", "6")
    own.wait_until_listening()
    answers: list[httpx.Response] = []
    ask = lambda: answers.append(render(own, long(), "/render?format=mp3"))  # noqa: E731
    threads = [threading.Thread(target=ask) for _ in range(10)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    statuses = sorted(answer.status_code for answer in answers)
    assert statuses == [429] + [504] * 9
    (busy,) = [answer for answer in answers if answer.status_code == 429]
    assert busy.headers["retry-after"] == "5"
    assert own.stop() == 0


@needs_audio
@pytest.mark.slow
def test_a_service_that_stops_says_so_and_leaves_nothing_behind(start: Callable[..., Service]) -> None:
    own = start("--default-model", "tiny", "--drain-timeout", "0.5")
    own.wait_until_listening()
    render(own, TONES, "/render?format=svg")
    pid = converter(own)
    answers: list[httpx.Response] = []
    asking = threading.Thread(target=lambda: answers.append(render(own, long(), "/render?format=mp3")))
    asking.start()
    wait_until_busy(pid)
    assert own.stop() == 0
    asking.join()
    assert detail(answers[0], 503).startswith("the service has been stopped before this was finished")
    assert not Path(f"/proc/{pid}").exists()


@pytest.mark.slow
def test_without_the_libraries_it_draws_and_says_how_to_get_them(start: Callable[..., Service], tmp_path: Path) -> None:
    without = "import sys\nsys.modules['tinysoundfont'] = None\n"  # as if it were not installed
    (tmp_path / "sitecustomize.py").write_text(without)
    own = start("--default-model", "tiny", PYTHONPATH=str(tmp_path))
    own.wait_until_listening()
    assert render(own, TONES).headers["content-type"] == "image/svg+xml"
    for path, accept in (("/render?format=mp3", "*/*"), ("/render", "audio/wav")):
        assert "uv run --group audio python server.py" in detail(render(own, TONES, path, accept=accept), 501)
    assert own.stop() == 0
