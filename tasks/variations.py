"""Plan each variation of a piece that a request asks for."""

from collections.abc import Sequence
from typing import NamedTuple

from amt.arranging.defaults import find_replaced, variation_defaults
from amt.arranging.plan import EditPlan
from amt.arranging.variation import find_strengths, vary
from amt.decoding.constraints import Constraints
from amt.errors import ConstraintError
from amt.midi.grid import STRAIGHT, Grid, make_grid
from amt.midi.notes import Note
from amt.midi.timing import Timing
from tasks.copies import without_copies
from tasks.requests import VariationRequest


class Edit(NamedTuple):
    """Hold what becomes of a piece, and what new notes must or should be."""

    plan: EditPlan
    constraints: Constraints


def plan_variations(
    request: VariationRequest,
    constraints: Constraints,
    notes: Sequence[Note],
    timing: Timing,
    span: tuple[int, int],
    seeds: Sequence[int],
) -> list[Edit]:
    """Return an edit for each seed, which keeps notes of its own.

    Args:
        request: what is asked for.
        constraints: of the request.
        notes: of the piece.
        timing: of the answer, by which beats are strong or weak.
        span: where the notes in question begin, in ticks.
        seeds: of the variations.

    Raises:
        NoNotesError: no note is in question.
        ArrangementError: the piece ends before the span does, or has too many notes.
    """
    start, end = span
    varied = frozenset().union(*constraints.groups) if constraints.groups else None
    in_span = [note for note in notes if start <= note.onset < end]
    strengths = find_strengths(in_span, _eighths(timing, start, end))
    edits = []
    for seed in seeds:
        plan = vary(notes, start, end, varied, request.similarity, seed, strengths)
        own = variation_defaults(constraints, plan, notes, balance_is_open=request.instrument_balance is None)
        edits.append(Edit(plan, without_copies(request, own, notes, find_replaced(notes, plan))))
    return edits


def _eighths(timing: Timing, start_ticks: int, end_ticks: int) -> Grid | None:
    """Return the lines of all eighths of a span; None if it is too fast to tell them apart."""
    try:
        return make_grid(timing, "1/8", STRAIGHT, start_ticks, end_ticks)
    except ConstraintError:
        return None
