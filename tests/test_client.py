import asyncio
import base64
import inspect
import json
import os
import pickle
import pty
import re
import signal
import subprocess
import sys
import termios
import threading
import time
import weakref
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator, Mapping
from contextlib import aclosing, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

import client
from amt import midi
from client import (
    LONGEST_WAIT_SECONDS,
    AnticipatoryClient,
    AnticipatoryError,
    AsyncAnticipatoryClient,
    Busy,
    ConnectionFailed,
    ConnectionLost,
    Event,
    InvalidRequest,
    RequestTimeout,
    ServerFault,
    ServiceError,
    Unauthorized,
    Unavailable,
    UnexpectedAnswer,
    retry_wait_seconds,
)
from tests.conftest import GOLDEN, Service

MIDI = b"MThd and so on"
CLIENT = Path(client.__file__)
METADATA = {"model_size": "tiny", "device": "cpu"}
NOW = {"Retry-After": "0"}
SSE = {"Content-Type": "text/event-stream; charset=utf-8"}
NOTE = Event("note", {"variation": 0, "onset": 0.5, "duration": 0.25, "pitch": 60, "instrument": 0, "velocity": 72})
PROGRESS = Event("progress", {"seconds": 5.0, "total_seconds": 20.0, "events": 3})


@dataclass
class Answer:
    """What the scripted server says to one request: a text, JSON, or parts of a text and what to do between them."""

    body: Any
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)


DROP = Answer("", 0)
"""Close the connection without a word."""

BREAK = Answer("half an answer", headers={"Content-Length": "1000"})
"""Close the connection in the middle of an answer."""

SILENCE = Answer("", 0)
"""Say nothing until the test is over."""

EMBEDDING = Answer(
    {
        "task": "embed",
        "embedding": [0.5, -1.0],
        "embedding_dim": 2,
        "num_tokens": 1023,
        "original_tokens": 3000,
        "metadata": METADATA,
    }
)


def music(*notes: int, task: str = "generate") -> Answer:
    """An answer of variations with these numbers of notes."""
    encoded = base64.b64encode(MIDI).decode()
    variations = [{"midi_base64": encoded, "num_events": each, "duration_seconds": 10.0} for each in notes]
    return Answer({"task": task, "variations": variations, "metadata": METADATA})


def sse(name: str, data: Any) -> str:
    """A server-sent event as the service writes it."""
    return f"event: {name}\ndata: {json.dumps(data)}\n\n"


def streamed(*parts: Any, **headers: str) -> Answer:
    """A stream: events, texts, answers whose body becomes the result, and what to do between them."""
    texts = tuple(sse("result", part.body) if isinstance(part, Answer) else part for part in parts)
    return Answer(tuple(sse(*part) if isinstance(part, Event) else part for part in texts), 200, SSE | headers)


@dataclass
class Received:
    """A request that the scripted server was sent."""

    path: str
    headers: Mapping[str, str]
    body: Any


class Scripted(ThreadingHTTPServer):
    """A real server that answers by script."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.script: list[Answer | Callable[[], Answer]] = []
        self.received: list[Received] = []
        self.over = threading.Event()
        self.may_go_on = threading.Event()
        self.hung_up = threading.Event()

    @property
    def bodies(self) -> list[Any]:
        return [each.body for each in self.received]


class Handler(BaseHTTPRequestHandler):
    server: Scripted

    def do_POST(self) -> None:
        length = int(self.headers.get("Content-Length", 0))
        body = json.loads(self.rfile.read(length)) if length else None
        self.server.received.append(Received(self.path, dict(self.headers.items()), body))
        answer = self.server.script.pop(0) if self.server.script else Answer("the script is over", 500)
        if callable(answer):
            answer = answer()
        if answer is SILENCE:
            self.server.over.wait()
        if answer is SILENCE or answer is DROP:
            return
        whole = answer.body if isinstance(answer.body, str | tuple) else json.dumps(answer.body)
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        self.end_headers()
        for part in whole if isinstance(whole, tuple) else (whole,):
            part(self) if callable(part) else self.wfile.write(part.encode())

    def pause(self) -> None:
        """Between two parts of an answer: until the test lets it go on."""
        self.server.may_go_on.wait()

    def listen(self) -> None:
        """Between two parts of an answer: until the client has hung up."""
        if self.rfile.read(1) == b"":
            self.server.hung_up.set()

    def do_GET(self) -> None:
        self.do_POST()

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def scripted() -> Iterator[Scripted]:
    with Scripted() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.over.set()
        server.may_go_on.set()
        server.shutdown()
        thread.join()


Ask = Callable[..., Any]


def ask_sync(url: str, method: str, *arguments: Any, options: Mapping[str, Any] = {}, **fields: Any) -> Any:
    with AnticipatoryClient(url, **options) as each:
        return getattr(each, method)(*arguments, **fields)


def ask_async(url: str, method: str, *arguments: Any, options: Mapping[str, Any] = {}, **fields: Any) -> Any:
    async def run() -> Any:
        async with AsyncAnticipatoryClient(url, **options) as each:
            return await getattr(each, method)(*arguments, **fields)

    return asyncio.run(run())


def with_client(url: str, run: Callable[[AsyncAnticipatoryClient], Coroutine[Any, Any, None]]) -> None:
    async def main() -> None:
        async with AsyncAnticipatoryClient(url) as each:
            await run(each)

    asyncio.run(main())


@pytest.fixture(params=[ask_sync, ask_async], ids=["sync", "async"])
def ask(request: pytest.FixtureRequest) -> Ask:
    """Calls a method of one of the two clients."""
    chosen: Ask = request.param
    return chosen


def hear_sync(
    url: str, *arguments: Any, heard: list[Event] | None = None, options: Mapping[str, Any] = {}, **fields: Any
) -> list[Event]:
    events = [] if heard is None else heard
    with AnticipatoryClient(url, **options) as each:
        for event in each.stream(*arguments, **fields):
            events.append(event)
    return events


def hear_async(
    url: str, *arguments: Any, heard: list[Event] | None = None, options: Mapping[str, Any] = {}, **fields: Any
) -> list[Event]:
    events = [] if heard is None else heard

    async def run() -> None:
        async with AsyncAnticipatoryClient(url, **options) as each:
            async for event in each.stream(*arguments, **fields):
                events.append(event)

    asyncio.run(run())
    return events


@pytest.fixture(params=[hear_sync, hear_async], ids=["sync", "async"])
def hear(request: pytest.FixtureRequest) -> Ask:
    """All events of a stream of one of the two clients; also in `heard`, should it end in an error."""
    chosen: Ask = request.param
    return chosen


def nobody() -> str:
    """An address where nothing listens: it was free a moment ago."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        return f"http://127.0.0.1:{server.server_port}"


