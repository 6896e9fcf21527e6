"""Serve scripted answers from a real server, for tests of the client and its command line."""

import base64
import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from client import Event

MIDI = b"MThd and so on"
METADATA = {"model_size": "tiny", "device": "cpu"}
NOW = {"Retry-After": "0"}
SSE = {"Content-Type": "text/event-stream; charset=utf-8"}
NOTE = Event("note", {"variation": 0, "onset": 0.5, "duration": 0.25, "pitch": 60, "instrument": 0, "velocity": 72})
PROGRESS = Event("progress", {"seconds": 5.0, "total_seconds": 20.0, "events": 3})


@dataclass
class Answer:
    """Hold the answer to one request: a text, JSON, or parts of a text with actions between them."""

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
    """Return an answer of variations with these numbers of notes."""
    encoded = base64.b64encode(MIDI).decode()
    variations = [{"midi_base64": encoded, "num_events": each, "duration_seconds": 10.0} for each in notes]
    return Answer({"task": task, "variations": variations, "metadata": METADATA})


def sse(name: str, data: Any) -> str:
    """Return a server-sent event as the service writes it."""
    return f"event: {name}\ndata: {json.dumps(data)}\n\n"


def streamed(*parts: Any, **headers: str) -> Answer:
    """Return a stream of events, texts, answers whose body becomes the result, and actions between them."""
    texts = tuple(sse("result", part.body) if isinstance(part, Answer) else part for part in parts)
    return Answer(tuple(sse(*part) if isinstance(part, Event) else part for part in texts), 200, SSE | headers)


@dataclass
class Received:
    """Hold a request that the scripted server received."""

    path: str
    headers: Mapping[str, str]
    body: Any


class Scripted(ThreadingHTTPServer):
    """Answer requests in the order of a script."""

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
        data = self.rfile.read(int(self.headers.get("Content-Length", 0))) or None
        body = json.loads(data) if data and self.headers.get("Content-Type") == "application/json" else data
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
        """Wait between two parts of an answer until the test lets it go on."""
        self.server.may_go_on.wait()

    def listen(self) -> None:
        """Wait between two parts of an answer until the client has closed the connection, in whichever way."""
        with suppress(ConnectionError):
            assert self.rfile.read(1) == b"", "the client sends more"
        self.server.hung_up.set()

    def do_GET(self) -> None:
        self.do_POST()

    def log_message(self, format: str, *args: Any) -> None:
        pass


@contextmanager
def running() -> Iterator[Scripted]:
    """Run a scripted server as long as the block runs."""
    with Scripted() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.over.set()
        server.may_go_on.set()
        server.shutdown()
        thread.join()
