"""A client for the service, for programs and for the command line. It needs nothing but httpx.

    python client.py generate --length-seconds 10 --out out.mid

AnticipatoryError
├── ConnectionFailed     nothing answers at the address
├── ConnectionLost       something did, but went away before its answer was complete
├── RequestTimeout       the answer did not come in time
├── UnexpectedAnswer     what answered is not this service
└── ServiceError         the service answered with an error; has its `status` and `detail`
    ├── InvalidRequest   4xx: the request must be changed
    │   └── Unauthorized 401: the service asks for a key, and this is not it
    ├── Busy             429: too many requests are waiting, also after the last retry
    ├── Unavailable      503: not ready, or the model cannot be had, also after the last retry
    └── ServerFault      other 5xx: the service failed, or ran out of time
"""
# ruff: noqa: N818 (names of errors that read as what happened)

import argparse
import asyncio
import base64
import email.utils
import errno
import itertools
import json
import os
import random
import ssl
import sys
import threading
import time
import weakref
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine, Generator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Final, Generic, Literal, NamedTuple, Self, TypeAlias, TypeVar

import httpx

DEFAULT_URL: Final = "http://localhost:2011"
TIMEOUT_SECONDS: Final = 330.0
"""The service itself gives up after 300 s, and its answer says why."""

QUICK_TIMEOUT_SECONDS: Final = 10.0
"""For what needs no computation: to connect, and /health."""

FIRST_WAIT_SECONDS: Final = 0.5
LONGEST_WAIT_SECONDS: Final = 30.0
UNAUTHORIZED, BUSY, UNAVAILABLE = 401, 429, 503
BAR_WIDTH: Final = 24

Result: TypeAlias = dict[str, Any]
"""The service's answer as it came, and in each variation also `midi_bytes`."""

Midi: TypeAlias = bytes | bytearray | memoryview | str | os.PathLike[str]
"""The bytes of a MIDI file, or the path of one."""

Headers: TypeAlias = Mapping[str, str] | None
"""Sent along as they are: `traceparent`, for instance."""

Task: TypeAlias = Literal["generate", "continue", "embed"]

AnswerT = TypeVar("AnswerT")
EventsT = TypeVar("EventsT")


class Event(NamedTuple):
    """Something that happened while the service worked.

    - `note`, once for each: `variation`, `onset` and `duration` in seconds, `pitch`, `instrument`, `velocity`
    - `progress`: `seconds` of new music that are done in every variation, of `total_seconds`
    - `result`, the last: what the method without a stream returns
    """

    name: str
    data: Result


class AnticipatoryError(Exception):
    """Base of every error that this client raises on purpose; `str` of it is one line."""


class ConnectionFailed(AnticipatoryError):
    """Nothing answers at the address."""


class ConnectionLost(AnticipatoryError):
    """The connection broke before the answer was complete."""


class RequestTimeout(AnticipatoryError):
    """The answer did not come in time."""


class UnexpectedAnswer(AnticipatoryError):
    """What answered is not this service."""


class ServiceError(AnticipatoryError):
    """The service answered with an error. `detail` is as sent: text, or a list of problems."""

    def __init__(self, status: int, detail: Any) -> None:
        super().__init__(status, detail)
        self.status = status
        self.detail = detail

    def __str__(self) -> str:
        text = _detail_text(self.detail) or httpx.codes.get_reason_phrase(self.status) or "no reason given"
        return f"{text} (HTTP {self.status})"


class InvalidRequest(ServiceError):
    """The request must be changed; `detail` says what is wrong with it."""


class Unauthorized(InvalidRequest):
    """The service asks for a key, and this is not it."""

    def __str__(self) -> str:
        return f"{super().__str__()}: give api_key, or set LIT_SERVER_API_KEY"


class Busy(ServiceError):
    """Too many requests are waiting."""


class Unavailable(ServiceError):
    """The service is not ready, or the model cannot be had."""