# What is sent


def test_generate_sends_the_contracts_request(scripted: Scripted, ask: Ask) -> None:
    scripted.script = [music(3)]
    ask(scripted.url, "generate", length_seconds=10)
    [sent] = scripted.received
    assert sent.path == "/predict"
    assert sent.body == {"task": "generate", "length_seconds": 10, "top_p": 0.95, "num_variations": 1}


def test_continue_sends_the_contracts_request(scripted: Scripted, ask: Ask) -> None:
    scripted.script = [music(3, task="continue")]
    fields = {"top_p": 0.9, "model_size": "small", "num_variations": 2, "client_job_id": "job"}
    ask(scripted.url, "continue_midi", MIDI, 7.0, 9.0, **fields)
    midi_input = base64.b64encode(MIDI).decode()
    own = {"task": "continue", "midi_input": midi_input, "prime_seconds": 7.0, "length_seconds": 9.0}
    assert scripted.bodies == [{**own, **fields}]


def test_embed_sends_the_contracts_request(scripted: Scripted, ask: Ask) -> None:
    scripted.script = [EMBEDDING]
    ask(scripted.url, "embed", MIDI)
    midi_input = base64.b64encode(MIDI).decode()
    assert scripted.bodies == [{"task": "embed", "midi_input": midi_input, "embed_layer": -3}]


def test_a_midi_file_is_given_as_bytes_or_as_a_path(scripted: Scripted, tmp_path: Path) -> None:
    path = tmp_path / "in.mid"
    path.write_bytes(MIDI)
    scripted.script = [EMBEDDING] * 5
    with AnticipatoryClient(scripted.url) as each:
        for midi in (MIDI, bytearray(MIDI), memoryview(MIDI), path, str(path)):
            each.embed(midi)
    assert {body["midi_input"] for body in scripted.bodies} == {base64.b64encode(MIDI).decode()}


def test_headers_are_passed_through(scripted: Scripted, ask: Ask) -> None:
    scripted.script = [music(1)]
    ask(scripted.url, "generate", headers={"traceparent": "00-1-2-01"})
    assert scripted.received[0].headers["traceparent"] == "00-1-2-01"


@pytest.mark.parametrize(
    ("options", "environment", "sent"),
    [
        ({"api_key": "mine"}, "theirs", "mine"),
        ({"api_key": " line\n"}, "theirs", "line"),
        ({}, "theirs", "theirs"),
        ({"api_key": ""}, "theirs", None),
        ({}, "", None),
    ],
)
def test_the_key_is_the_given_one_or_the_environments(
    scripted: Scripted, monkeypatch: pytest.MonkeyPatch, options: Any, environment: str, sent: str | None
) -> None:
    monkeypatch.setenv("LIT_SERVER_API_KEY", environment)
    scripted.script = [music(1)]
    ask_sync(scripted.url, "generate", options=options)
    assert scripted.received[0].headers.get("X-API-Key") == sent


def test_the_key_is_sent_with_every_request(scripted: Scripted, ask: Ask, hear: Ask) -> None:
    scripted.script = [EMBEDDING, streamed(EMBEDDING), Answer("ok")]
    options = {"api_key": "mine"}
    ask(scripted.url, "embed", MIDI, options=options)
    hear(scripted.url, "embed", MIDI, options=options)
    ask(scripted.url, "health", options=options)
    assert [each.headers["X-API-Key"] for each in scripted.received] == ["mine"] * 3


def test_the_service_may_live_below_a_path(scripted: Scripted, ask: Ask) -> None:
    scripted.script = [music(1)]
    ask(f"{scripted.url}/amt/", "generate")
    assert scripted.received[0].path == "/amt/predict"


