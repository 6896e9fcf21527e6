"""Plan an edit of a piece: which notes a task keeps, which of them the model sees, and where new notes go."""

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from typing import Any, Final, NamedTuple

from amt.decoding.constraints import NO_CONSTRAINTS, Constraints
from amt.decoding.request import DecodeRequest
from amt.errors import ArrangementError, NoNotesError
from amt.midi.notes import TICKS_PER_SECOND, Note
from amt.tokens import events as ev
from amt.tokens.vocab import ANTICIPATION_TICKS, MAX_ONSET_TICKS, MAX_WINDOW_EVENTS

MAX_NOTES: Final = 20_000
MAX_NEW_TICKS: Final = 120 * TICKS_PER_SECOND


class _KeptNotes(NamedTuple):
    """Hold the kept notes of one pitch and instrument, by onset.

    Attributes:
        onsets: in ticks.
        latest_ends: for each note, the latest end of it and of those before it, in ticks.
    """

    onsets: list[int]
    latest_ends: list[int]


@dataclass(frozen=True)
class EditPlan:
    """Hold the notes of the result that are there already, and what the new ones are decoded from.

    Attributes:
        start_ticks: new notes begin from here on, counted from the start of the result.
        end_ticks: no new note begins at or sounds past this time.
        length_ticks: of the result.
        kept: notes that the result has unchanged.
        prompt: notes that the model sees as the past.
        controls: notes that the model is told 5 s ahead.
        origin_ticks: time 0 of the decoding, so that its windows hold no silence before the first note.
    """

    start_ticks: int
    end_ticks: int
    length_ticks: int
    kept: Sequence[Note] = ()
    prompt: Sequence[Note] = ()
    controls: Sequence[Note] = ()
    origin_ticks: int = 0

    @property
    def has_time(self) -> bool:
        """Whether there is time for new notes: if not, all is kept as it is."""
        return self.start_ticks < self.end_ticks

    def request(self, constraints: Constraints = NO_CONSTRAINTS, **choices: Any) -> DecodeRequest:
        """Return the request to the decoder.

        Args:
            constraints: with times from the start of the piece.
            choices: those fields of the request that do not depend on the plan.
        """
        return DecodeRequest(
            end_ticks=self.end_ticks - self.origin_ticks,
            start_ticks=self.start_ticks - self.origin_ticks,
            prompt=ev.translate(ev.from_notes(self.prompt), -self.origin_ticks),
            controls=ev.as_controls(ev.translate(ev.from_notes(self.controls), -self.origin_ticks)),
            existing_instruments=frozenset(note.instrument for note in self.kept),
            constraints=constraints.moved(-self.origin_ticks),
            **choices,
        )

    def new_notes(self, decoded: ev.Events, *, lengthens: bool = True) -> list[Note]:
        """Return decoded events as notes of the result, without those that would change how a kept note is read.

        `lengthens`: whether a note may be made longer to fit among the kept ones; if not, it is left out.
        """
        events = ev.translate(ev.unpad(decoded[~ev.is_control(decoded)]), self.origin_ticks)
        notes = ev.to_notes(ev.clip(events, self.start_ticks, self.end_ticks, clip_duration=True))
        pairs = ((note, self._fit_among_kept(note)) for note in notes)
        return [fitted for note, fitted in pairs if fitted and (lengthens or fitted.duration <= note.duration)]

    def _fit_among_kept(self, note: Note) -> Note | None:
        """Return a new note with a duration that leaves the kept notes as they are; None if there is none.

        Of two notes of one pitch on one channel, a reader of the file ends the older first. So a new note that begins
        while a kept one sounds must not end before it, and one that sounds when a kept one begins must end there.
        """
        kept = self._kept_by_key.get((note.instrument, note.pitch))
        if not kept:
            return note
        place = bisect_left(kept.onsets, note.onset)
        earliest_end = kept.latest_ends[place - 1] if place else 0
        latest_end = kept.onsets[place] if place < len(kept.onsets) else self.end_ticks
        if latest_end == note.onset or note.onset < earliest_end > min(latest_end, self.end_ticks):
            return None
        end = min(max(note.onset + note.duration, earliest_end), latest_end)
        return note._replace(duration=end - note.onset)

    @cached_property
    def _kept_by_key(self) -> dict[tuple[int, int], _KeptNotes]:
        """Return the kept notes by (instrument, pitch)."""
        spans: defaultdict[tuple[int, int], list[tuple[int, int]]] = defaultdict(list)
        for note in self.kept:
            spans[note.instrument, note.pitch].append((note.onset, note.onset + note.duration))
        return {
            key: _KeptNotes(
                [onset for onset, _ in sorted(each)], list(accumulate((end for _, end in sorted(each)), max))
            )
            for key, each in spans.items()
        }


