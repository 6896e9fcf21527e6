"""Ask the service for music. This file needs nothing but httpx; with commands.py beside it, it is a command too.

    python client.py generate --length-seconds 10 --out out.mid

AnticipatoryError
├── ConnectionFailed     nothing answers at the address
├── ConnectionLost       something did, but went away before its answer was complete
├── RequestTimeout       the answer did not come in time
├── UnexpectedAnswer     it is not this service that answered
└── ServiceError         the service answered with an error; has its `status` and `detail`
    ├── InvalidRequest   4xx: the request must be changed
    │   └── Unauthorized 401: the service asks for a key, and this is not it
    ├── Busy             429: too many requests are waiting, also after the last retry
    ├── Unavailable      503: not ready, or the model cannot be had, also after the last retry
    └── ServerFault      other 5xx: the service failed, or ran out of time
"""
# ruff: noqa: N818 (names of errors that read as what happened)

import asyncio
import base64
import email.utils
import html
import itertools
import json
import os
import random
import re
import runpy
import ssl
import sys
import time
import weakref
from abc import ABC, abstractmethod
from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Callable,
    Coroutine,
    Generator,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import (
    Annotated,
    Any,
    Final,
    Generic,
    Literal,
    NamedTuple,
    Self,
    TypeAlias,
    TypedDict,
    TypeVar,
    Unpack,
    get_args,
)

import httpx

DEFAULT_URL: Final = "http://localhost:2011"
TIMEOUT_SECONDS: Final = 330.0
"""Longer than the 300 s after which the service itself gives up, for its answer says why."""

QUICK_TIMEOUT_SECONDS: Final = 10.0
"""For requests without computation: to connect, and /health."""

FIRST_WAIT_SECONDS: Final = 0.5
LONGEST_WAIT_SECONDS: Final = 30.0
UNAUTHORIZED, TOO_LARGE, UNPROCESSABLE, BUSY, UNAVAILABLE = 401, 413, 422, 429, 503

MAX_FILES: Final = 16
"""How many files `embed_many` sends in one request; the service allows 64 files and 1,024 windows."""

MAX_FILES_CHARACTERS: Final = 4_000_000
"""How much base64 `embed_many` sends in one request; the service allows 8 MiB by default."""

OFF: Final = "off"
"""Stands for null in the fields that null switches off: None means everywhere that a field is not sent."""

CAN_BE_OFF: Final = frozenset({"chords", "variety"})

Result: TypeAlias = dict[str, Any]
"""An answer of the service as it came, with `midi_bytes` added to each variation that has a MIDI file."""

Midi: TypeAlias = bytes | bytearray | memoryview | str | os.PathLike[str]
"""The bytes of a MIDI file, or the path of one."""

Notes: TypeAlias = Sequence[Mapping[str, Any]]
"""Notes as a variation of an answer has them, or with `onset`, `duration` and `pitch` at least."""

Headers: TypeAlias = Mapping[str, str] | None
"""HTTP headers to add to the request: `traceparent`, for instance."""

Task: TypeAlias = Literal["generate", "continue", "accompany", "infill", "variation", "embed"]

BySlot: TypeAlias = float | Mapping[Literal["onset", "duration", "note"], float]
"""One number for all three choices that make a note, or numbers by choice."""

PrimeFrom: TypeAlias = Literal["start", "end"]

Names: TypeAlias = Sequence[int | str]
"""Instruments: General MIDI names, numbers (0 to 127, 128 for drums) or families. Tracks: names, or numbers from 1."""

PitchRanges: TypeAlias = Sequence[int] | Mapping[str, Sequence[int]]
"""The lowest and the highest pitch: of all instruments but drums, or by instrument."""

Chords: TypeAlias = str | Sequence[Mapping[str, Any]]
"""A bar each, as in "Am | F | C G | E7", or chords with the bar or the second at which they begin."""

Locked: TypeAlias = Sequence[int] | Mapping[str, Any]
"""Places in the notes that are sent, counted from 0, or an object with `instruments`, `pitch_range` or both."""

Include: TypeAlias = Sequence[Literal["midi", "notes"]]

Grid: TypeAlias = Literal["1/4", "1/8", "1/8T", "1/16", "1/16T", "1/32"]