def test_both_clients_have_the_contracts_defaults() -> None:
    for kind in (AnticipatoryClient, AsyncAnticipatoryClient):
        parameters = inspect.signature(kind).parameters
        defaults = {name: parameters[name].default for name in ("base_url", "timeout", "max_retries")}
        assert defaults == {"base_url": "http://localhost:2011", "timeout": 330.0, "max_retries": 3}


@pytest.mark.parametrize("url", ["localhost:2011", "ftp://host", "http://", "http://host:port", ""])
def test_what_is_no_address_is_refused_at_once(url: str) -> None:
    with pytest.raises(ValueError, match="is not an address"):
        AnticipatoryClient(url)


# What comes back


def test_a_result_is_the_answer_with_the_midi_decoded(scripted: Scripted, ask: Ask) -> None:
    scripted.script = [music(3, 4)]
    result = ask(scripted.url, "generate", num_variations=2)
    assert [variation.pop("midi_bytes") for variation in result["variations"]] == [MIDI, MIDI]
    assert result == music(3, 4).body


def test_an_embedding_comes_back_as_sent(scripted: Scripted, ask: Ask) -> None:
    scripted.script = [EMBEDDING]
    assert ask(scripted.url, "embed", MIDI) == EMBEDDING.body


def test_the_code_in_the_contract_works(scripted: Scripted, tmp_path: Path) -> None:
    (tmp_path / "input.mid").write_bytes(MIDI)
    scripted.script = [music(3), music(3, task="continue"), EMBEDDING]
    contract = f"""if True:
        from client import AnticipatoryClient

        client = AnticipatoryClient("{scripted.url}")

        # Generate music
        result = client.generate(length_seconds=10)
        midi_bytes = result["variations"][0]["midi_bytes"]

        with open("output.mid", "wb") as f:
            f.write(midi_bytes)

        # Continue from MIDI
        with open("input.mid", "rb") as f:
            result = client.continue_midi(f.read(), prime_seconds=5)

        # Get embedding
        result = client.embed(midi_bytes)
        embedding = result["embedding"]  # 768-dim vector
        print(embedding)
    """
    command = [sys.executable, "-W", "error", "-c", contract]
    environment = {**os.environ, "PYTHONPATH": str(CLIENT.parent)}
    run = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
    assert (run.stdout, run.stderr) == ("[0.5, -1.0]\n", "")
    assert (tmp_path / "output.mid").read_bytes() == MIDI
    assert [body["task"] for body in scripted.bodies] == ["generate", "continue", "embed"]


def test_a_client_that_is_forgotten_closes_its_connections(scripted: Scripted) -> None:
    scripted.script = [music(1)]
    forgotten = AnticipatoryClient(scripted.url)
    forgotten.generate()
    http, gone = forgotten._http, weakref.ref(forgotten)
    del forgotten
    assert gone() is None
    assert http.is_closed


@pytest.mark.parametrize(
    ("answer", "healthy"),
    [
        (Answer("ok"), True),
        (Answer("not ready", 503), False),
        (Answer("<html>another server</html>"), False),
        (Answer("", 500), False),
        (DROP, False),
    ],
)
def test_health_is_read_as_text(scripted: Scripted, ask: Ask, answer: Answer, healthy: bool) -> None:
    scripted.script = [answer]
    assert ask(scripted.url, "health") is healthy
    assert [each.path for each in scripted.received] == ["/health"]


def test_a_service_that_is_not_there_is_not_healthy(ask: Ask) -> None:
    assert ask(nobody(), "health") is False


# Streams


@pytest.mark.parametrize(
    ("arguments", "fields", "body"),
    [
        ((), {"length_seconds": 10}, {"task": "generate", "length_seconds": 10}),
        (("generate",), {"top_p": 0.9, "model_size": None}, {"task": "generate", "top_p": 0.9}),
        (("continue", b"hi"), {"prime_seconds": 3}, {"task": "continue", "midi_input": "aGk=", "prime_seconds": 3}),
        (("embed", b"hi"), {"embed_layer": -1}, {"task": "embed", "midi_input": "aGk=", "embed_layer": -1}),
    ],
)
def test_a_stream_asks_for_any_task(
    scripted: Scripted, hear: Ask, arguments: Any, fields: Mapping[str, Any], body: Any
) -> None:
    scripted.script = [streamed(EMBEDDING)]
    hear(scripted.url, *arguments, headers={"traceparent": "00-1-2-01"}, **fields)
    [sent] = scripted.received
    assert (sent.path, sent.body, sent.headers["traceparent"]) == ("/predict/stream", body, "00-1-2-01")


def test_the_last_event_is_what_generate_returns(scripted: Scripted, ask: Ask, hear: Ask) -> None:
    scripted.script = [streamed(NOTE, PROGRESS, music(3, 4)), music(3, 4)]
    events = hear(scripted.url)
    assert events == [NOTE, PROGRESS, Event("result", ask(scripted.url, "generate"))]
    assert events[-1].data["variations"][0]["midi_bytes"] == MIDI


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_comments_line_ends_and_unknown_events_do_not_matter(scripted: Scripted, hear: Ask, newline: str) -> None:
    text = ': hello\n\nid: 1\nevent:note\n: still here\ndata:{"pitch": 1}\n\n\nevent: news\ndata: {}\n\n'
    scripted.script = [streamed(text.replace("\n", newline), EMBEDDING)]
    expected = [Event("note", {"pitch": 1}), Event("news", {}), Event("result", EMBEDDING.body)]
    assert hear(scripted.url) == expected


