"""Make MIDI files into sound and images."""

from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from amt.audio.files import write_sound
from amt.audio.synthesis import synthesize
from amt.errors import NoNotesError, RenderingError
from amt.midi.codec import Piece, read_piece
from amt.midi.notes import TICKS_PER_SECOND
from amt.midi.piano_roll import draw_piano_roll
from serving.conversion import Conversion, Format

MAX_SECONDS: Final = 600
MAX_NOTES: Final = 50_000

MEDIA_TYPES: Final = {
    "wav": "audio/wav",
    "flac": "audio/flac",
    "ogg": "audio/ogg",
    "mp3": "audio/mpeg",
    "svg": "image/svg+xml",
}
"""Of each format; of those that this service can make, the first is the default."""

NO_LIBRARY: Final = (
    "this service cannot make sound, for its audio libraries are optional and not installed: "
    "start it with `uv run --group audio python server.py`, or ask for format=svg"
)
NO_SOUND_FONT: Final = (
    "this service has no SoundFont to make sound with: start it with --soundfont FILE, or ask for format=svg"
)


def rendering(sound_font: Path | None) -> Conversion:
    """Return the route that renders, with the sounds of a SoundFont."""
    missing = ""
    if not (find_spec("tinysoundfont") and find_spec("soundfile")):
        missing = NO_LIBRARY
    elif not sound_font:
        missing = NO_SOUND_FONT
    return Conversion(
        path="/render",
        name="render",
        body="a MIDI file",
        body_types=("audio/midi", "application/octet-stream"),
        formats={
            name: Format(media_type, "" if name == "svg" else missing) for name, media_type in MEDIA_TYPES.items()
        },
        convert=partial(render, sound_font=sound_font),
        summary="Make a MIDI file into sound, or into an image of its notes",
        description=f"""Send the bytes of a MIDI file, and get it played (`wav`, `flac`, `ogg`, `mp3`) or drawn as a
piano roll (`svg`). `format` says which, or the header Accept; without both it is `wav`, or `svg` where the service
cannot make sound. At most {MAX_SECONDS // 60} minutes and {MAX_NOTES} notes. Requests are rendered one by one.""",
        errors={
            400: "The body is empty.",
            401: "The service asks for a key, in the header X-API-Key.",
            406: "Accept allows nothing that can be made; the detail names what can.",
            413: "The body is larger than the service accepts.",
            415: "The body wraps the file in a form or in JSON: send its bytes alone.",
            422: "The format is unknown, or the MIDI cannot be used, or is too long; the detail says why.",
            429: "Too many such requests wait already; Retry-After says when to try again.",
            500: "The service failed, and its log says how.",
            501: "This service cannot make sound; the detail says how to start one that can.",
            503: "The service is stopping, or there is no memory; Retry-After, if it is there, says when to try again.",
            504: "The request took longer than the service's time limit.",
        },
    )


def render(data: bytes, name: str, path: Path, sound_font: Path | None) -> None:
    """Write a MIDI file in the format of a name, one of `MEDIA_TYPES`, to a file.

    Raises:
        AMTError: the bytes are no MIDI file, or it has no notes, or too many.
    """
    piece = read_piece(data)
    _check(piece)
    if name == "svg":
        path.write_text(draw_piano_roll(piece))
    elif piece.score and sound_font:
        write_sound(synthesize(piece.score, sound_font), name, path)


def _check(piece: Piece) -> None:
    if not piece.notes:
        raise NoNotesError("the MIDI file holds no notes: there is nothing to render")
    if len(piece.notes) > MAX_NOTES:
        raise RenderingError(f"the MIDI file holds {len(piece.notes)} notes: at most {MAX_NOTES} are rendered")
    seconds = piece.length_ticks / TICKS_PER_SECOND
    if seconds > MAX_SECONDS:
        minutes = f"{seconds // 60:.0f}:{seconds % 60:02.0f}"
        raise RenderingError(f"the music lasts {minutes} minutes: at most {MAX_SECONDS // 60} are rendered")