RenderFormat: TypeAlias = Literal["wav", "flac", "ogg", "mp3", "svg"]
"""What MIDI can be rendered to: sound, or an image of a piano roll."""

AnswerT = TypeVar("AnswerT")
BytesT = TypeVar("BytesT")
EventsT = TypeVar("EventsT")
ResultsT = TypeVar("ResultsT")


class Options(TypedDict, total=False):
    """Name the fields of every request. For a field that is None or absent the service takes its own default."""

    model_size: Annotated[
        str | None, "tiny, small, medium, large or another that the service offers (default: the service's)"
    ]
    client_job_id: Annotated[str | None, "your own name for this job"]


class TimeOptions(Options, total=False):
    """Name the fields of requests that count in beats."""

    bpm: Annotated[
        float | None,
        "tempo of the file and of its beats, which moves no note, 20 to 300 (default: the input's, or 120)",
    ]
    time_unit: Annotated[
        Literal["seconds", "beats"] | None, "of the notes that are sent, and of those that come (default: seconds)"
    ]


class MusicOptions(TimeOptions, total=False):
    """Name the fields of all requests for music."""

    top_p: Annotated[BySlot | None, "tame or wild, 0.1 to 1 (default: 0.95)"]
    temperature: Annotated[BySlot | None, "bolder above 1, the likeliest only at 0, 0 to 2 (default: 1)"]
    top_k: Annotated[BySlot | None, "choose among this many of the likeliest, 1 to 512 (default: all)"]
    min_p: Annotated[
        BySlot | None, "never choose what is less likely than this share of the likeliest, 0 to 1 (default: 0)"
    ]
    instruments: Annotated[Names | None, "who plays new notes: General MIDI names, numbers (128: drums) or families"]
    exclude_instruments: Annotated[Names | None, "who does not, named likewise"]
    instrument_balance: Annotated[
        float | None,
        "how soon each of them comes in, 0 to 10 (default: 3; accompany, infill, variation: more if there "
        "is little time)",
    ]
    pitch_range: Annotated[PitchRanges | None, "lowest and highest pitch of new notes, of all or by instrument"]
    max_polyphony: Annotated[int | None, "how many new notes may sound at a time, 1 to 64"]
    density: Annotated[float | None, "how many new notes a second are aimed at, 0.1 to 50"]
    velocity: Annotated[int | Literal["auto"] | None, "how loud new notes are, 1 to 127 (default: auto)"]
    time_signature: Annotated[str | None, "such as 3/4 (default: the input's, or 4/4)"]
    grid: Annotated[Grid | None, "where new notes begin: on beats, or on parts of them; T: triplets"]
    grid_durations: Annotated[bool | None, "end new notes on the grid too"]
    swing: Annotated[float | None, "where the second of two lines of the grid is, 0.5 to 0.75 (default: 0.5)"]
    key: Annotated[str | None, "of new notes: A minor, D dorian and so on, or auto: the key of what is kept"]
    key_mode: Annotated[Literal["bias", "strict"] | None, "other notes are unlikely, or forbidden (default: bias)"]
    chords: Annotated[
        Chords | None,
        "of new notes, a bar each: Am | F | C G | E7, or auto: those of what is kept, or off "
        "(default: none; accompany, infill, variation: auto)",
    ]
    chord_share: Annotated[float | None, "how much of new notes is aimed to fit the chords, 0 to 1"]
    variety: Annotated[
        float | Literal["auto", "off"] | None,
        "share of the six commonest notes that is aimed at, or off, 0.1 to 1 (default: auto)",
    ]
    include: Annotated[Include | None, "what comes: midi, notes or both (default: midi)"]
    num_variations: Annotated[int | None, "how many results, 1 to 5 (default: 1)"]
    seed: Annotated[int | None, "for the same music again (default: a new one)"]
    on_degenerate: Annotated[
        Literal["retry", "keep"] | None, "draw what is silent or stuck again, or keep it (default: retry)"
    ]


class FileOptions(Options, total=False):
    """Name the fields of requests with a MIDI file."""

    sustain: Annotated[
        Literal["keep", "apply"] | None, "notes last as they were struck, or apply the file's pedal (default: keep)"
    ]