class ServerFault(ServiceError):
    """The service failed, or ran out of time."""


def address(text: str) -> httpx.URL:
    """The address of a service. Raises ValueError when it cannot be one."""
    try:
        url = httpx.URL(text)
    except httpx.InvalidURL as error:
        raise ValueError(f"{text!r} is not an address: {error}") from error
    if url.scheme not in ("http", "https") or not url.host:
        raise ValueError(f"{text!r} is not an address such as {DEFAULT_URL}")
    return url


def retry_wait_seconds(attempt: int, retry_after: str | None = None) -> float:
    """How long to wait after `attempt` retries: what `retry_after` asks for, else twice as long each time.

    With jitter, so that clients that were turned away together do not come back together. `retry_after` is
    the header's value: seconds or an HTTP date.
    """
    asked = _retry_after_seconds(retry_after)
    if asked is None:
        wait = FIRST_WAIT_SECONDS * 2.0 ** min(attempt, 10) * random.uniform(0.5, 1.0)
    else:
        wait = asked * random.uniform(1.0, 1.25)
    return min(wait, LONGEST_WAIT_SECONDS)


def _retry_after_seconds(value: str | None) -> float | None:
    if value is None:
        return None
    if value.strip().isdecimal():
        return float(value)
    try:
        when = email.utils.parsedate_to_datetime(value)
    except ValueError:
        return None
    return max(0.0, (when.replace(tzinfo=when.tzinfo or UTC) - datetime.now(UTC)).total_seconds())


def _detail_text(detail: Any) -> str:
    """An error's detail as one line. FastAPI's list becomes `field: message; field: message`."""
    if isinstance(detail, list):
        return "; ".join(_problem_text(problem) for problem in detail)
    return " ".join((detail if isinstance(detail, str) else json.dumps(detail)).split())


def _problem_text(problem: Any) -> str:
    if not isinstance(problem, dict) or "msg" not in problem:
        return _detail_text(json.dumps(problem))
    field = ".".join(str(part) for part in problem.get("loc", ()) if part != "body")
    message = _detail_text(problem["msg"])
    return message if not field or message.startswith(f"{field} ") else f"{field}: {message}"


def _read_event(name: str, text: str) -> Event:
    """An event of the service, with `midi_bytes` added to the variations of a result. An `error` is raised."""
    try:
        data = json.loads(text)
        if name == "error":
            raise _service_error(data["status"], data["detail"])
        if name == "result" and data["task"] != "embed":
            for variation in data["variations"]:
                variation["midi_bytes"] = base64.b64decode(variation["midi_base64"], validate=True)
    except (ValueError, KeyError, TypeError) as error:
        raise UnexpectedAnswer(f"this is no answer of the service: {text[:80]!r}") from error
    return Event(name, data)


class _EventReader:
    """Server-sent events out of the lines that they travel as."""

    def __init__(self, response: httpx.Response) -> None:
        kind = response.headers.get("content-type", "nothing known")
        if not kind.startswith("text/event-stream"):
            raise UnexpectedAnswer(f"this is no stream of the service, but {kind}: is the address right?")
        self._fields: dict[str, str] = {}

    def read(self, line: str) -> Event | None:
        """The event that ends with this line, if one does."""
        if line:
            name, _, value = line.partition(":")  # a comment has no name
            self._fields[name] = value.removeprefix(" ")
            return None
        fields, self._fields = self._fields, {}
        return _read_event(fields.get("event", "message"), fields["data"]) if "data" in fields else None


def _refusal(response: httpx.Response) -> AnticipatoryError:
    """The error that an answer without success stands for."""
    if response.status_code < 400:
        return UnexpectedAnswer(f"the service does not answer with HTTP {response.status_code}: is the address right?")
    try:
        detail = response.json()["detail"]
    except (ValueError, KeyError, TypeError):
        detail = response.text[:300]
    return _service_error(response.status_code, detail)