def test_events_come_as_they_happen(scripted: Scripted) -> None:
    scripted.script = [streamed(NOTE, Handler.pause, PROGRESS, EMBEDDING)]
    with AnticipatoryClient(scripted.url) as each:
        events = each.stream()
        assert next(events) == NOTE
        scripted.may_go_on.set()
        assert next(events) == PROGRESS


def test_events_come_as_they_happen_async(scripted: Scripted) -> None:
    async def run(each: AsyncAnticipatoryClient) -> None:
        events = each.stream()
        assert await anext(events) == NOTE
        scripted.may_go_on.set()
        assert [event.name async for event in events] == ["progress", "result"]

    scripted.script = [streamed(NOTE, Handler.pause, PROGRESS, EMBEDDING)]
    with_client(scripted.url, run)


def test_leaving_the_loop_hangs_up(scripted: Scripted) -> None:
    scripted.script = [streamed(NOTE, Handler.listen)]
    with AnticipatoryClient(scripted.url) as each:
        for _ in each.stream():
            break
        assert scripted.hung_up.wait(20)


def test_leaving_the_loop_hangs_up_async(scripted: Scripted) -> None:
    async def run(each: AsyncAnticipatoryClient) -> None:
        async for _ in each.stream():
            break
        assert await asyncio.to_thread(scripted.hung_up.wait, 20)

    scripted.script = [streamed(NOTE, Handler.listen)]
    with_client(scripted.url, run)


def test_closing_a_stream_hangs_up(scripted: Scripted) -> None:
    async def run(each: AsyncAnticipatoryClient) -> None:
        async with aclosing(each.stream()) as events:
            assert await anext(events) == NOTE
        assert await asyncio.to_thread(scripted.hung_up.wait, 20)

    scripted.script = [streamed(NOTE, Handler.listen)]
    with_client(scripted.url, run)


def test_a_stream_that_is_not_read_sends_nothing(scripted: Scripted) -> None:
    with AnticipatoryClient(scripted.url) as each:
        each.stream()
    assert not scripted.received


@pytest.mark.parametrize(
    ("status", "kind"),
    [(422, InvalidRequest), (429, Busy), (500, ServerFault), (503, Unavailable), (504, ServerFault)],
)
def test_an_error_event_is_raised_and_never_asked_again(
    scripted: Scripted, hear: Ask, status: int, kind: type[ServiceError]
) -> None:
    scripted.script = [streamed(NOTE, Event("error", {"status": status, "detail": "because"})), streamed(EMBEDDING)]
    heard: list[Event] = []
    with pytest.raises(kind) as caught:
        hear(scripted.url, heard=heard)
    assert type(caught.value) is kind
    assert str(caught.value) == f"because (HTTP {status})"
    assert (heard, len(scripted.received)) == ([NOTE], 1)


@pytest.mark.parametrize("headers", [{}, {"Content-Length": "1000"}], ids=["at an end", "anywhere"])
def test_a_stream_without_its_result_is_a_lost_connection(
    scripted: Scripted, hear: Ask, headers: Mapping[str, str]
) -> None:
    scripted.script = [streamed(NOTE, "event: no", **headers), streamed(EMBEDDING)]
    heard: list[Event] = []
    with pytest.raises(ConnectionLost, match=f"^the connection to {scripted.url} broke: "):
        hear(scripted.url, heard=heard)
    assert (heard, len(scripted.received)) == ([NOTE], 1)


def test_an_event_that_does_not_come_is_a_timeout(scripted: Scripted, hear: Ask) -> None:
    scripted.script = [streamed(NOTE, Handler.listen), streamed(EMBEDDING)]
    with pytest.raises(RequestTimeout, match=f"^no answer from {scripted.url} within 0.5 s$"):
        hear(scripted.url, options={"timeout": 0.5})
    assert scripted.hung_up.wait(20)
    assert len(scripted.received) == 1


@pytest.mark.parametrize(
    "answer",
    [
        Answer("<html>"),
        music(3),
        streamed("event: note\ndata: {\n\n"),
        streamed(Event("result", {"task": "generate"})),
        streamed(Event("error", {})),
        streamed(Event("error", {"status": "high", "detail": ""})),
        Answer("moved", 302, {"Location": "/elsewhere"}),
    ],
)
def test_another_services_stream_is_recognised(scripted: Scripted, answer: Answer) -> None:
    scripted.script = [answer]
    with pytest.raises(UnexpectedAnswer):
        hear_sync(scripted.url)


def test_a_stream_that_is_refused_is_asked_for_again(scripted: Scripted, hear: Ask) -> None:
    scripted.script = [Answer("later", 429, NOW), Answer("later", 503, NOW), streamed(NOTE, EMBEDDING)]
    assert hear(scripted.url) == [NOTE, Event("result", EMBEDDING.body)]
    assert len(scripted.received) == 3


def test_a_stream_that_is_refused_for_good_raises_why(scripted: Scripted, hear: Ask) -> None:
    scripted.script = [Answer({"detail": "later"}, 429, NOW)] * 2
    with pytest.raises(Busy, match=r"^later "):
        hear(scripted.url, options={"max_retries": 1})