class EditOptions(MusicOptions, FileOptions, total=False):
    """Name the fields of requests for music from a MIDI file."""

    avoid_copy: Annotated[
        bool | None, "no more than 12 new notes in a row are those of the input (default: off; variation: on)"
    ]


class EmbedOptions(FileOptions, TimeOptions, total=False):
    """Name the fields of requests for vectors."""

    pooling: Annotated[Literal["mean", "last", "max", "none"] | None, "how tokens become a vector (default: mean)"]
    windows: Annotated[
        Literal["first", "all", "each"] | None,
        "the first 341 events, all in one vector, or a vector for each 341 (default: first)",
    ]
    normalize: Annotated[bool | None, "scale vectors to the length 1"]


class Fields(EditOptions, EmbedOptions, total=False):
    """Name the fields of all tasks, without the file."""

    length_seconds: Annotated[float | None, "new music, 1 to 120 (default: 20; accompany: to the end)"]
    length_bars: Annotated[int | None, "likewise in bars, to a bar line, 1 to 1000"]
    prime_seconds: Annotated[
        float | None, "how much is kept before new music, 1 to 60; accompany: 0 to 60 (default: 5; accompany: 0)"
    ]
    prime_bars: Annotated[int | None, "likewise in bars, 1 to 1000; accompany: 0 to 1000"]
    prime_from: Annotated[PrimeFrom | None, "go on from the input's first seconds, or its end (default: start)"]
    melody_instruments: Annotated[Names | None, "what is accompanied: all that these play (default: everything)"]
    melody_tracks: Annotated[Names | None, "likewise by track: names, or numbers from 1"]
    locked: Annotated[
        Locked | None, "what stays in the span: places in the notes, from 0, or instruments and pitch_range"
    ]
    similarity: Annotated[float | None, "share of the notes that stays, 0 to 1 (default: 0.5)"]
    start_seconds: Annotated[float | None, "where the span begins that is written again"]
    end_seconds: Annotated[float | None, "where it ends"]
    start_bar: Annotated[int | None, "its first bar, counted from 1"]
    end_bar: Annotated[int | None, "the first bar behind it"]
    embed_layer: Annotated[int | None, "the hidden state to take (default: -3)"]


class MusicResult(dict[str, Any]):
    """Be a result of music that shows itself in a notebook: a piano roll and a player for each variation.

    The service draws and plays; without it there is a line of text. Copies are ordinary dicts.
    """

    def __init__(self, result: Result, render: Callable[[bytes, RenderFormat], bytes]) -> None:
        """Take a result, and what asks the service for a rendering."""
        super().__init__(result)
        self._render = render

    def __reduce__(self) -> tuple[type[dict[str, Any]], tuple[Result]]:
        return dict, (dict(self),)

    def _repr_html_(self) -> str:
        return "\n".join(map(self._html, self["variations"]))

    def _html(self, variation: Result) -> str:
        text = f"{variation['num_events']} notes, {variation['duration_seconds']:.1f} s, seed {variation['seed']}"
        parts = [f"<div>{html.escape(text)}"]
        try:
            midi = variation["midi_bytes"]
            parts.append(self._render(midi, "svg").decode())
            sound = base64.b64encode(self._render(midi, "mp3")).decode()
            parts.append(f'<audio controls src="data:audio/mpeg;base64,{sound}"></audio>')
        except KeyError:
            pass  # no MIDI was asked for
        except AnticipatoryError as error:
            parts.append(f"<p>{html.escape(str(error))}</p>")
        return "\n".join([*parts, "</div>"])


class Event(NamedTuple):
    """Hold one event of a stream.

    - `note`, once for each: `variation`, `onset` and `duration` in the request's `time_unit`, `pitch`, `instrument`,
      `velocity`, `is_new`
    - `progress`: `seconds` of new music that are done, on average over the variations, out of `total_seconds`
    - `discard`: forget the notes of `variation`: it was silent or stuck (`reason`) and is generated again
    - `result`, the last: the same data that the method without a stream returns
    """

    name: str
    data: Result


class AnticipatoryError(Exception):
    """Group all errors that this client raises on purpose; `str` of one is a line of text."""


class ConnectionFailed(AnticipatoryError):
    """Report that nothing answers at the address."""


