"""Document the service for /docs and /openapi.json."""

import tomllib
from pathlib import Path
from typing import Final

from serving.documentation import Documentation
from tasks.examples import EXAMPLES, MORE_EXAMPLES
from tasks.responses import ErrorResponse

_PROJECT: Final = tomllib.loads((Path(__file__).parent.parent / "pyproject.toml").read_text())["project"]

DOCUMENTATION: Final = Documentation(
    title="Anticipatory Music Transformer",
    version=_PROJECT["version"],
    description="""Make music from nothing, continue or accompany a MIDI file or notes, write a span of it again, or
describe it by a vector: `task` says which. Choose an example to try each; the schema lists the fields of each.

A field that is null counts as not sent, but for `chords` and `variety`, which it switches off. Fields of other tasks
are checked and ignored, all others refused.""",
    stream_description="""The same request, answered with server-sent events while it is worked on:

- `note`, for each new note as it is decided (all tasks but embed): `variation`, `onset` and `duration` in `time_unit`
  from the start of the piece, `pitch`, `instrument` (General MIDI program, 128 for drums), `velocity`, `is_new`
- `discard` (all tasks but embed): what was told of this `variation` is void, it is drawn again; `reason` is silent or
  stuck
- `progress` (all tasks but embed): `seconds` of new music decided, on average over the variations, of `total_seconds`;
  `events` decided so far, rests included
- `result`, last: the JSON that the route without /stream answers with
- `error`, last: `status` and `detail`, when something goes wrong after the first event; before, the answer has
  the status itself

While there is nothing to tell, a comment (`: keep-alive`) comes every 10 seconds. If the first event takes longer,
the stream begins with a comment, and an error after that is an `error` event too.""",
    errors={
        400: "The body is empty, or not JSON that can be read; the detail says where.",
        401: "The service asks for a key, in the header X-API-Key.",
        413: "The body is larger than the service accepts.",
        415: "The body's content type is not application/json.",
        422: "A field is missing, unknown or out of range, the MIDI cannot be used, or the model cannot do "
        "the task; the detail says why.",
        429: "Too many requests wait already; Retry-After says when to try again.",
        500: "The service failed, and its log says how.",
        503: "The service is starting, restarting or stopping, or there is no memory for the request, or the model "
        "cannot be loaded; the detail says what to do, and Retry-After, if it is there, when to try again.",
        504: "The request took longer than the service's time limit.",
    },
    error_model=ErrorResponse,
    examples=EXAMPLES | MORE_EXAMPLES,
)