def from_nothing(length_ticks: int) -> EditPlan:
    """Return a plan for a piece of new notes alone."""
    return EditPlan(0, length_ticks, length_ticks)


def continue_from_start(notes: Sequence[Note], prime_ticks: int, length_ticks: int) -> EditPlan:
    """Return a plan that keeps the notes that begin within the prime, and continues from there.

    New notes begin where the prime ends, or where the piece ends if that is earlier.

    Raises:
        NoNotesError: no note begins within the prime.
        ArrangementError: more than `MAX_NOTES` do.
    """
    _check_not_empty(notes, "continue")
    kept = _sorted(note for note in notes if note.onset < prime_ticks)
    if not kept:
        first = min(note.onset for note in notes)
        raise NoNotesError(
            f"no note begins in the first {_seconds(prime_ticks)} of the input: "
            f"the first begins at {_seconds(first)}, so prime_seconds must be greater"
        )
    _check_count(kept, "prime")
    start = min(prime_ticks, _end(notes))
    return EditPlan(start, start + length_ticks, start + length_ticks, kept, kept)


def continue_from_end(
    notes: Sequence[Note], prime_ticks: int, length_ticks: int, piece_ticks: int | None = None
) -> EditPlan:
    """Return a plan that keeps all notes, and continues where the piece ends.

    The model sees the notes that sound within the prime, which is the last part of the piece.

    Args:
        notes: of the piece.
        prime_ticks: of the prime, back from the end of the last note.
        length_ticks: of the new music.
        piece_ticks: when the piece ends; None: with its last note.

    Raises:
        NoNotesError: there are no notes.
        ArrangementError: there are more than `MAX_NOTES`.
    """
    _check_not_empty(notes, "continue")
    _check_count(notes, "input")
    last = _end(notes)
    start = last if piece_ticks is None else piece_ticks
    prompt = _sorted(note for note in notes if note.onset + note.duration > last - prime_ticks)[-MAX_WINDOW_EVENTS:]
    end = start + length_ticks
    return EditPlan(start, end, end, _sorted(notes), prompt, origin_ticks=prompt[0].onset)


def accompany(
    melody: Sequence[Note], accompaniment: Sequence[Note], prime_ticks: int, length_ticks: int | None = None
) -> EditPlan:
    """Return a plan that keeps the melody, keeps the accompaniment within the prime, and replaces it from there on.

    Args:
        melody: the part that is accompanied; it is kept whole, and the model is told it ahead.
        accompaniment: all other notes of the piece.
        prime_ticks: may be 0.
        length_ticks: of the new music; None: until the melody ends, at most 120 s.

    Raises:
        NoNotesError: there is no melody, or it ends before the prime does.
        ArrangementError: more than `MAX_NOTES` would be kept.
    """
    _check_not_empty(melody, "accompany")
    melody_end = _end(melody)
    if length_ticks is None:
        length_ticks = min(melody_end - prime_ticks, MAX_NEW_TICKS)
        if length_ticks <= 0:
            raise NoNotesError(
                f"the part to accompany ends at {_seconds(melody_end)}, before prime_seconds: prime_seconds must be "
                "less, or length_seconds must say how much is wanted after it"
            )
    prime = _sorted(note for note in accompaniment if note.onset < prime_ticks)
    kept = _sorted([*melody, *prime])
    _check_count(kept, "answer")
    end = prime_ticks + length_ticks
    controls = _sorted(note for note in melody if note.onset < end + ANTICIPATION_TICKS)
    return EditPlan(prime_ticks, end, max(end, _end(kept)), kept, prime, controls)