class ConnectionLost(AnticipatoryError):
    """Report that the connection broke before the answer was complete."""


class RequestTimeout(AnticipatoryError):
    """Report that the answer did not come in time."""


class UnexpectedAnswer(AnticipatoryError):
    """Report that something answered, but not this service."""


class ServiceError(AnticipatoryError):
    """Report that the service answered with an error. `detail` is as sent: text, or a list of problems."""

    def __init__(self, status: int, detail: Any) -> None:
        super().__init__(status, detail)
        self.status = status
        self.detail = detail

    def __str__(self) -> str:
        text = _detail_text(self.detail) or httpx.codes.get_reason_phrase(self.status) or "no reason given"
        return f"{text} (HTTP {self.status})"


class InvalidRequest(ServiceError):
    """Report that the request must be changed; `detail` says what is wrong with it."""


class Unauthorized(InvalidRequest):
    """Report that the service asks for a key, and was given none or a wrong one."""

    def __str__(self) -> str:
        return f"{super().__str__()}: give api_key, or set LIT_SERVER_API_KEY"


class Busy(ServiceError):
    """Report that too many requests are waiting."""


class Unavailable(ServiceError):
    """Report that the service is not ready, or that the model cannot be loaded."""


class ServerFault(ServiceError):
    """Report that the service failed, or ran out of time."""


def address(text: str) -> httpx.URL:
    """Return the address of a service. Raise ValueError when it cannot be one."""
    try:
        url = httpx.URL(text)
    except httpx.InvalidURL as error:
        raise ValueError(f"{text!r} is not an address: {error}") from error
    if url.scheme not in ("http", "https") or not url.host:
        raise ValueError(f"{text!r} is not an address such as {DEFAULT_URL}")
    return url


def retry_wait_seconds(attempt: int, retry_after: str | None = None) -> float:
    """Return how long to wait after `attempt` retries: what `retry_after` asks for, else twice as long each time.

    Random jitter keeps clients that were refused together from coming back together. `retry_after` is the value of
    the header: seconds or an HTTP date.
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
    """Return an error's detail as one line. FastAPI's list becomes `field: message; field: message`."""
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
    """Return an event, with `midi_bytes` added to the variations of a result. Raise an `error` event."""
    try:
        data = json.loads(text)
        if name == "error":
            raise _service_error(data["status"], data["detail"])
        if name == "result" and data["task"] != "embed":
            for variation in data["variations"]:
                if "midi_base64" in variation:
                    variation["midi_bytes"] = base64.b64decode(variation["midi_base64"], validate=True)
    except (ValueError, KeyError, TypeError) as error:
        raise UnexpectedAnswer(f"this is no answer of the service: {text[:80]!r}") from error
    return Event(name, data)


class _EventReader:
    """Read server-sent events from the lines of an answer."""

    def __init__(self, response: httpx.Response) -> None:
        kind = response.headers.get("content-type", "nothing known")
        if not kind.startswith("text/event-stream"):
            raise UnexpectedAnswer(f"this is no stream of the service, but {kind}: is the address right?")
        self._fields: dict[str, str] = {}

    def read(self, line: str) -> Event | None:
        """Return the event that ends with this line, if one does."""
        if line:
            name, _, value = line.partition(":")  # a comment has no name
            self._fields[name] = value.removeprefix(" ")
            return None
        fields, self._fields = self._fields, {}
        return _read_event(fields.get("event", "message"), fields["data"]) if "data" in fields else None


def _refusal(response: httpx.Response) -> AnticipatoryError:
    """Return the error that an answer without success stands for."""
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


def render_format(out: str | os.PathLike[str]) -> RenderFormat:
    """Return the format that a file's name ends in. Raise ValueError if that is none that the service renders to."""
    extension = Path(out).suffix.lower().removeprefix(".")
    known: tuple[RenderFormat, ...] = get_args(RenderFormat)
    for format in known:
        if extension == format:
            return format
    raise ValueError(f"{os.fspath(out)} must end in one of .{', .'.join(known)}, or format must be given")


