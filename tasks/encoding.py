"""Give the notes of a result back as a MIDI file, and as JSON in the unit of time that a request asks for."""

from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import Final

from amt.arranging.plan import EditPlan
from amt.midi import codec
from amt.midi.bars import Bars
from amt.midi.codec import Piece
from amt.midi.drum_hits import Span
from amt.midi.grid import spans_on
from amt.midi.notes import Note
from amt.midi.rewriting import numbers_of
from amt.midi.score import Score
from amt.midi.timing import MILLISECONDS_PER_TICK
from amt.tokens.events import Events
from tasks.edit_requests import EditRequest
from tasks.lengths import file_ticks
from tasks.notes import AnsweredNote
from tasks.requests import AnyMusicRequest
from tasks.velocity import VelocityShapers
from worker.jobs import GenerateJob

_EXACT_DECIMALS: Final = 9
"""Of times that are exact but for the error of floating point."""

_DECIMALS: Final = 4
"""Of times in beats that are rounded to 10 ms."""


class ResultEncoder:
    """Encode the results that one plan of a job has.

    Attributes:
        plan: what new notes become part of.
        new_shaper: makes the velocity shaper of a variation by its seed.
    """

    def __init__(self, request: AnyMusicRequest, job: GenerateJob, plan: EditPlan) -> None:
        """Prepare for a plan of the job of a request."""
        self.plan, self.new_shaper = plan, VelocityShapers(request, plan)
        self._request, self._job = request, job
        self._lines = job.grid.times if job.grid else {}

    def find_new(self, decoded: Events) -> list[Note]:
        """Return decoded events as notes of the result, without velocities yet."""
        return self.plan.new_notes(decoded, lengthens=self._request.max_polyphony is None)

    def midi(self, new: Sequence[Note]) -> bytes:
        """Return a MIDI file of what is kept and of new notes."""
        job, plan = self._job, self.plan
        spans = spans_on(self._lines, new) if job.grid else None
        length = file_ticks(self._request, Bars(job.timing), plan.length_ticks)
        if job.original:
            piece, until_ticks = job.original
            return codec.write_piece(piece, plan.kept, new, length, job.timing, until_ticks, spans)
        return codec.write_notes(new, length, job.timing, spans)

    def notes(self, new: Iterable[Note]) -> list[AnsweredNote]:
        """Return what is kept, and new notes, in order of onset."""
        return sorted([*self._kept, *map(self.note, new)], key=lambda note: note.onset)

    def note(self, new: Note) -> AnsweredNote:
        """Return a new note."""
        [span] = spans_on(self._lines, [new])
        is_exact = new.onset in self._lines
        return self._encode(new, self._times(span, _EXACT_DECIMALS if is_exact else _DECIMALS), is_new=True)

    @cached_property
    def _kept(self) -> list[AnsweredNote]:
        """What is kept: as it was sent, if notes were."""
        if not self._job.original:
            return []
        piece = self._job.original.piece
        numbers = numbers_of(piece.notes, self.plan.kept).tolist()
        return [
            self._encode(piece.notes[number], times, is_new=False)
            for number, times in zip(numbers, self._times_of(piece, numbers), strict=True)
        ]

    def _times_of(self, piece: Piece, numbers: list[int]) -> list[tuple[float, float]]:
        """Return onset and duration of notes of a piece."""
        if isinstance(self._request, EditRequest) and self._request.notes is not None:
            sent = self._request.notes
            return [(sent[number].onset, sent[number].duration) for number in numbers]
        if self._request.time_unit == "beats" and piece.score:
            return [self._in_beats(piece, piece.score, number) for number in numbers]
        spans = piece.spans_of([piece.notes[number] for number in numbers])
        return [self._times(span, _DECIMALS) for span in spans]

    def _in_beats(self, piece: Piece, score: Score, number: int) -> tuple[float, float]:
        """Return onset and duration of a note of a file, in its own beats or in those of another tempo."""
        on, held = score.pairs.on[number], piece.notes[number].duration - score.notes[number].duration
        start, end = 1_000 * score.seconds[on], 1_000 * score.end_seconds[number] + MILLISECONDS_PER_TICK * held
        onset, duration = self._times((float(start), float(end)), _DECIMALS)
        if self._request.bpm is not None or not score.file.has_beats:
            return onset, duration
        quarter, tick = piece.timing.ticks_per_beat, int(score.messages.tick[on])
        return tick / quarter, duration if held else (int(score.end_ticks[number]) - tick) / quarter

    def _times(self, span: Span, decimals: int) -> tuple[float, float]:
        """Return onset and duration in the unit that is asked for, of a note that begins and ends then."""
        start, end = span
        if self._request.time_unit == "seconds":
            return round(start / 1_000, _EXACT_DECIMALS), round((end - start) / 1_000, _EXACT_DECIMALS)
        timing = self._job.timing
        first, last = (float(timing.exact_file_tick(each)) / timing.ticks_per_beat for each in span)
        return round(first, decimals), round(last - first, decimals)

    def _encode(self, note: Note, times: tuple[float, float], *, is_new: bool) -> AnsweredNote:
        onset, duration = times
        return AnsweredNote(
            onset=onset,
            duration=duration,
            pitch=note.pitch,
            instrument=note.instrument,
            velocity=note.velocity,
            is_new=is_new,
        )


def find_encoders(request: AnyMusicRequest, job: GenerateJob) -> list[ResultEncoder]:
    """Return the encoder of each variation; those of one plan are the same."""
    if job.plans:
        return [ResultEncoder(request, job, plan) for plan in job.plans]
    return [ResultEncoder(request, job, job.plan)] * len(job.sequences)