def test_a_stream_from_nowhere_is_a_failed_connection(hear: Ask) -> None:
    with pytest.raises(ConnectionFailed):
        hear(nobody())


# Streams of the real service


def test_the_service_streams_every_note_of_its_result(service: Service, hear: Ask) -> None:
    events = hear(service.url, length_seconds=3, num_variations=2)
    *others, (last, result) = events
    notes = Counter(event.data["variation"] for event in others if event.name == "note")
    assert [notes[number] for number in (0, 1)] == [each["num_events"] for each in result["variations"]]
    assert ({event.name for event in others}, last) == ({"note", "progress"}, "result")
    seconds = [event.data["seconds"] for event in others if event.name == "progress"]
    assert seconds == sorted(seconds)
    assert seconds[-1] == 3


def test_the_service_streams_what_comes_after_the_prime(service: Service, hear: Ask) -> None:
    path = GOLDEN / "midi/freedoom_e1m2.mid"
    *others, (_, result) = hear(service.url, "continue", path, prime_seconds=2, length_seconds=2)
    new = [event.data["onset"] for event in others if event.name == "note"]
    all_notes = sorted(note.onset / 100 for note in midi.read_notes(result["variations"][0]["midi_bytes"]))
    assert all_notes[len(all_notes) - len(new) :] == new


def test_the_service_streams_an_embedding_as_its_result(service: Service, ask: Ask, hear: Ask) -> None:
    path = GOLDEN / "midi/chorale_001.mid"
    [(name, result)] = hear(service.url, "embed", path)
    assert name == "result"
    assert result["embedding"] == pytest.approx(ask(service.url, "embed", path)["embedding"], rel=1e-4, abs=1e-5)


def test_the_service_refuses_a_stream_with_a_status(service: Service, hear: Ask) -> None:
    with pytest.raises(InvalidRequest, match=r"^length_seconds must be in range 1.0..120.0, got 3000 \(HTTP 422\)$"):
        hear(service.url, length_seconds=3000)


def test_leaving_the_loop_frees_the_services_place(service: Service) -> None:
    with AnticipatoryClient(service.url) as each:
        for _ in each.stream(length_seconds=120, num_variations=5):
            break
        service.wait_for("anticipatory_batch_rows", 0)


def test_the_key_opens_a_service_that_asks_for_one() -> None:
    locked = Service("--default-model", "tiny", LIT_SERVER_API_KEY="secret")
    locked.wait_until_listening()
    for call in (partial(ask_sync, locked.url, "generate"), partial(hear_sync, locked.url)):
        with pytest.raises(Unauthorized, match="X-API-Key"):
            call(options={"api_key": "wrong"})
        with pytest.raises(InvalidRequest, match="must be in range"):
            call(length_seconds=3000, options={"api_key": "secret"})
    locked.stop()


# What goes wrong


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, InvalidRequest),
        (413, InvalidRequest),
        (422, InvalidRequest),
        (429, Busy),
        (500, ServerFault),
        (503, Unavailable),
        (504, ServerFault),
        (599, ServerFault),
    ],
)
def test_every_status_has_its_error(scripted: Scripted, status: int, kind: type[ServiceError]) -> None:
    scripted.script = [Answer({"detail": "because"}, status)]
    with pytest.raises(kind) as caught:
        ask_sync(scripted.url, "generate", options={"max_retries": 0})
    assert type(caught.value) is kind
    assert (caught.value.status, caught.value.detail) == (status, "because")
    assert str(caught.value) == f"because (HTTP {status})"


def test_a_wrong_key_has_an_error_of_its_own(scripted: Scripted, ask: Ask, hear: Ask) -> None:
    scripted.script = [Answer({"detail": "no key"}, 401)] * 2
    for call in (partial(ask, scripted.url, "generate"), partial(hear, scripted.url)):
        with pytest.raises(Unauthorized) as caught:
            call(options={"api_key": "wrong"})
        assert isinstance(caught.value, InvalidRequest)
        assert str(caught.value) == "no key (HTTP 401): give api_key, or set LIT_SERVER_API_KEY"


def test_a_list_of_problems_becomes_one_line(scripted: Scripted, ask: Ask) -> None:
    detail = [
        {"loc": ["body", "model_size"], "msg": "should be\n'tiny'", "type": "literal_error"},
        {"loc": ["top_p"], "msg": "top_p must be in range 0.1..1.0, got 2", "type": "out_of_range"},
        {"loc": ["body"], "msg": "Field required", "type": "missing"},
    ]
    scripted.script = [Answer({"detail": detail}, 422)]
    with pytest.raises(InvalidRequest) as caught:
        ask(scripted.url, "generate")
    expected = "model_size: should be 'tiny'; top_p must be in range 0.1..1.0, got 2; Field required (HTTP 422)"
    assert str(caught.value) == expected
    assert caught.value.detail == detail


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ("Internal Server Error", "Internal Server Error"),
        ("", "Internal Server Error"),
        ("<html>\n<p>oh\n", "<html> <p>oh"),
        ({"detail": {"reason": 1}}, '{"reason": 1}'),
        ({"detail": ["odd", {"odd": 1}]}, '"odd"; {"odd": 1}'),
        ({"error": 1}, '{"error": 1}'),
        ("[]", "[]"),
    ],
)
def test_errors_in_another_shape_are_still_one_line(scripted: Scripted, body: Any, text: str) -> None:
    scripted.script = [Answer(body, 500)]
    with pytest.raises(ServerFault) as caught:
        ask_sync(scripted.url, "generate")
    assert str(caught.value) == f"{text} (HTTP 500)"