def _checked_rendering(response: httpx.Response, rendered: bytes) -> bytes:
    """Return what was rendered. Raise UnexpectedAnswer if this is no answer of the service."""
    kind = response.headers.get("content-type", "nothing known")
    if not kind.startswith(("audio/", "image/svg+xml")):
        raise UnexpectedAnswer(f"this is no sound and no image, but {kind}: is the address right?")
    return rendered


def _render_once(base_url: str, api_key: str, midi: bytes, format: RenderFormat) -> bytes:
    """Render with a client of its own, which does not wait for long: a notebook is being shown."""
    with AnticipatoryClient(base_url, api_key=api_key, timeout=QUICK_TIMEOUT_SECONDS, max_retries=0) as client:
        return client.render(midi, format=format)


def _is_ok(health: httpx.Response) -> bool:
    """Return whether /health says ok; it answers in plain text, and 503 while the service is not ready."""
    return health.status_code == httpx.codes.OK and health.text.strip() == "ok"


def _read(midi: Midi) -> bytes:
    return Path(midi).read_bytes() if isinstance(midi, str | os.PathLike) else bytes(midi)


def _base64(midi: Midi) -> str:
    return base64.b64encode(_read(midi)).decode()


def _body(task: Task, music: Midi | Notes | None = None, **fields: Any) -> Result:
    """Return a request. Fields that are None are left out. Who sends notes gets notes, unless `include` says more."""
    body: Result = {"task": task}
    if isinstance(music, bytes | bytearray | memoryview | str | os.PathLike):
        body["midi_input"] = _base64(music)
    elif music is not None:
        body["notes"] = list(map(dict, music))
        if task != "embed" and fields.get("include") is None:
            fields["include"] = ["notes"]
    body |= {name: value for name, value in fields.items() if value is not None}
    return body | {name: None for name in CAN_BE_OFF & fields.keys() if fields[name] == OFF}


@dataclass
class _Batch:
    """Hold the files that one request embeds, in base64, and its other fields."""

    fields: Mapping[str, Any]
    names: list[str] = field(default_factory=list)
    files: list[str] = field(default_factory=list)

    def is_full(self, file: str) -> bool:
        """Return whether this file must go into the next request."""
        most = 1 if self.fields.get("pooling") == "none" else MAX_FILES  # vectors of all tokens make a large answer
        return len(self.files) >= most or sum(map(len, [file, *self.files])) > MAX_FILES_CHARACTERS

    @property
    def body(self) -> Result:
        """Return the request."""
        files = {"midi_inputs": self.files} if len(self.files) > 1 else {"midi_input": self.files[0]}
        return _body("embed", **files, **self.fields)

    def split(self, answer: Result) -> list[Result]:
        """Return a result for each file, as if it had been sent alone."""
        files = answer.pop("files", [{}])
        return [file | answer for file in files]

    @contextmanager
    def own_errors(self) -> Iterator[None]:
        """Put the file's name into errors about it."""
        try:
            yield
        except InvalidRequest as error:
            detail = error.detail
            if isinstance(detail, str) and error.status in (TOO_LARGE, UNPROCESSABLE):
                prefix = f"{self.names[0]}: " if len(self.names) == 1 else ""
                detail = prefix + re.sub(r"midi_inputs\[(\d+)\]", lambda match: self.names[int(match[1])], detail)
            raise _service_error(error.status, detail) from error


def _batches(midis: Iterable[Midi], **fields: Any) -> Iterator[_Batch]:
    """Yield requests that embed all of the files, in their order."""
    batch = _Batch(fields)
    for number, midi in enumerate(midis):
        file = _base64(midi)
        if batch.files and batch.is_full(file):
            yield batch
            batch = _Batch(fields)
        batch.names.append(os.fspath(midi) if isinstance(midi, str | os.PathLike) else f"midis[{number}]")
        batch.files.append(file)
    if batch.files:
        yield batch


