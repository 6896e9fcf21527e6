"""Define routes that convert a body into a file of another format, and answer their requests."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from email.message import Message
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO, Final

from fastapi import HTTPException, Request
from fastapi.responses import Response, StreamingResponse

from serving.abortable import limited, refusal
from serving.converter import Converter
from serving.json_body import receive_body
from serving.record import Recorder

CHUNK_BYTES: Final = 2**18


@dataclass(frozen=True)
class Format:
    """Hold what a conversion may make.

    Attributes:
        media_type: of the answer.
        missing: why this service cannot make it, and what to do; "" where it can.
    """

    media_type: str
    missing: str = ""


@dataclass(frozen=True)
class Conversion:
    """Hold what a route does.

    Attributes:
        path: of the route.
        name: in traces and metrics.
        body: what is sent, in words.
        body_types: media types that it may have; others are taken too, but for those that wrap files.
        formats: by name, the ones to be preferred first.
        convert: called in a process of its own with the body, the name of a format and the file to write.
        summary: of the route, for /docs.
        description: likewise, in Markdown.
        errors: what each status other than 200 means.
    """

    path: str
    name: str
    body: str
    body_types: tuple[str, ...]
    formats: Mapping[str, Format]
    convert: Callable[[bytes, str, Path], None]
    summary: str
    description: str
    errors: Mapping[int, str]

    def choose(self, wanted: str | None, accept: str) -> str:
        """Return the name of a format: the one that is wanted, or what a header `Accept` likes best.

        Raises:
            HTTPException: 406 for no format that there is, 501 for one that this service cannot make.
        """
        able = [name for name, each in self.formats.items() if not each.missing]
        name = wanted or self._best(able, accept) or self._best(self.formats, accept)
        if name is None:
            types = ", ".join(each.media_type for each in self.formats.values())
            raise HTTPException(406, f"nothing that Accept allows ({accept}) can be made: {types} can")
        if self.formats[name].missing:
            raise HTTPException(501, self.formats[name].missing)
        return name

    def _best(self, names: Iterable[str], accept: str) -> str | None:
        liked = {name: _quality(accept or "*/*", self.formats[name].media_type) for name in names}
        best = max(liked, key=lambda name: liked[name], default=None)  # of equals it takes the first
        return best if best and liked[best] else None


def _quality(accept: str, media_type: str) -> float:
    """Return how much a header `Accept` likes a media type, 0 if not at all. Source: RFC 9110, section 12.5.1."""
    ranges = (media_type, media_type.split("/")[0] + "/*", "*/*", "*")  # the first there is decides; the last is Java's
    qualities: dict[str, float] = {}
    for entry in accept.lower().split(","):
        name, *parameters = (part.strip() for part in entry.split(";"))
        weights = [parameter.removeprefix("q=") for parameter in parameters if parameter.startswith("q=")]
        try:
            qualities[name] = float(weights[0]) if weights else 1.0
        except ValueError:
            qualities[name] = 0.0
    return next((qualities[each] for each in ranges if each in qualities), 0.0)


@dataclass
class ConversionRequest:
    """Hold what the log and the metrics say of a request."""

    task: str
    client_job_id: str | None = None


class ConversionHandler:
    """Answer requests for one conversion."""

    def __init__(
        self, conversion: Conversion, converter: Converter, recorder: Recorder, timeout_seconds: float
    ) -> None:
        self._conversion, self._converter, self._recorder = conversion, converter, recorder
        self._timeout = timeout_seconds

    async def answer(self, request: Request, wanted: str | None) -> Response:
        """Answer with the file that a body becomes."""
        name = self._conversion.choose(wanted, ", ".join(request.headers.getlist("accept")))
        body = await receive_body(request)
        self._check(body, request.headers.get("content-type"))
        with TemporaryDirectory(ignore_cleanup_errors=True) as folder:
            path = Path(folder, name)
            await self._convert(request, body, name, path)
            file, size = path.open("rb"), path.stat().st_size  # what is open outlives its name
        media_type = self._conversion.formats[name].media_type
        return StreamingResponse(_chunks(file), headers={"Content-Length": str(size)}, media_type=media_type)

    def _check(self, body: bytes, content_type: str | None) -> None:
        what = self._conversion.body
        message = Message()
        message["content-type"] = content_type or ""
        kind = message.get_content_type()
        if content_type and (kind.startswith("multipart/") or kind == "application/json"):
            raise HTTPException(415, f"the body has the content type {kind}: send the bytes of {what} alone")
        if not body:
            raise HTTPException(400, f"the body is empty: send {what}")

    async def _convert(self, request: Request, body: bytes, name: str, path: Path) -> None:
        """Write the file."""
        said = ConversionRequest(self._conversion.name)
        with self._recorder.record(request, said, said.task) as record, self._converter.admit() as place:
            with limited(request, self._timeout, lambda status, detail: place.abort(refusal(status, detail))):
                seconds = await place.unless_aborted(self._converter.convert(body, name, path))
            self._recorder.metrics.record_durations(record.seconds - seconds, seconds, record.labels)


def _chunks(file: IO[bytes]) -> Iterator[bytes]:
    """Yield what a file holds, and close it."""
    with file:
        yield from iter(partial(file.read, CHUNK_BYTES), b"")
