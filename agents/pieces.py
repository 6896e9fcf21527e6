"""Read the piece that a tool is given: a MIDI file or a short list of notes, which becomes one."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from agents.errors import PieceRefused
from agents.files import Files
from amt.midi.codec import Piece, read_piece, write_notes
from amt.midi.instruments import find_instruments, instrument_name
from amt.midi.notes import TICKS_PER_SECOND, Note
from amt.midi.timing import MILLISECONDS_PER_TICK, Timing

MAX_NOTES: Final = 1_000
MAX_BEATS: Final = 2_000
MIN_BPM: Final = 20
MAX_BPM: Final = 300
DEFAULT_BPM: Final = 120.0
SENT_VELOCITY: Final = 80
"""What the service takes for notes that say nothing of it; a test holds them equal."""

SHOWN_PROBLEMS: Final = 3


class SentNote(BaseModel):
    """Hold a note as an agent sends it; the names are those of the HTTP API."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    onset: Annotated[float, Field(ge=0, le=MAX_BEATS)]
    duration: Annotated[float, Field(gt=0, le=MAX_BEATS)]
    pitch: Annotated[int, Field(ge=0, le=127)]
    instrument: int | str = 0
    velocity: Annotated[int, Field(ge=1, le=127)] = SENT_VELOCITY


class GivenPiece(NamedTuple):
    """Hold the piece that a tool is given.

    Attributes:
        name: the handle or the name of its file, or "notes".
        data: the bytes of a MIDI file.
    """

    name: str
    data: bytes

    def read(self) -> Piece:
        """Return its notes and its timing. Raise MidiError if the bytes are no MIDI file."""
        return read_piece(self.data)


def take_piece(
    files: Files,
    midi: str | None,
    notes: Sequence[Mapping[str, Any]] | None,
    bpm: float | None = None,
    time_signature: str | None = None,
) -> GivenPiece:
    """Return the piece of a tool's arguments.

    Args:
        files: where handles and paths lead.
        midi: a handle or a path.
        notes: instead of it, with times in beats.
        bpm: of the notes.
        time_signature: of the notes, such as 3/4.

    Raises:
        FileRefused: the file may not or cannot be read.
        PieceRefused: there is neither or both, or the notes are none.
    """
    if (midi is None) == (notes is None):
        raise PieceRefused("say either midi (a handle of an earlier result, or a path) or notes, one of the two")
    if midi is not None:
        return GivenPiece(*files.read_midi(midi))
    return GivenPiece("notes", write_beats(notes or (), bpm or DEFAULT_BPM, time_signature))


def write_beats(notes: Sequence[Mapping[str, Any]], bpm: float, time_signature: str | None = None) -> bytes:
    """Return a MIDI file of notes whose times are in beats, quarter notes at `bpm`."""
    if not 1 <= len(notes) <= MAX_NOTES:
        raise PieceRefused(f"notes must be 1 to {MAX_NOTES} notes, got {len(notes)}: send more as a MIDI file")
    if not MIN_BPM <= bpm <= MAX_BPM:
        raise PieceRefused(f"bpm must be in range {MIN_BPM}..{MAX_BPM}, got {bpm:g}")
    timing = Timing.from_bpm(bpm, divisor=24)
    if time_signature:
        timing = timing.with_signature(*_read_signature(time_signature))
    beat_ms = 60_000 / bpm
    written, spans = [], []
    for place, sent in enumerate(notes):
        note = _read_note(sent, place)
        start, end = round(note.onset * beat_ms), round((note.onset + note.duration) * beat_ms)
        onset, duration = start // MILLISECONDS_PER_TICK, max((end - start) // MILLISECONDS_PER_TICK, 1)
        written.append(Note(onset, duration, note.pitch, _read_instrument(note.instrument, place), note.velocity))
        spans.append((start, max(end, start + 1)))
    last = max(end for _, end in spans)
    return write_notes(written, last * TICKS_PER_SECOND / 1_000, timing, spans)


def _read_note(sent: Mapping[str, Any], place: int) -> SentNote:
    fields = {name: value for name, value in sent.items() if name != "is_new"}  # an answer's notes have it
    try:
        return SentNote.model_validate(fields)
    except ValidationError as error:
        problems = [f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors()[:SHOWN_PROBLEMS]]
        raise PieceRefused(
            f"notes[{place}]: {'; '.join(problems)}. A note has onset and duration in beats, pitch (0..127, 60 is "
            "middle C), and may have instrument (a General MIDI name or number, 128: drums) and velocity (1..127)"
        ) from error


def _read_instrument(wanted: int | str, place: int) -> int:
    found = find_instruments(wanted)  # raises InstrumentError, which names the nearest
    if len(found) > 1:
        some = ", ".join(instrument_name(each) for each in sorted(found)[:SHOWN_PROBLEMS])
        raise PieceRefused(f"notes[{place}]: {wanted!r} is a family; one instrument is wanted, such as {some}")
    return min(found)


def _read_signature(text: str) -> tuple[int, int]:
    """Return the two numbers of a time signature."""
    numerator, _, denominator = text.partition("/")
    allowed = (1, 2, 4, 8, 16, 32)
    if not (numerator.isdecimal() and 1 <= int(numerator) <= 32 and denominator in map(str, allowed)):
        raise PieceRefused(f"time_signature must be like 3/4 or 6/8, up to 32/32, got {text[:20]!r}")
    return int(numerator), int(denominator)