def _service_error(status: int, detail: Any) -> ServiceError:
    kinds = {UNAUTHORIZED: Unauthorized, BUSY: Busy, UNAVAILABLE: Unavailable}
    return kinds.get(status, InvalidRequest if status < 500 else ServerFault)(status, detail)


def _is_ok(health: httpx.Response) -> bool:
    """/health answers in plain text: ok, or with 503 that it is not ready."""
    return health.status_code == httpx.codes.OK and health.text.strip() == "ok"


def _body(task: Task, midi: Midi | None = None, **fields: Any) -> Result:
    """A request. What is None is not sent."""
    if midi is not None:
        data = Path(midi).read_bytes() if isinstance(midi, str | os.PathLike) else midi
        fields["midi_input"] = base64.b64encode(data).decode()
    return {"task": task, **{name: value for name, value in fields.items() if value is not None}}


class _BaseClient(ABC, Generic[AnswerT, EventsT]):
    """All but the sending. A request returns `AnswerT`: a result, or a coroutine that does; a stream `EventsT`."""

    def __init__(
        self,
        base_url: httpx.URL | str = DEFAULT_URL,
        *,
        api_key: str | None = None,
        timeout: float = TIMEOUT_SECONDS,
        max_retries: int = 3,
    ) -> None:
        """A client of the service at `base_url` (ValueError when that is no address).

        It shows `api_key` to a service that asks for one, by default what LIT_SERVER_API_KEY says. It waits
        `timeout` seconds for an answer, or for the next event of a stream, and while the service is busy (429) or
        not ready (503) it tries `max_retries` times more.
        """
        url = address(str(base_url))
        self.base_url = str(url.copy_with(userinfo=b"")).rstrip("/")
        self.timeout = timeout
        self.max_retries = max_retries
        self._quick_timeout = min(timeout, QUICK_TIMEOUT_SECONDS)
        key = os.environ.get("LIT_SERVER_API_KEY", "") if api_key is None else api_key
        # Plain http needs no certificates, and to load them takes longer than the rest of a request.
        verify = True if url.scheme == "https" else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self._open(
            base_url=url,
            headers={b"X-API-Key": key.strip().encode()} if key else None,
            timeout=httpx.Timeout(timeout, connect=self._quick_timeout),
            verify=verify,
        )

    def generate(
        self,
        length_seconds: float = 20.0,
        *,
        top_p: float = 0.95,
        model_size: str | None = None,
        num_variations: int = 1,
        seed: int | None = None,
        client_job_id: str | None = None,
        headers: Headers = None,
    ) -> AnswerT:
        """Music from nothing."""
        request = _body(
            "generate",
            length_seconds=length_seconds,
            top_p=top_p,
            model_size=model_size,
            num_variations=num_variations,
            seed=seed,
            client_job_id=client_job_id,
        )
        return self._predict(request, headers)

    def continue_midi(
        self,
        midi: Midi,
        prime_seconds: float = 5.0,
        length_seconds: float = 20.0,
        *,
        top_p: float = 0.95,
        model_size: str | None = None,
        num_variations: int = 1,
        seed: int | None = None,
        client_job_id: str | None = None,
        headers: Headers = None,
    ) -> AnswerT:
        """The first `prime_seconds` of a MIDI file, and `length_seconds` of new music after them."""
        request = _body(
            "continue",
            midi,
            prime_seconds=prime_seconds,
            length_seconds=length_seconds,
            top_p=top_p,
            model_size=model_size,
            num_variations=num_variations,
            seed=seed,
            client_job_id=client_job_id,
        )
        return self._predict(request, headers)

    def embed(
        self,
        midi: Midi,
        embed_layer: int = -3,
        *,
        model_size: str | None = None,
        client_job_id: str | None = None,
        headers: Headers = None,
    ) -> AnswerT:
        """One vector that describes a MIDI file."""
        request = _body(
            "embed",
            midi,
            embed_layer=embed_layer,
            model_size=model_size,
            client_job_id=client_job_id,
        )
        return self._predict(request, headers)

    def stream(
        self, task: Task = "generate", midi: Midi | None = None, *, headers: Headers = None, **fields: Any
    ) -> EventsT:
        """The same request, answered by its events as they happen: each note, and last the result.

        `fields` are those of `generate`, `continue_midi` or `embed`, by name. Nothing is sent before the first event is
        asked for. To leave the loop early hangs up, and the service stops: at once if the iterator is closed
        (`contextlib.closing`, `aclosing`), else when it is forgotten.
        """
        return self._stream(_body(task, midi, **fields), headers)

    @abstractmethod
    def _open(self, **options: Any) -> None:
        """Make the httpx client."""

    @abstractmethod
    def _predict(self, body: Result, headers: Headers) -> AnswerT:
        """Send a request and read the answer."""

    @abstractmethod
    def _stream(self, body: Result, headers: Headers) -> EventsT:
        """Send a request and read the events."""

    def _wait_seconds(self, response: httpx.Response, attempt: int) -> float:
        """How long to wait before a request that was refused is sent again. Raises the refusal when it is not."""
        if response.status_code not in (BUSY, UNAVAILABLE) or attempt >= self.max_retries:
            raise _refusal(response)
        return retry_wait_seconds(attempt, response.headers.get("retry-after"))

    @contextmanager
    def _own_errors(self) -> Iterator[None]:
        """Errors of httpx leave as ours."""
        try:
            yield
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            reason = _detail_text(str(error)) or "no connection in time"
            start = "start the service with `uv run python server.py`"
            raise ConnectionFailed(f"nothing answers at {self.base_url} ({reason}): {start}") from error
        except httpx.TimeoutException as error:
            raise RequestTimeout(f"no answer from {self.base_url} within {self.timeout:g} s") from error
        except httpx.RequestError as error:
            reason = _detail_text(str(error)) or type(error).__name__
            raise ConnectionLost(f"the connection to {self.base_url} broke: {reason}") from error