def infill(
    notes: Sequence[Note],
    start_ticks: int,
    end_ticks: int,
    rewritten: Collection[int] | None = None,
    locked: Iterable[Note] = (),
) -> EditPlan:
    """Return a plan that replaces the notes that begin within a span, and keeps all others.

    The model sees what was before the span as the past, and is told ahead what begins in the 5 s after it. The notes
    of instruments that are not rewritten are all told ahead, like a melody that is accompanied, and so are locked ones.

    Args:
        notes: the piece.
        start_ticks: of the span.
        end_ticks: of the span.
        rewritten: the instruments whose notes are replaced; None: all.
        locked: those of `notes`, the very objects, that are kept within the span too.

    Raises:
        NoNotesError: no note is near enough for the model to know what would fit.
        ArrangementError: the piece ends before the span does, or more than `MAX_NOTES` would be kept.
    """
    plan = replace_span(notes, start_ticks, end_ticks, rewritten, locked)
    if not plan.prompt and not plan.controls:
        raise NoNotesError(
            f"no note begins in the {MAX_ONSET_TICKS // TICKS_PER_SECOND} s before the span or in the "
            f"{ANTICIPATION_TICKS // TICKS_PER_SECOND} s after it: there is nothing that it could fit"
        )
    return plan


def replace_span(
    notes: Sequence[Note],
    start_ticks: int,
    end_ticks: int,
    rewritten: Collection[int] | None,
    locked: Iterable[Note],
) -> EditPlan:
    """Return the same plan as `infill`, also where there is nothing for the model to see."""
    _check_not_empty(notes, "fill in")
    length = _end(notes)
    if end_ticks > length:
        raise ArrangementError(
            f"end_seconds must be in range 0..{length / TICKS_PER_SECOND:g}, for the last note of the input ends "
            f"there, got {end_ticks / TICKS_PER_SECOND:g}"
        )
    ordered = _sorted(notes)
    locked_ids = {id(note) for note in locked}

    def is_rewritten(note: Note) -> bool:
        return rewritten is None or note.instrument in rewritten

    def is_replaced(note: Note) -> bool:
        return start_ticks <= note.onset < end_ticks and is_rewritten(note) and id(note) not in locked_ids

    kept = [note for note in ordered if not is_replaced(note)]
    _check_count(kept, "input")
    origin = _context_start(kept, start_ticks)
    shown = [note for note in kept if origin <= note.onset < end_ticks + ANTICIPATION_TICKS]
    prompt = [note for note in shown if note.onset < start_ticks and is_rewritten(note)]
    controls = [note for note in shown if note.onset >= start_ticks or not is_rewritten(note)]
    return EditPlan(start_ticks, end_ticks, length, kept, prompt, controls, origin)


def _context_start(ordered: Sequence[Note], start_ticks: int) -> int:
    """Return the onset of the earliest note that a window which reaches the start can hold; the start if none."""
    onsets = [note.onset for note in ordered]
    place = bisect_left(onsets, start_ticks)
    nearest = onsets[max(place - MAX_WINDOW_EVENTS, bisect_left(onsets, start_ticks - MAX_ONSET_TICKS)) : place]
    return nearest[0] if nearest else start_ticks


def _sorted(notes: Iterable[Note]) -> list[Note]:
    return sorted(notes, key=lambda note: note.onset)


def _end(notes: Iterable[Note]) -> int:
    return max(note.onset + note.duration for note in notes)


def _seconds(ticks: int) -> str:
    return f"{ticks / TICKS_PER_SECOND:g} s"


def _check_not_empty(notes: Sequence[Note], verb: str) -> None:
    if not notes:
        raise NoNotesError(f"the input holds no notes: there is nothing to {verb}")


def _check_count(notes: Sequence[Note], what: str) -> None:
    if len(notes) > MAX_NOTES:
        raise ArrangementError(f"the {what} holds {len(notes)} notes: at most {MAX_NOTES} are allowed")
