"""What a task keeps of a piece, what of it the model is shown, and where its new notes go."""

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from typing import Any, Final, NamedTuple

from amt.decoding.request import DecodeRequest
from amt.errors import ArrangementError, NoNotesError
from amt.midi.notes import TICKS_PER_SECOND, Note
from amt.tokens import events as ev
from amt.tokens.vocab import ANTICIPATION_TICKS, MAX_ONSET_TICKS, MAX_WINDOW_EVENTS

MAX_NOTES: Final = 20_000
MAX_NEW_TICKS: Final = 120 * TICKS_PER_SECOND


class _Kept(NamedTuple):
    """The kept notes of one pitch on one instrument: their onsets in order, and until when those so far sound."""

    onsets: list[int]
    sounding_until: list[int]


@dataclass(frozen=True)
class EditPlan:
    """Notes of the answer that are there already, and what the rest is decoded from.

    Attributes:
        start_ticks: new notes begin from here on, in the answer's time.
        end_ticks: none of them begins at or sounds past this.
        length_ticks: of the answer.
        kept: notes that the answer holds as they are.
        prompt: what the model sees as past.
        controls: what it is told 5 s ahead.
        origin_ticks: where the decoding's time begins; its windows then hold no silence before the first note.
    """

    start_ticks: int
    end_ticks: int
    length_ticks: int
    kept: Sequence[Note] = ()
    prompt: Sequence[Note] = ()
    controls: Sequence[Note] = ()
    origin_ticks: int = 0

    def request(self, **choices: Any) -> DecodeRequest:
        """What to decode; `choices` are the fields of a `DecodeRequest` that say how."""
        return DecodeRequest(
            end_ticks=self.end_ticks - self.origin_ticks,
            start_ticks=self.start_ticks - self.origin_ticks,
            prompt=ev.translate(ev.from_notes(self.prompt), -self.origin_ticks),
            controls=ev.as_controls(ev.translate(ev.from_notes(self.controls), -self.origin_ticks)),
            existing_instruments=frozenset(note.instrument for note in self.kept),
            **choices,
        )

    def new_notes(self, decoded: ev.Events, *, lengthens: bool = True) -> list[Note]:
        """Decoded events as notes of the answer, without those that would disturb a kept one.

        `lengthens`: whether a note may become longer for that, or is left out instead.
        """
        events = ev.translate(ev.unpad(decoded[~ev.is_control(decoded)]), self.origin_ticks)
        notes = ev.to_notes(ev.clip(events, self.start_ticks, self.end_ticks, clip_duration=True))
        pairs = ((note, self._fitted(note)) for note in notes)
        return [fitted for note, fitted in pairs if fitted and (lengthens or fitted.duration <= note.duration)]

    def _fitted(self, note: Note) -> Note | None:
        """A new note as it can sound among the kept ones; None if it cannot.

        Where two notes of a pitch share a channel, a reader ends the older first. So a new note that begins while a
        kept one sounds ends no earlier than that, and one that sounds when a kept one begins ends there.
        """
        kept = self._kept_by_key.get((note.instrument, note.pitch))
        if not kept:
            return note
        place = bisect_left(kept.onsets, note.onset)
        earliest_end = kept.sounding_until[place - 1] if place else 0
        latest_end = kept.onsets[place] if place < len(kept.onsets) else self.end_ticks
        if latest_end == note.onset or note.onset < earliest_end > min(latest_end, self.end_ticks):
            return None
        end = min(max(note.onset + note.duration, earliest_end), latest_end)
        return note._replace(duration=end - note.onset)

    @cached_property
    def _kept_by_key(self) -> dict[tuple[int, int], _Kept]:
        spans: defaultdict[tuple[int, int], list[tuple[int, int]]] = defaultdict(list)
        for note in self.kept:
            spans[note.instrument, note.pitch].append((note.onset, note.onset + note.duration))
        return {
            key: _Kept([onset for onset, _ in sorted(each)], list(accumulate((end for _, end in sorted(each)), max)))
            for key, each in spans.items()
        }


def from_nothing(length_ticks: int) -> EditPlan:
    """New notes alone."""
    return EditPlan(0, length_ticks, length_ticks)


def continue_from_start(notes: Sequence[Note], prime_ticks: int, length_ticks: int) -> EditPlan:
    """The notes that begin within the prime, and new ones.

    These begin where the prime ends, or where the last note of all does if that is earlier.

    Raises:
        NoNotesError: no note begins within the prime.
        ArrangementError: so many do that this cannot be music.
    """
    _check(notes, "continue")
    kept = _sorted(note for note in notes if note.onset < prime_ticks)
    if not kept:
        first = min(note.onset for note in notes)
        raise NoNotesError(
            f"no note begins in the first {_seconds(prime_ticks)} of the MIDI file: "
            f"the first begins at {_seconds(first)}, so prime_seconds must be greater"
        )
    _check_count(kept, "prime")
    start = min(prime_ticks, _end(notes))
    return EditPlan(start, start + length_ticks, start + length_ticks, kept, kept)


