"""Choose when drum hits are written, so that a reader finds the notes that were meant.

A reader pairs a note-off with the oldest open note of its pitch, and all drums share one channel. Onsets and durations
are rounded to ticks of 10 ms separately, which can make a hit end one tick after a younger hit of the same drum. Read
back, the two would have exchanged their durations. So times are written in milliseconds, and such hits begin and end a
little earlier, by less than is rounded to another tick.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from itertools import accumulate
from typing import Final

from amt.midi.notes import DRUMS, Note
from amt.midi.timing import MILLISECONDS_PER_TICK

Span = tuple[float, float]
"""The times when a note begins and ends, in milliseconds."""

_WholeSpan = tuple[int, int]

SLACK: Final = (MILLISECONDS_PER_TICK - 1) // 2
"""An onset or a duration can change by this many milliseconds and still be rounded to the same tick."""


def in_order(notes: Iterable[Note], spans: Sequence[Span] | None = None) -> tuple[list[Note], Sequence[Span]]:
    """Return notes sorted by onset, and when each is to begin and to end in a file.

    Args:
        notes: in any order.
        spans: when they begin and end, where that is known more exactly than their ticks say.
    """
    notes = list(notes)
    if spans is None:
        notes.sort(key=lambda note: note.onset)
        return notes, _written_spans(notes)
    order = sorted(range(len(notes)), key=lambda number: notes[number].onset)
    return [notes[number] for number in order], [spans[number] for number in order]


def _written_spans(notes: list[Note]) -> list[_WholeSpan]:
    """Return when each note is to begin and to end in a file; the notes are sorted by onset."""
    scale = MILLISECONDS_PER_TICK
    spans = [(note.onset * scale, (note.onset + note.duration) * scale) for note in notes]
    hits_by_drum: defaultdict[int, list[int]] = defaultdict(list)
    for index, note in enumerate(notes):
        if note.instrument == DRUMS:
            hits_by_drum[note.pitch].append(index)
    for indices in hits_by_drum.values():
        moved = _in_order_of_end([spans[index] for index in indices])
        for index, span in zip(indices, moved, strict=True):
            spans[index] = span
    return spans


def _in_order_of_end(hits: list[_WholeSpan]) -> list[_WholeSpan]:
    """Move the hits of one drum so that they end in the order in which they begin, where rounding allows it."""
    ends = [end for _, end in hits]
    latest_so_far = accumulate(ends, max)
    earliest_to_come = reversed(list(accumulate(reversed(ends), min)))
    moved = []
    start = end = 0
    for (exact_start, exact_end), latest, earliest in zip(hits, latest_so_far, earliest_to_come, strict=True):
        length = exact_end - exact_start
        slack = SLACK if latest > earliest else 0
        start = max(start, exact_start - slack)
        end = max(end, exact_end - 2 * slack, start + max(length - SLACK, 0))
        start = max(start, end - length - SLACK)
        if start > exact_start + SLACK:  # one hit sounds within the other, so rounding is not the cause
            start, end = exact_start, exact_end
        moved.append((start, end))
    return moved