class AnticipatoryClient(_BaseClient[Result, Generator[Event]]):
    """The client for ordinary code. A `with` block closes it; so does garbage collection."""

    def _open(self, **options: Any) -> None:
        self._http = httpx.Client(**options)
        weakref.finalize(self, self._http.close)

    @contextmanager
    def _post(self, path: str, body: Result, headers: Headers) -> Iterator[httpx.Response]:
        """A good answer, not yet read. Sends the request again while the service asks for patience."""
        with self._own_errors():
            for attempt in itertools.count():
                with self._http.stream("POST", path, json=body, headers=headers) as response:
                    if response.is_success:
                        yield response
                        return
                    response.read()
                time.sleep(self._wait_seconds(response, attempt))

    def _predict(self, body: Result, headers: Headers) -> Result:
        with self._post("/predict", body, headers) as response:
            response.read()
        return _read_event("result", response.text).data

    def _stream(self, body: Result, headers: Headers) -> Generator[Event]:
        with self._post("/predict/stream", body, headers) as response:
            reader = _EventReader(response)
            for line in response.iter_lines():
                if event := reader.read(line):
                    yield event
                    if event.name == "result":
                        return
        raise ConnectionLost(f"the connection to {self.base_url} broke: the stream ended before its result")

    def health(self) -> bool:
        """Whether the service is there and ready."""
        try:
            return _is_ok(self._http.get("/health", timeout=self._quick_timeout))
        except httpx.RequestError:
            return False

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


