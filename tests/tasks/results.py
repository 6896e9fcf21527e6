"""Answer requests as the service does, with new notes that a test chooses in the place of the model's."""

import base64
from collections.abc import Sequence
from typing import Any, Final

from amt.midi.codec import Piece, read_piece
from amt.midi.notes import Note
from amt.tokens import events as ev
from tasks import music
from tasks.responses import Metadata
from tests.conftest import GOLDEN
from tests.tasks.bodies import read
from worker.jobs import GeneratedVariation, GenerateJob

METADATA: Final = Metadata(
    model_size="tiny",
    model_id="weights/tiny",
    device="cpu",
    client_job_id=None,
    trace_id="0" * 32,
    span_id="0" * 16,
    queue_seconds=0.0,
    compute_seconds=0.0,
)


def job_of(**body: Any) -> GenerateJob:
    """The job that a body becomes."""
    return music.decode_request(read(**body), "tiny", {}, streams=False)


def answer(new: Sequence[Note] = (), **body: Any) -> dict[str, Any]:
    """The answer to a body, as JSON has it, when these are the new notes."""
    job = job_of(**body)
    moved = [note._replace(onset=note.onset - job.plan.origin_ticks) for note in new]
    generated = GeneratedVariation(ev.from_notes(moved), 1, 1, None)
    return music.encode_response(read(**body), job, [generated], METADATA).model_dump()


def piece_in(found: dict[str, Any]) -> Piece:
    """The file of the only variation of an answer."""
    return read_piece(base64.b64decode(found["variations"][0]["midi_base64"]))


def golden(name: str) -> str:
    """A golden file in base64."""
    return base64.b64encode((GOLDEN / f"midi/{name}.mid").read_bytes()).decode()