@pytest.mark.parametrize(
    "answer",
    [
        Answer("ok"),
        Answer([]),
        Answer({}),
        Answer({"task": "generate"}),
        Answer({"task": "generate", "variations": [{"midi_base64": "%"}]}),
        Answer("moved", 302, {"Location": "/elsewhere"}),
    ],
)
def test_another_services_answer_is_recognised(scripted: Scripted, answer: Answer) -> None:
    scripted.script = [answer]
    with pytest.raises(UnexpectedAnswer):
        ask_sync(scripted.url, "generate")


def test_where_nothing_answers_one_is_told_how_to_start_it(ask: Ask) -> None:
    url = nobody()
    with pytest.raises(ConnectionFailed) as caught:
        ask(url, "generate")
    assert str(caught.value).startswith(f"nothing answers at {url} (")
    assert "`uv run python server.py`" in str(caught.value)


@pytest.mark.parametrize("answer", [DROP, BREAK], ids=["before", "within"])
def test_a_connection_that_breaks_is_not_one_that_failed(scripted: Scripted, ask: Ask, answer: Answer) -> None:
    scripted.script = [answer]
    with pytest.raises(ConnectionLost, match=f"^the connection to {scripted.url} broke: "):
        ask(scripted.url, "generate")
    assert len(scripted.received) == 1


def test_an_answer_that_does_not_come_is_a_timeout(scripted: Scripted, ask: Ask) -> None:
    scripted.script = [SILENCE]
    with pytest.raises(RequestTimeout, match=f"^no answer from {scripted.url} within 0.1 s$"):
        ask(scripted.url, "generate", options={"timeout": 0.1})


def test_a_password_in_the_address_does_not_reach_the_message() -> None:
    with pytest.raises(ConnectionFailed) as caught:
        ask_sync(nobody().replace("//", "//user:secret@"), "generate")
    assert "secret" not in str(caught.value)


def test_every_error_has_one_base() -> None:
    kinds = (ConnectionFailed, ConnectionLost, RequestTimeout, UnexpectedAnswer, ServiceError)
    assert all(issubclass(kind, AnticipatoryError) for kind in kinds)


def test_an_error_can_be_sent_between_processes() -> None:
    error = pickle.loads(pickle.dumps(InvalidRequest(422, "because")))
    assert (type(error), error.status, error.detail) == (InvalidRequest, 422, "because")


# Trying again


@pytest.mark.parametrize("status", [429, 503])
def test_a_service_that_asks_for_patience_is_asked_again(scripted: Scripted, ask: Ask, status: int) -> None:
    scripted.script = [Answer("later", status, NOW), Answer("later", status, NOW), music(3)]
    assert ask(scripted.url, "generate")["variations"][0]["num_events"] == 3
    assert len(scripted.received) == 3
    assert scripted.bodies[0] == scripted.bodies[2]


def test_who_comes_back_when_told_to_is_let_in(scripted: Scripted, ask: Ask) -> None:
    opens = float("inf")

    def refuse() -> Answer:
        nonlocal opens
        opens = time.monotonic() + 1
        return Answer("later", 429, {"Retry-After": "1"})

    def let_in() -> Answer:
        return music(3) if time.monotonic() >= opens else Answer("too early", 500)

    scripted.script = [refuse, let_in]
    assert ask(scripted.url, "generate", options={"max_retries": 1})["task"] == "generate"


def test_patience_ends_after_the_last_retry(scripted: Scripted, ask: Ask) -> None:
    scripted.script = [Answer("later", 503, NOW) for _ in range(9)]
    with pytest.raises(Unavailable):
        ask(scripted.url, "generate", options={"max_retries": 2})
    assert len(scripted.received) == 3


@pytest.mark.parametrize("status", [422, 500, 504])
def test_other_errors_are_not_asked_again(scripted: Scripted, status: int) -> None:
    scripted.script = [Answer("no", status, NOW), music(3)]
    with pytest.raises(ServiceError):
        ask_sync(scripted.url, "generate")
    assert len(scripted.received) == 1


@pytest.mark.parametrize("attempt", [0, 1, 2, 5])
def test_waits_double_and_are_jittered(attempt: int) -> None:
    waits = [retry_wait_seconds(attempt) for _ in range(50)]
    assert 0.25 * 2**attempt <= min(waits) < max(waits) <= 0.5 * 2**attempt


def test_the_service_may_say_how_many_seconds_to_wait() -> None:
    assert retry_wait_seconds(3, "0") == 0
    assert all(7 <= retry_wait_seconds(0, " 7 ") <= 7 * 1.25 for _ in range(50))


def test_the_service_may_say_until_when_to_wait() -> None:
    soon = format_datetime(datetime.now(UTC) + timedelta(seconds=20), usegmt=True)
    assert 18 <= retry_wait_seconds(0, soon) <= 25
    assert retry_wait_seconds(0, "Wed, 21 Oct 2015 07:28:00 GMT") == 0
    assert retry_wait_seconds(0, "Wed, 21 Oct 2015 07:28:00 -0000") == 0