class _BaseClient(ABC, Generic[AnswerT, EventsT, ResultsT, BytesT]):
    """Share all but the sending. `AnswerT` is what a request returns: a result, or a coroutine that gives one."""

    def __init__(
        self,
        base_url: httpx.URL | str = DEFAULT_URL,
        *,
        api_key: str | None = None,
        timeout: float = TIMEOUT_SECONDS,
        max_retries: int = 3,
    ) -> None:
        """Prepare a client; nothing is sent yet.

        Args:
            base_url: the address of the service.
            api_key: the key for a service that asks for one (default: the environment's LIT_SERVER_API_KEY).
            timeout: seconds to wait for an answer, or for the next event of a stream.
            max_retries: how often to try again while the service is busy (429) or not ready (503).

        Raises:
            ValueError: `base_url` is no address.
        """
        url = address(str(base_url))
        self.base_url = str(url.copy_with(userinfo=b"")).rstrip("/")
        self.timeout = timeout
        self.max_retries = max_retries
        self._quick_timeout = min(timeout, QUICK_TIMEOUT_SECONDS)
        key = os.environ.get("LIT_SERVER_API_KEY", "") if api_key is None else api_key
        self._render_again = partial(_render_once, str(url), key)
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
        length_seconds: float | None = None,
        *,
        length_bars: int | None = None,
        headers: Headers = None,
        **options: Unpack[MusicOptions],
    ) -> AnswerT:
        """Generate music from nothing: 20 seconds, or as much as is asked for."""
        length = {"length_seconds": length_seconds, "length_bars": length_bars}
        return self._predict(_body("generate", None, **length, **options), headers)

    def continue_midi(
        self,
        midi: Midi | Notes,
        prime_seconds: float | None = None,
        length_seconds: float | None = None,
        *,
        prime_bars: int | None = None,
        length_bars: int | None = None,
        prime_from: PrimeFrom | None = None,
        headers: Headers = None,
        **options: Unpack[EditOptions],
    ) -> AnswerT:
        """Keep the first `prime_seconds` (5) of a MIDI file, and go on with `length_seconds` (20) of new music.

        With `prime_from="end"` keep all of the file; the new music follows its last note, and goes on from its last
        `prime_seconds`.
        """
        prime = {"prime_seconds": prime_seconds, "prime_bars": prime_bars, "prime_from": prime_from}
        length = {"length_seconds": length_seconds, "length_bars": length_bars}
        return self._predict(_body("continue", midi, **prime, **length, **options), headers)

    continue_notes = continue_midi  # by the name that people look for: notes may stand in the place of any file

    def accompany(
        self,
        midi: Midi | Notes,
        *,
        melody_instruments: Names | None = None,
        melody_tracks: Names | None = None,
        prime_seconds: float | None = None,
        prime_bars: int | None = None,
        length_seconds: float | None = None,
        length_bars: int | None = None,
        headers: Headers = None,
        **options: Unpack[EditOptions],
    ) -> AnswerT:
        """Write new parts around a melody, in place of all other parts.

        The melody is all that `melody_instruments` play or that `melody_tracks` hold; by default it is everything. It
        is accompanied from its start to its end. Before `prime_seconds` the other parts are kept too.
        """
        melody = {"melody_instruments": melody_instruments, "melody_tracks": melody_tracks}
        prime = {"prime_seconds": prime_seconds, "prime_bars": prime_bars}
        length = {"length_seconds": length_seconds, "length_bars": length_bars}
        return self._predict(_body("accompany", midi, **melody, **prime, **length, **options), headers)

    def infill(
        self,
        midi: Midi | Notes,
        start_seconds: float | None = None,
        end_seconds: float | None = None,
        *,
        start_bar: int | None = None,
        end_bar: int | None = None,
        locked: Locked | None = None,
        headers: Headers = None,
        **options: Unpack[EditOptions],
    ) -> AnswerT:
        """Replace the music from `start_seconds` to `end_seconds` of a MIDI file, or from one bar to before another.

        With `instruments` replace only the notes of these instruments, and keep those of all others; with `locked` keep
        these too.
        """
        seconds = {"start_seconds": start_seconds, "end_seconds": end_seconds}
        bars = {"start_bar": start_bar, "end_bar": end_bar}
        return self._predict(_body("infill", midi, **seconds, **bars, locked=locked, **options), headers)

    def vary(
        self,
        midi: Midi | Notes,
        similarity: float | None = None,
        *,
        start_seconds: float | None = None,
        end_seconds: float | None = None,
        start_bar: int | None = None,
        end_bar: int | None = None,
        headers: Headers = None,
        **options: Unpack[EditOptions],
    ) -> AnswerT:
        """Keep a share of the notes of a MIDI file, `similarity` (0.5), and write the others again.

        Without a start or an end all of the file is varied, at most 120 s; with `instruments` only what these play.
        """
        seconds = {"start_seconds": start_seconds, "end_seconds": end_seconds}
        bars = {"start_bar": start_bar, "end_bar": end_bar}
        return self._predict(_body("variation", midi, similarity=similarity, **seconds, **bars, **options), headers)

    def embed(
        self, midi: Midi | Notes, embed_layer: int = -3, *, headers: Headers = None, **options: Unpack[EmbedOptions]
    ) -> AnswerT:
        """Describe a MIDI file by a vector, or by several: see `EmbedOptions`."""
        return self._predict(_body("embed", midi, embed_layer=embed_layer, **options), headers)

    def embed_many(
        self, midis: Iterable[Midi], embed_layer: int = -3, *, headers: Headers = None, **options: Unpack[EmbedOptions]
    ) -> ResultsT:
        """Yield what `embed` returns for each of any number of MIDI files, in their order, as they are done.

        Files are read and sent a few at a time, so that a folder of any size needs little memory, and results that came
        before an error are not lost. Nothing is sent before the first result is asked for.
        """
        return self._embed_many(_batches(midis, embed_layer=embed_layer, **options), headers)

    def render(
        self,
        midi: Midi,
        out: str | os.PathLike[str] | None = None,
        *,
        format: RenderFormat | None = None,
        headers: Headers = None,
    ) -> BytesT:
        """Return a MIDI file as sound (wav, flac, ogg, mp3) or as an image of its piano roll (svg).

        Args:
            midi: the bytes or the path of a file of at most 10 minutes.
            out: the file to write it to as well.
            format: which of them (default: as the name of `out` ends, else wav, or svg if the service makes no sound).
            headers: to send along.
        """
        if format is None and out is not None:
            format = render_format(out)
        return self._render(_read(midi), out, format, headers)

    def stream(
        self,
        task: Task = "generate",
        midi: Midi | Notes | None = None,
        *,
        headers: Headers = None,
        **fields: Unpack[Fields],
    ) -> EventsT:
        """Yield the events of a request as they happen: each note, and last the result.

        `fields` are those of the task's own method, by name. Nothing is sent before the first event is asked for.
        Leaving the loop early closes the connection, and the service stops: at once if the iterator is closed
        (`contextlib.closing`, `aclosing`), else when it is garbage-collected.
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

    @abstractmethod
    def _render(self, midi: bytes, out: str | os.PathLike[str] | None, format: str | None, headers: Headers) -> BytesT:
        """Send a file, and read and write what it becomes."""

    def _rendering(self, midi: bytes, format: str | None, headers: Headers) -> dict[str, Any]:
        """Return the arguments of `_post` for a file to render."""
        return {
            "path": "/render",
            "content": midi,
            "params": {"format": format} if format else {},
            "headers": {"Content-Type": "audio/midi", **(headers or {})},
        }

    def _shown(self, event: Event) -> Event:
        """Return an event; the result of music shows itself."""
        is_music = event.name == "result" and "variations" in event.data
        return event._replace(data=MusicResult(event.data, self._render_again)) if is_music else event

    @abstractmethod
    def _embed_many(self, batches: Iterator[_Batch], headers: Headers) -> ResultsT:
        """Send requests one after another, and read the result of each file."""

    def _wait_seconds(self, response: httpx.Response, attempt: int) -> float:
        """Return how long to wait before a refused request is sent again. Raise the refusal if it is not."""
        if response.status_code not in (BUSY, UNAVAILABLE) or attempt >= self.max_retries:
            raise _refusal(response)
        return retry_wait_seconds(attempt, response.headers.get("retry-after"))

    @contextmanager
    def _own_errors(self) -> Iterator[None]:
        """Turn errors of httpx into those of this client."""
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


class AnticipatoryClient(_BaseClient[Result, Generator[Event], Generator[Result], bytes]):
    """Ask the service from ordinary code. A `with` block closes the client; so does garbage collection."""

    def _open(self, **options: Any) -> None:
        self._http = httpx.Client(**options)
        weakref.finalize(self, self._http.close)

    @contextmanager
    def _post(self, path: str, **request: Any) -> Iterator[httpx.Response]:
        """Provide a good answer, not yet read. Send the request again while the service is busy or not ready."""
        with self._own_errors():
            for attempt in itertools.count():
                with self._http.stream("POST", path, **request) as response:
                    if response.is_success:
                        yield response
                        return
                    response.read()
                time.sleep(self._wait_seconds(response, attempt))

    def _predict(self, body: Result, headers: Headers) -> Result:
        with self._post("/predict", json=body, headers=headers) as response:
            response.read()
        return self._shown(_read_event("result", response.text)).data

    def _stream(self, body: Result, headers: Headers) -> Generator[Event]:
        with self._post("/predict/stream", json=body, headers=headers) as response:
            reader = _EventReader(response)
            for line in response.iter_lines():
                if event := reader.read(line):
                    yield self._shown(event)
                    if event.name == "result":
                        return
        raise ConnectionLost(f"the connection to {self.base_url} broke: the stream ended before its result")

    def _render(self, midi: bytes, out: str | os.PathLike[str] | None, format: str | None, headers: Headers) -> bytes:
        with self._post(**self._rendering(midi, format, headers)) as response:
            rendered = _checked_rendering(response, response.read())
        if out is not None:
            Path(out).write_bytes(rendered)
        return rendered

    def _embed_many(self, batches: Iterator[_Batch], headers: Headers) -> Generator[Result]:
        for batch in batches:
            with batch.own_errors():
                answer = self._predict(batch.body, headers)
            yield from batch.split(answer)

    def health(self) -> bool:
        """Return whether the service is there and ready."""
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


class AsyncAnticipatoryClient(
    _BaseClient[Coroutine[Any, Any, Result], AsyncGenerator[Event], AsyncGenerator[Result], Coroutine[Any, Any, bytes]]
):
    """Ask the service from asyncio: the same methods, with `await` and `async for`. Use an `async with` block."""

    def _open(self, **options: Any) -> None:
        self._http = httpx.AsyncClient(**options)

    @asynccontextmanager
    async def _post(self, path: str, **request: Any) -> AsyncIterator[httpx.Response]:
        """Provide a good answer, not yet read. Send the request again while the service is busy or not ready."""
        with self._own_errors():
            for attempt in itertools.count():
                async with self._http.stream("POST", path, **request) as response:
                    if response.is_success:
                        yield response
                        return
                    await response.aread()
                await asyncio.sleep(self._wait_seconds(response, attempt))

    async def _predict(self, body: Result, headers: Headers) -> Result:
        async with self._post("/predict", json=body, headers=headers) as response:
            await response.aread()
        return self._shown(_read_event("result", response.text)).data

    async def _stream(self, body: Result, headers: Headers) -> AsyncGenerator[Event]:
        async with self._post("/predict/stream", json=body, headers=headers) as response:
            reader = _EventReader(response)
            async for line in response.aiter_lines():
                if event := reader.read(line):
                    yield self._shown(event)
                    if event.name == "result":
                        return
        raise ConnectionLost(f"the connection to {self.base_url} broke: the stream ended before its result")

    async def _render(
        self, midi: bytes, out: str | os.PathLike[str] | None, format: str | None, headers: Headers
    ) -> bytes:
        async with self._post(**self._rendering(midi, format, headers)) as response:
            rendered = _checked_rendering(response, await response.aread())
        if out is not None:
            await asyncio.to_thread(Path(out).write_bytes, rendered)
        return rendered

    async def _embed_many(self, batches: Iterator[_Batch], headers: Headers) -> AsyncGenerator[Result]:
        for batch in batches:
            with batch.own_errors():
                answer = await self._predict(batch.body, headers)
            for result in batch.split(answer):
                yield result

    async def health(self) -> bool:
        """Return whether the service is there and ready."""
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


if __name__ == "__main__":
    _commands = Path(__file__).with_name("commands.py")
    if not _commands.is_file():
        sys.exit(f"error: {_commands} is missing: as a command, client.py needs it")
    # It imports this file under its own name. To import it here would make a circle, so it is run instead.
    runpy.run_path(str(_commands), run_name="__main__")
