"""Who plays new notes, and how many, where the caller leaves it open.

Without this a small model often leaves a bare melody alone, or adds to its own instrument only.
"""

from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import replace
from typing import Final

from amt.arranging.plan import EditPlan
from amt.decoding.constraints import Constraints
from amt.decoding.instrument_limit import MAX_INSTRUMENTS
from amt.midi.notes import DRUMS, TICKS_PER_SECOND, Note

ENSEMBLE: Final = (
    frozenset({0}),  # piano
    frozenset({32, 33, 42, 43}),  # acoustic and electric bass, cello, contrabass
    frozenset({40, 41, 48}),  # violin, viola, string ensemble
    frozenset({24, 46}),  # nylon guitar and harp, where the piano has the melody
)
"""What goes with any melody; of each group the model chooses. No drums: few melodies that come alone want them."""

ENSEMBLE_SIZE: Final = 3
MAX_PARTS: Final = 6
"""So many of the instruments that played what is written anew are asked for again, those that played most."""

BALANCE: Final = 3.0
"""Nats a second: a part comes in, or back, within a few seconds against almost any odds."""

BALANCE_BY_THE_END: Final = 30.0
"""Nats, at least: in a short span a part must come in sooner."""

OVERDUE_SECONDS: Final = 2.0
"""Parts that are written around others begin with them, not seconds later."""

MIN_DENSITY, MAX_DENSITY = 3.0, 6.0
"""Notes a second of an accompaniment that has no model to follow."""

DENSITY_TO_MELODY: Final = 1.5

OUTLIERS: Final = (0.5, 25.0)
"""Notes a second, least and most, that are taken over from the music that is replaced."""

AROUND_TICKS: Final = 5 * TICKS_PER_SECOND


def accompaniment_defaults(
    constraints: Constraints,
    plan: EditPlan,
    fixed: Collection[Note],
    others: Iterable[Note],
    *,
    balance_is_open: bool = True,
) -> Constraints:
    """Constraints with instruments, balance and density for an accompaniment where there are none.

    Taken from what the others play where the new notes will be; without others, a small ensemble without the melody's
    own instruments, somewhat denser than the melody.

    Args:
        constraints: the caller's.
        plan: as `accompany` makes it.
        fixed: the part that is accompanied.
        others: what else the piece holds.
        balance_is_open: whether the caller leaves that open too.
    """
    if balance_is_open:
        constraints = _balanced(constraints, plan)
    replaced = [note for note in others if plan.start_ticks <= note.onset < plan.end_ticks]
    if constraints.density is None:
        constraints = replace(constraints, density=_density(replaced, plan) or _beside(fixed))
    if constraints.groups:
        return constraints
    present = {note.instrument for note in plan.kept}
    if replaced:
        played = Counter(note.instrument for note in replaced).most_common(MAX_PARTS)
        groups = [frozenset({instrument}) for instrument, _ in played]
    else:
        melodic = {note.instrument for note in fixed} - {DRUMS}
        groups = [group - melodic for group in ENSEMBLE if not group <= melodic][:ENSEMBLE_SIZE]
    groups = [left for group in groups if (left := group - constraints.excluded)]
    room = max(MAX_INSTRUMENTS - len(present), 0)
    known = [group for group in groups if group & present]
    groups = known + [group for group in groups if group not in known][:room]
    return replace(constraints, groups=tuple(groups))


def infill_defaults(
    constraints: Constraints, plan: EditPlan, notes: Collection[Note], *, balance_is_open: bool = True
) -> Constraints:
    """Constraints with instruments and density for a span where there are none.

    These are the instruments of the piece, and the density that the span had; of an empty one that of what is around.

    Args:
        constraints: the caller's.
        plan: as `infill` makes it.
        notes: the piece.
        balance_is_open: whether the caller leaves that open too.
    """
    if balance_is_open:
        constraints = _balanced(constraints, plan)
    if not constraints.groups:
        playing = frozenset(note.instrument for note in notes) - constraints.excluded
        constraints = replace(constraints, groups=(playing,) if playing else ())
    if constraints.density is None:
        rewritten = frozenset().union(*constraints.groups)
        alike = [note for note in notes if note.instrument in rewritten]
        densities = (_density(alike, plan, AROUND_TICKS * far) for far in (0, 1))
        constraints = replace(constraints, density=next(filter(None, densities), MIN_DENSITY))
    return constraints


def _balanced(constraints: Constraints, plan: EditPlan) -> Constraints:
    seconds = (plan.end_ticks - plan.start_ticks) / TICKS_PER_SECOND
    return replace(constraints, balance=max(BALANCE, BALANCE_BY_THE_END / seconds), overdue_seconds=OVERDUE_SECONDS)


def _density(notes: Iterable[Note], plan: EditPlan, around_ticks: int = 0) -> float:
    """Notes a second where the new notes will be, and so far around it; 0 if there are none."""
    start, end = plan.start_ticks - around_ticks, plan.end_ticks + around_ticks
    n_notes = sum(start <= note.onset < end for note in notes)
    least, most = OUTLIERS
    return min(max(TICKS_PER_SECOND * n_notes / (end - start), least), most) if n_notes else 0.0


def _beside(melody: Collection[Note]) -> float:
    """Notes a second that go with a melody."""
    onsets = [note.onset for note in melody]
    seconds = max(max(onsets) - min(onsets), TICKS_PER_SECOND) / TICKS_PER_SECOND
    return min(max(DENSITY_TO_MELODY * len(onsets) / seconds, MIN_DENSITY), MAX_DENSITY)