@pytest.mark.parametrize(("attempt", "retry_after"), [(20, None), (10**6, None), (0, "3600"), (0, "9" * 400)])
def test_no_wait_is_longer_than_the_cap(attempt: int, retry_after: str | None) -> None:
    assert retry_wait_seconds(attempt, retry_after) == pytest.approx(LONGEST_WAIT_SECONDS)


@pytest.mark.parametrize("retry_after", ["", "soon", "-1", "nan", "1.5e9", "\u00b2"])
def test_a_wait_that_cannot_be_read_is_ours_to_choose(retry_after: str) -> None:
    assert 0.25 <= retry_wait_seconds(0, retry_after) <= 0.5


# The command line


def run_client(*arguments: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-W", "error", str(CLIENT), *arguments]
    return subprocess.run(
        command,
        cwd=cwd,
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )


def test_generate_writes_a_file_and_sums_up(scripted: Scripted, tmp_path: Path) -> None:
    scripted.script = [streamed(NOTE, PROGRESS, music(164))]
    options = ["--length-seconds", "10", "--top-p", "0.9", "--model-size", "tiny", "--client-job-id", "me"]
    run = run_client("generate", "--base-url", scripted.url, *options, "--out", "new.mid", cwd=tmp_path)
    assert re.fullmatch(r"new\.mid: 164 notes, 10\.0 s, tiny on cpu, \d+\.\d s\n", run.stdout)
    assert (run.returncode, run.stderr) == (0, "")
    assert (tmp_path / "new.mid").read_bytes() == MIDI
    sent = {"length_seconds": 10.0, "top_p": 0.9, "model_size": "tiny", "client_job_id": "me"}
    assert scripted.bodies == [{"task": "generate", **sent}]


def test_an_embedding_without_a_file_is_all_that_stdout_gets(scripted: Scripted, tmp_path: Path) -> None:
    (tmp_path / "in.mid").write_bytes(MIDI)
    scripted.script = [streamed(EMBEDDING)]
    run = run_client("embed", "in.mid", "--embed-layer", "-1", cwd=tmp_path, ANTICIPATORY_URL=scripted.url)
    assert json.loads(run.stdout) == EMBEDDING.body
    assert run.stderr.startswith("stdout: 2 numbers from 1023 of 3000 tokens, tiny on cpu, ")
    assert scripted.bodies[0]["embed_layer"] == -1


class Terminal:
    """The command line on a terminal of so many columns; stdout is a pipe."""

    def __init__(self, *arguments: str, cwd: Path, columns: int = 80) -> None:
        self._screen, terminal = pty.openpty()
        termios.tcsetwinsize(terminal, (24, columns))
        # Whoever started the tests in the background has Ctrl-C ignored, and that is inherited.
        before = signal.signal(signal.SIGINT, signal.default_int_handler)
        self.process = subprocess.Popen(
            [sys.executable, str(CLIENT), *arguments], cwd=cwd, stdout=subprocess.PIPE, stderr=terminal, text=True
        )
        signal.signal(signal.SIGINT, before)
        os.close(terminal)
        self.shown = ""

    def read_until(self, text: str) -> None:
        """Take what is shown, up to a text that is, or to the end."""
        with suppress(OSError):  # so Linux says that the other end is closed
            while text not in self.shown and (part := os.read(self._screen, 1000)):
                self.shown += part.decode()

    def finish(self) -> tuple[int, str]:
        """(exit status, stdout), once there is nothing more to show."""
        self.read_until("there is no such text")
        os.close(self._screen)
        stdout, _ = self.process.communicate()
        return self.process.returncode, stdout


def test_a_terminal_shows_how_far_the_music_has_come(scripted: Scripted, tmp_path: Path) -> None:
    scripted.script = [streamed(NOTE, NOTE, PROGRESS, Handler.pause, music(1))]
    terminal = Terminal("generate", "--base-url", scripted.url, cwd=tmp_path)
    terminal.read_until("notes")
    scripted.may_go_on.set()
    status, stdout = terminal.finish()
    assert terminal.shown.startswith("\r| generate 0 s")
    assert " s [######                  ] 5.0 of 20.0 s of music, 2 notes\x1b[K" in terminal.shown
    assert terminal.shown.endswith("\r\x1b[K")
    assert "\n" not in terminal.shown
    assert (status, stdout.partition(", ")[0]) == (0, "out.mid: 1 note")


def test_what_a_terminal_shows_fits_into_its_line(scripted: Scripted, tmp_path: Path) -> None:
    scripted.script = [streamed(NOTE, PROGRESS, Handler.pause, music(1))]
    terminal = Terminal("generate", "--base-url", scripted.url, cwd=tmp_path, columns=30)
    terminal.read_until("#")
    scripted.may_go_on.set()
    terminal.finish()
    assert max(len(line.removesuffix("\x1b[K")) for line in terminal.shown.split("\r")) == 29


def test_an_error_wipes_the_line_before_it_is_told(scripted: Scripted, tmp_path: Path) -> None:
    scripted.script = [streamed(NOTE, Event("error", {"status": 504, "detail": "too long"}))]
    terminal = Terminal("generate", "--base-url", scripted.url, cwd=tmp_path)
    status, stdout = terminal.finish()
    assert (status, stdout) == (1, "")
    assert terminal.shown.endswith("\r\x1b[Kerror: too long (HTTP 504)\r\n")


def test_ctrl_c_hangs_up_and_says_nothing(scripted: Scripted, tmp_path: Path) -> None:
    scripted.script = [streamed(NOTE, PROGRESS, Handler.listen)]
    terminal = Terminal("generate", "--base-url", scripted.url, cwd=tmp_path)
    terminal.read_until("#")
    terminal.process.send_signal(signal.SIGINT)
    assert terminal.finish() == (130, "")
    assert terminal.shown.endswith("\r\x1b[K")
    assert "Traceback" not in terminal.shown
    assert scripted.hung_up.wait(20)
    assert not list(tmp_path.iterdir())


def test_the_key_is_an_option_of_every_command(scripted: Scripted, capsys: pytest.CaptureFixture[str]) -> None:
    scripted.script = [Answer("ok"), Answer({"detail": "no key"}, 401)]
    call = ["--base-url", scripted.url, "--api-key", "mine"]
    in_process(capsys, "health", *call)
    status, _, stderr = in_process(capsys, "generate", *call)
    assert (status, stderr) == (1, "error: no key (HTTP 401): give api_key, or set LIT_SERVER_API_KEY\n")
    assert [each.headers["X-API-Key"] for each in scripted.received] == ["mine", "mine"]


def in_process(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    """The command line without the start of a process: (exit status, stdout, stderr)."""
    status = client.main(arguments)
    return (status, *capsys.readouterr())


def test_continue_numbers_its_files(scripted: Scripted, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, out = tmp_path / "in.mid", tmp_path / "new.mid"
    source.write_bytes(MIDI)
    scripted.script = [streamed(music(5, 6, task="continue"))]
    call = ["continue", str(source), "--base-url", scripted.url, "--prime-seconds", "3", "--out", str(out)]
    _, stdout, _ = in_process(capsys, *call)
    assert stdout.startswith(f"{tmp_path}/new-1.mid, {tmp_path}/new-2.mid: 5, 6 notes, 10.0 s, tiny on cpu, ")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.mid", "new-1.mid", "new-2.mid"]
    assert scripted.bodies[0]["prime_seconds"] == 3.0


def test_an_embedding_is_written_to_the_file_asked_for(
    scripted: Scripted, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "in.mid").write_bytes(MIDI)
    scripted.script = [streamed(EMBEDDING)]
    out = tmp_path / "x.json"
    call = ["embed", str(tmp_path / "in.mid"), "--base-url", scripted.url, "--out", str(out)]
    status, stdout, _ = in_process(capsys, *call)
    assert json.loads(out.read_text()) == EMBEDDING.body
    assert stdout.startswith(f"{out}: 2 numbers from 1023 of 3000 tokens")
    assert status == 0


def test_health_says_ok_or_fails(scripted: Scripted, capsys: pytest.CaptureFixture[str]) -> None:
    scripted.script = [Answer("ok"), Answer("not ready", 503)]
    call = ["health", "--base-url", scripted.url]
    assert in_process(capsys, *call) == (0, f"{scripted.url}: ok\n", "")
    assert in_process(capsys, *call) == (1, "", f"error: {scripted.url} is not ready\n")


def test_an_error_is_one_line(scripted: Scripted, tmp_path: Path) -> None:
    scripted.script = [Answer({"detail": "no such size"}, 422)]
    run = run_client("generate", "--base-url", scripted.url, cwd=tmp_path)
    assert (run.returncode, run.stdout, run.stderr) == (1, "", "error: no such size (HTTP 422)\n")
    assert not list(tmp_path.iterdir())


def test_a_file_that_cannot_be_read_is_one_line(scripted: Scripted, capsys: pytest.CaptureFixture[str]) -> None:
    call = ["embed", "/nowhere/in.mid", "--base-url", scripted.url]
    expected = (1, "", "error: /nowhere/in.mid: No such file or directory\n")
    assert in_process(capsys, *call) == expected
    assert not scripted.received


def test_a_file_that_cannot_be_written_is_told_before_the_work(
    scripted: Scripted, capsys: pytest.CaptureFixture[str]
) -> None:
    call = ["generate", "--base-url", scripted.url, "--out", "/nowhere/out.mid"]
    assert in_process(capsys, *call) == (1, "", "error: /nowhere: No such file or directory\n")
    assert not scripted.received


def test_a_number_that_json_cannot_hold_is_one_line(scripted: Scripted, capsys: pytest.CaptureFixture[str]) -> None:
    status, _, stderr = in_process(capsys, "generate", "--base-url", scripted.url, "--top-p", "nan")
    assert status == 1
    assert re.fullmatch(r"error: .*\n", stderr)


@pytest.mark.parametrize("call", [[], ["sing"], ["embed"], ["health", "--base-url", "here"], ["generate", "x.mid"]])
def test_a_wrong_call_is_a_usage_error(call: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        client.main(call)
    assert caught.value.code == 2
    assert capsys.readouterr().err.startswith("usage: ")


def test_the_client_needs_neither_the_model_nor_the_server() -> None:
    code = "import client, sys; print({'torch', 'litserve', 'amt', 'pydantic', 'schemas'} & set(sys.modules))"
    run = subprocess.run([sys.executable, "-c", code], cwd=CLIENT.parent, capture_output=True, text=True, check=True)
    assert run.stdout == "set()\n"