def continue_from_end(notes: Sequence[Note], prime_ticks: int, length_ticks: int) -> EditPlan:
    """All notes, and new ones from the end of the last on; the model knows those that sound within the prime.

    Raises:
        NoNotesError: there are no notes.
        ArrangementError: there are so many that this cannot be music.
    """
    _check(notes, "continue")
    _check_count(notes, "MIDI file")
    start = _end(notes)
    prompt = _sorted(note for note in notes if note.onset + note.duration > start - prime_ticks)[-MAX_WINDOW_EVENTS:]
    end = start + length_ticks
    return EditPlan(start, end, end, _sorted(notes), prompt, origin_ticks=prompt[0].onset)


def accompany(
    fixed: Sequence[Note], others: Sequence[Note], prime_ticks: int, length_ticks: int | None = None
) -> EditPlan:
    """A fixed part, the others' notes that begin within the prime, and new ones from there on.

    Args:
        fixed: what is accompanied; it is kept whole, and the model is told of it.
        others: what else the piece holds.
        prime_ticks: may be 0.
        length_ticks: of the new music; None: until the fixed part ends, at most 120 s.

    Raises:
        NoNotesError: there is no fixed part, or it ends too early.
        ArrangementError: there are so many notes that this cannot be music.
    """
    _check(fixed, "accompany")
    fixed_end = _end(fixed)
    if length_ticks is None:
        length_ticks = min(fixed_end - prime_ticks, MAX_NEW_TICKS)
        if length_ticks <= 0:
            raise NoNotesError(
                f"the part to accompany ends at {_seconds(fixed_end)}, before prime_seconds: prime_seconds must be "
                "less, or length_seconds must say how much is wanted after it"
            )
    prime = _sorted(note for note in others if note.onset < prime_ticks)
    kept = _sorted([*fixed, *prime])
    _check_count(kept, "answer")
    end = prime_ticks + length_ticks
    controls = _sorted(note for note in fixed if note.onset < end + ANTICIPATION_TICKS)
    return EditPlan(prime_ticks, end, max(end, _end(kept)), kept, prime, controls)


def infill(
    notes: Sequence[Note], start_ticks: int, end_ticks: int, rewritten: Collection[int] | None = None
) -> EditPlan:
    """All notes but those that begin within a span, and new ones in their place.

    The model knows what was before and what begins in the 5 s after; of what it does not rewrite in the span it is
    told as it is of a part that it accompanies.

    Args:
        notes: the piece.
        start_ticks: of the span.
        end_ticks: of the span.
        rewritten: the instruments whose notes are replaced; None: all.

    Raises:
        NoNotesError: there is no note from which the model could know what is wanted.
        ArrangementError: the piece ends before the span does, or has so many notes that this cannot be music.
    """
    _check(notes, "fill in")
    length = _end(notes)
    if end_ticks > length:
        raise ArrangementError(
            f"end_seconds must be in range 0..{length / TICKS_PER_SECOND:g}, for the last note of the MIDI file ends "
            f"there, got {end_ticks / TICKS_PER_SECOND:g}"
        )
    ordered = _sorted(notes)
    kept = [
        note
        for note in ordered
        if not (start_ticks <= note.onset < end_ticks and (rewritten is None or note.instrument in rewritten))
    ]
    _check_count(kept, "MIDI file")
    origin = _context_start(kept, start_ticks)
    known = [note for note in kept if origin <= note.onset < end_ticks + ANTICIPATION_TICKS]
    if not known:
        raise NoNotesError(
            f"no note begins in the {MAX_ONSET_TICKS // TICKS_PER_SECOND} s before the span or in the "
            f"{ANTICIPATION_TICKS // TICKS_PER_SECOND} s after it: there is nothing that it could fit"
        )
    is_past = [note.onset < start_ticks and (rewritten is None or note.instrument in rewritten) for note in known]
    prompt = [note for note, past in zip(known, is_past, strict=True) if past]
    controls = [note for note, past in zip(known, is_past, strict=True) if not past]
    return EditPlan(start_ticks, end_ticks, length, kept, prompt, controls, origin)


def _context_start(ordered: Sequence[Note], start_ticks: int) -> int:
    """The onset of the first note before the start that a window can still hold; the start if there is none."""
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


def _check(notes: Sequence[Note], verb: str) -> None:
    if not notes:
        raise NoNotesError(f"the MIDI file holds no notes: there is nothing to {verb}")


def _check_count(notes: Sequence[Note], what: str) -> None:
    if len(notes) > MAX_NOTES:
        raise ArrangementError(f"the {what} holds {len(notes)} notes: at most {MAX_NOTES} are allowed")