class AsyncAnticipatoryClient(_BaseClient[Coroutine[Any, Any, Result], AsyncGenerator[Event]]):
    """The client for asyncio: the same methods, to be awaited, and `async for`. Use it in an `async with` block."""

    def _open(self, **options: Any) -> None:
        self._http = httpx.AsyncClient(**options)

    @asynccontextmanager
    async def _post(self, path: str, body: Result, headers: Headers) -> AsyncIterator[httpx.Response]:
        """A good answer, not yet read. Sends the request again while the service asks for patience."""
        with self._own_errors():
            for attempt in itertools.count():
                async with self._http.stream("POST", path, json=body, headers=headers) as response:
                    if response.is_success:
                        yield response
                        return
                    await response.aread()
                await asyncio.sleep(self._wait_seconds(response, attempt))

    async def _predict(self, body: Result, headers: Headers) -> Result:
        async with self._post("/predict", body, headers) as response:
            await response.aread()
        return _read_event("result", response.text).data

    async def _stream(self, body: Result, headers: Headers) -> AsyncGenerator[Event]:
        async with self._post("/predict/stream", body, headers) as response:
            reader = _EventReader(response)
            async for line in response.aiter_lines():
                if event := reader.read(line):
                    yield event
                    if event.name == "result":
                        return
        raise ConnectionLost(f"the connection to {self.base_url} broke: the stream ended before its result")

    async def health(self) -> bool:
        """Whether the service is there and ready."""
        try:
            return _is_ok(await self._http.get("/health", timeout=self._quick_timeout))
        except httpx.RequestError:
            return False

    async def aclose(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.aclose()


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line. Returns the exit status: 1 when something went wrong, 2 for a wrong call."""
    try:
        _run(**vars(_parser().parse_args(arguments)))
    except OSError as error:
        message = f"{error.filename}: {error.strerror}" if error.filename else str(error)
    except (AnticipatoryError, ValueError) as error:  # ValueError: what JSON cannot hold
        message = str(error)
    except KeyboardInterrupt:
        return 130
    else:
        return 0
    sys.stderr.write(f"error: {message}\n")
    return 1


def _parser() -> argparse.ArgumentParser:
    """What is not given is not passed on: the defaults are those of the methods."""
    options = partial(argparse.ArgumentParser, add_help=False, argument_default=argparse.SUPPRESS)
    service = options()
    url = os.environ.get("ANTICIPATORY_URL") or DEFAULT_URL
    url_help = f"where the service is (default: ANTICIPATORY_URL, or {DEFAULT_URL})"
    service.add_argument("--base-url", type=address, default=url, metavar="URL", help=url_help)
    service.add_argument("--api-key", metavar="KEY", help="if the service asks for one (default: LIT_SERVER_API_KEY)")

    request = options(parents=[service])
    request.add_argument("--model-size", metavar="SIZE", help="tiny, small, medium or large")
    request.add_argument("--client-job-id", metavar="ID", help="your own name for this job")

    music = options(parents=[request])
    music.add_argument("--length-seconds", type=float, metavar="S", help="new music, 1 to 120 (default: 20)")
    music.add_argument("--top-p", type=float, metavar="P", help="0.1 tame to 1.0 wild (default: 0.95)")
    music.add_argument("--num-variations", type=int, metavar="N", help="1 to 5 (default: 1)")
    music.add_argument("--seed", type=int, metavar="N", help="for the same music again (default: a new one)")
    out_help = "the MIDI file to write (default: out.mid); of several, out-1.mid and so on"
    music.add_argument("--out", type=Path, default=Path("out.mid"), metavar="FILE", help=out_help)

    parser = argparse.ArgumentParser(prog="client.py", description="Ask the service for music.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    add = partial(commands.add_parser, argument_default=argparse.SUPPRESS)
    add("generate", parents=[music], help="make music from nothing")
    each = add("continue", parents=[music], help="go on from a MIDI file")
    each.add_argument("midi", type=Path, metavar="in.mid")
    each.add_argument("--prime-seconds", type=float, metavar="S", help="what is kept, 1 to 60 (default: 5)")
    each = add("embed", parents=[request], help="describe a MIDI file by a vector")
    each.add_argument("midi", type=Path, metavar="in.mid")
    each.add_argument("--embed-layer", type=int, metavar="N", help="the hidden state to take (default: -3)")
    each.add_argument("--out", type=Path, metavar="FILE", help="the JSON file to write (default: to stdout)")
    add("health", parents=[service], help="ask whether the service is ready")
    return parser


def _run(command: Any, base_url: httpx.URL, api_key: str | None = None, out: Path | None = None, **fields: Any) -> None:
    """Ask, write what comes to `out`, and sum it up in one line."""
    if out and not out.parent.is_dir():  # minutes before it would have come to light
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(out.parent))
    started = time.monotonic()
    with AnticipatoryClient(base_url, api_key=api_key) as client:
        if command == "health":
            if not client.health():
                raise AnticipatoryError(f"{client.base_url} is not ready")
            sys.stdout.write(f"{client.base_url}: ok\n")
            return
        with _StatusLine(command) as status:
            for event in client.stream(command, **fields):
                status.take(event)
    result = event.data
    written = _write(result, out)
    metadata = result["metadata"]
    where = f"{metadata['model_size']} on {metadata.get('device', 'unknown device')}"
    summary = f"{written}: {_contents(result)}, {where}, {time.monotonic() - started:.1f} s\n"
    (sys.stdout if out else sys.stderr).write(summary)


def _write(result: Result, out: Path | None) -> str:
    """Write a result and return where to. A vector without a file goes to stdout, so that it can be piped."""
    if out is None:
        sys.stdout.write(json.dumps(result) + "\n")
        return "stdout"
    if result["task"] == "embed":
        out.write_text(json.dumps(result) + "\n")
        return str(out)
    variations = result["variations"]
    paths = [out]
    if len(variations) > 1:
        paths = [out.with_stem(f"{out.stem}-{number}") for number, _ in enumerate(variations, 1)]
    for path, variation in zip(paths, variations, strict=True):
        path.write_bytes(variation["midi_bytes"])
    return ", ".join(map(str, paths))


def _contents(result: Result) -> str:
    if result["task"] == "embed":
        tokens = f"{result['num_tokens']} of {result['original_tokens']} tokens"
        return f"{result['embedding_dim']} numbers from {tokens}"
    notes = ", ".join(str(variation["num_events"]) for variation in result["variations"])
    unit = "note" if notes == "1" else "notes"
    return f"{notes} {unit}, {result['variations'][0]['duration_seconds']:.1f} s"


class _StatusLine:
    """On a terminal, while the block runs: that something is going on, for how long, and how far it has come."""

    def __init__(self, label: str) -> None:
        self._label = label
        self._notes = 0
        self._music = ""
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._turn, daemon=True)

    def take(self, event: Event) -> None:
        """Show what has happened."""
        if event.name == "note":
            self._notes += 1
        elif event.name == "progress":
            seconds, total = event.data["seconds"], event.data["total_seconds"]
            bar = "#" * round(BAR_WIDTH * min(1.0, seconds / total))
            notes = f"{self._notes} note{'s' * (self._notes != 1)}"
            self._music = f" [{bar:<{BAR_WIDTH}}] {seconds:.1f} of {total:.1f} s of music, {notes}"

    def _turn(self) -> None:
        started = time.monotonic()
        for frame in itertools.cycle("|/-\\"):
            text = f"{frame} {self._label} {time.monotonic() - started:.0f} s{self._music}"
            columns = os.get_terminal_size(sys.stderr.fileno()).columns or 80
            sys.stderr.write(f"\r{text[: columns - 1]}\x1b[K")  # and wipe what is left of a longer line
            sys.stderr.flush()
            if self._done.wait(0.1):
                break
        sys.stderr.write("\r\x1b[K")

    def __enter__(self) -> Self:
        if sys.stderr.isatty():
            self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._done.set()
        if self._thread.is_alive():
            self._thread.join()


if __name__ == "__main__":
    sys.exit(main())
