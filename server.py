"""Start the service: `uv run python server.py --help` lists the settings."""

import signal
import sys

if __name__ == "__main__":  # before the imports that take their time; uvicorn has handlers of its own later
    for each in (signal.SIGTERM, signal.SIGINT):
        signal.signal(each, lambda signum, frame: sys.exit(0))

import logging
import os
import tomllib
from pathlib import Path

from pydantic import ValidationError

from api import AnticipatoryAPI
from schemas import EXAMPLES, ErrorResponse
from serving.http import Documentation
from serving.server import Server
from serving.settings import Settings
from serving.worker import LOG_FORMAT

DOCUMENTATION = Documentation(
    title="Anticipatory Music Transformer",
    version=tomllib.loads((Path(__file__).parent / "pyproject.toml").read_text())["project"]["version"],
    description="""Make music from nothing, go on from a MIDI file, or describe one by a vector: `task` says which.
The fields of all tasks are below; choose an example to try each.""",
    stream_description="""The same request, answered with server-sent events while it is worked on:

- `note`, for each note of generate and continue as it is decided: `variation`, `onset` and `duration` in seconds from
  the start of the piece, `pitch`, `instrument` (General MIDI program, 128 for drums), `velocity`
- `progress`: `seconds` of new music decided, on average over the variations, of `total_seconds`; `events` decided so
  far, rests included
- `result`, last: the JSON that the route without /stream answers with
- `error`, last: `status` and `detail`, when something goes wrong after the first event; before, the answer has
  the status itself""",
    errors={
        400: "The body is not JSON that can be read.",
        401: "The service asks for a key, in the header X-API-Key.",
        413: "The body is larger than the service accepts.",
        422: "A field is missing, unknown or out of range, or the MIDI cannot be used; the detail says why.",
        429: "Too many requests wait already; Retry-After says when to try again.",
        500: "The service failed, and its log says how.",
        503: "The service is starting, restarting or stopping, or there is no memory for the request, or the model "
        "cannot be loaded; the detail says what to do, and Retry-After, if it is there, when to try again.",
        504: "The request took longer than the service's time limit.",
    },
    error_model=ErrorResponse,
    examples=EXAMPLES,
)


def main() -> None:
    """Read the settings, then serve until stopped."""
    logging.basicConfig(level=logging.INFO, format=LOG_FORMAT)
    try:
        settings = Settings(_cli_parse_args=True)  # type: ignore[call-arg]
    except ValidationError as error:
        problems = "; ".join(f"{problem['loc'][0]}: {problem['msg']}" for problem in error.errors())
        sys.exit(f"invalid settings: {problems}. See python server.py --help")
    Server(AnticipatoryAPI(settings), settings, DOCUMENTATION, os.environ.get("LIT_SERVER_API_KEY")).run()


if __name__ == "__main__":
    main()
