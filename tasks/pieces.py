"""Read the piece that a request holds, whichever way it came, and find how its answer counts time."""

from collections.abc import Sequence
from typing import Final

from amt.errors import MidiError
from amt.midi import codec
from amt.midi.codec import MAX_FILE_SECONDS, Piece
from amt.midi.notes import Note
from amt.midi.timing import CLOCKS_PER_QUARTER, MILLISECONDS_PER_TICK, Timing
from tasks.edit_requests import EditRequest
from tasks.music_request import MusicRequest
from tasks.notes import SentNote
from tasks.requests import EmbedRequest

DEFAULT_BPM: Final = 120.0


def read_piece(request: EditRequest | EmbedRequest) -> Piece:
    """Return the piece of a request, as a MIDI file or as notes.

    Raises:
        MidiError: the file cannot be used, or the notes last longer than a day.
    """
    if request.notes is None:
        return codec.read_piece(request.midi_bytes, sustained=request.sustain == "apply")
    timing = Timing().with_tempo(DEFAULT_BPM if request.bpm is None else request.bpm, CLOCKS_PER_QUARTER)
    unit = 1_000.0 if request.time_unit == "seconds" else timing.tempos[0].tempo / 1_000
    return _piece_of(request.notes, unit, timing)


def _piece_of(sent: Sequence[SentNote], unit_milliseconds: float, timing: Timing) -> Piece:
    spans = [(note.onset * unit_milliseconds, (note.onset + note.duration) * unit_milliseconds) for note in sent]
    last = max((end for _, end in spans), default=0.0)
    if last > 1_000 * MAX_FILE_SECONDS:
        raise MidiError(f"the notes last {last / 3_600_000:.0f} hours: at most 24 are read")
    scale = MILLISECONDS_PER_TICK
    notes = [
        Note(round(start / scale), round((end - start) / scale), note.pitch, note.instrument, note.velocity)
        for note, (start, end) in zip(sent, spans, strict=True)
    ]
    return Piece(notes, timing, spans=spans)


def find_timing(request: MusicRequest, piece: Piece | None) -> Timing:
    """Return how the answer counts time: as the piece does, but for what the request says of tempo and metre.

    Where there is a grid, or exact times, file ticks divide a quarter note into a multiple of 24 if a file can have it.
    """
    is_exact = request.grid is not None or (piece is not None and piece.spans is not None)
    timing = piece.timing if piece else Timing()
    if request.bpm is not None:
        timing = timing.with_tempo(request.bpm, CLOCKS_PER_QUARTER if is_exact else 1)
    if request.time_signature is not None:
        numerator, denominator = map(int, request.time_signature.split("/"))
        timing = timing.with_signature(numerator, denominator)
    return timing.for_grid() if is_exact else timing
