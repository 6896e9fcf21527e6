"""Choose which instruments play new notes, and how many notes they play, where the caller leaves it open.

Without these defaults a small model often leaves a melody alone, or adds notes to the melody's own instrument only.
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
"""Instruments that go with any melody; the model chooses from each group. No drums: few lone melodies want them."""

ENSEMBLE_SIZE: Final = 3

MAX_PARTS: Final = 6
"""How many of the instruments that played the replaced music are asked for: those with the most notes."""

BALANCE: Final = 3.0
"""Nats per second of silence, enough to bring a part in within a few seconds against almost any odds."""

MIN_BALANCE_OVER_SPAN: Final = 30.0
"""Nats over the whole span at least, because in a short span a part must come in sooner."""

OVERDUE_SECONDS: Final = 2.0
"""All parts count as silent for this long when new notes begin, so that they do not come in seconds late."""

NAMED_CHORD_SHARE: Final = 0.8
"""How much of the time of new notes is aimed to be within chords that the caller names."""

IMPLIED_CHORD_SHARE: Final = 0.9
"""How much within chords that the input implies: of held-out music 0.87 to 0.90 is within those of the whole piece."""

MIN_ACCOMPANIMENT_DENSITY, MAX_ACCOMPANIMENT_DENSITY = 3.0, 6.0
"""Notes per second of an accompaniment that replaces nothing."""

DENSITY_TO_MELODY: Final = 1.5
"""Notes of such an accompaniment per note of the melody."""

MIN_REPLACED_DENSITY, MAX_REPLACED_DENSITY = 0.5, 25.0
"""Notes per second; the density of replaced music is taken over within this range."""

NEIGHBOURHOOD_TICKS: Final = 5 * TICKS_PER_SECOND
"""How far around an empty span its density is taken from."""


def accompaniment_defaults(
    constraints: Constraints,
    plan: EditPlan,
    melody: Collection[Note],
    accompaniment: Iterable[Note],
    *,
    balance_is_open: bool = True,
) -> Constraints:
    """Return the constraints with instruments, balance and density for an accompaniment where they have none.

    These are the instruments and the density of the accompaniment that the new notes replace. Where they replace
    nothing, a small ensemble without the melody's own instruments plays, somewhat denser than the melody.

    Args:
        constraints: the caller's.
        plan: as `accompany` makes it.
        melody: what is accompanied.
        accompaniment: all other notes of the piece.
        balance_is_open: whether the caller leaves that open too.
    """
    if balance_is_open:
        constraints = _with_balance(constraints, plan)
    replaced = [note for note in accompaniment if plan.start_ticks <= note.onset < plan.end_ticks]
    if constraints.density is None:
        constraints = replace(constraints, density=_density(replaced, plan) or _density_for_melody(melody))
    if constraints.groups:
        return constraints
    if replaced:
        players = Counter(note.instrument for note in replaced).most_common(MAX_PARTS)
        groups = [frozenset({instrument}) for instrument, _ in players]
    else:
        groups = _ensemble_beside({note.instrument for note in melody})
    groups = [allowed for group in groups if (allowed := group - constraints.excluded)]
    present = {note.instrument for note in plan.kept}
    n_free = max(MAX_INSTRUMENTS - len(present), 0)
    known = [group for group in groups if group & present]
    groups = known + [group for group in groups if group not in known][:n_free]
    return replace(constraints, groups=tuple(groups))


def infill_defaults(
    constraints: Constraints, plan: EditPlan, notes: Collection[Note], *, balance_is_open: bool = True
) -> Constraints:
    """Return the constraints with instruments, balance and density for a span where they have none.

    These are the instruments of the piece, and the density of what the span loses, or if that is nothing, that around.

    Args:
        constraints: the caller's.
        plan: as `infill` makes it.
        notes: the piece.
        balance_is_open: whether the caller leaves that open too.
    """
    if balance_is_open:
        constraints = _with_balance(constraints, plan)
    if not constraints.groups:
        playing = frozenset(note.instrument for note in notes) - constraints.excluded
        constraints = replace(constraints, groups=(playing,) if playing else ())
    if constraints.density is None:
        new_instruments = frozenset().union(*constraints.groups)
        comparable = [note for note in notes if note.instrument in new_instruments]
        density = _density(find_replaced(comparable, plan), plan) or _density(comparable, plan, NEIGHBOURHOOD_TICKS)
        constraints = replace(constraints, density=density or MIN_ACCOMPANIMENT_DENSITY)
    return constraints


def variation_defaults(
    constraints: Constraints, plan: EditPlan, notes: Collection[Note], *, balance_is_open: bool = True
) -> Constraints:
    """Return the constraints with instruments, balance, density and pitch ranges for a variation where they have none.

    Instruments and density are those of the notes that are replaced; of the instruments that the caller names, those
    that lose some. Pitch ranges are those of each instrument in the piece. If nothing is replaced, the constraints stay
    as they are.

    Args:
        constraints: the caller's.
        plan: as `vary` makes it.
        notes: the piece.
        balance_is_open: whether the caller leaves that open too.
    """
    replaced = find_replaced(notes, plan)
    if not replaced:
        return constraints
    if balance_is_open:
        constraints = _with_balance(constraints, plan)
    playing = frozenset(note.instrument for note in replaced) - constraints.excluded
    groups = tuple(group & playing for group in constraints.groups if group & playing)
    own_density = TICKS_PER_SECOND * len(replaced) / (plan.end_ticks - plan.start_ticks)
    own_ranges = _pitch_ranges(notes) if constraints.pitch_range is None else {}
    return replace(
        constraints,
        groups=groups or (playing,),
        density=constraints.density or min(own_density, MAX_REPLACED_DENSITY),
        pitch_ranges=own_ranges | dict(constraints.pitch_ranges),
    )


def find_replaced(notes: Iterable[Note], plan: EditPlan) -> list[Note]:
    """Return those of a piece's notes that a plan replaces: they begin in its span and are not kept."""
    in_span = [note for note in notes if plan.start_ticks <= note.onset < plan.end_ticks]
    return list((Counter(in_span) - Counter(plan.kept)).elements())


def _pitch_ranges(notes: Iterable[Note]) -> dict[int, tuple[int, int]]:
    """Return the lowest and the highest pitch of each instrument."""
    ranges: dict[int, tuple[int, int]] = {}
    for note in notes:
        lowest, highest = ranges.get(note.instrument, (note.pitch, note.pitch))
        ranges[note.instrument] = min(lowest, note.pitch), max(highest, note.pitch)
    return ranges


def _ensemble_beside(melody_instruments: set[int]) -> list[frozenset[int]]:
    """Return instrument groups for an accompaniment, without the melody's own instruments."""
    melodic = melody_instruments - {DRUMS}
    return [group - melodic for group in ENSEMBLE if not group <= melodic][:ENSEMBLE_SIZE]


def _with_balance(constraints: Constraints, plan: EditPlan) -> Constraints:
    seconds = (plan.end_ticks - plan.start_ticks) / TICKS_PER_SECOND
    return replace(constraints, balance=max(BALANCE, MIN_BALANCE_OVER_SPAN / seconds), overdue_seconds=OVERDUE_SECONDS)


def _density(notes: Iterable[Note], plan: EditPlan, margin_ticks: int = 0) -> float:
    """Return notes per second in the span of the new notes, with a margin on both sides; 0 if there are none."""
    start, end = plan.start_ticks - margin_ticks, plan.end_ticks + margin_ticks
    n_notes = sum(start <= note.onset < end for note in notes)
    density = TICKS_PER_SECOND * n_notes / (end - start)
    return min(max(density, MIN_REPLACED_DENSITY), MAX_REPLACED_DENSITY) if n_notes else 0.0


def _density_for_melody(melody: Collection[Note]) -> float:
    """Return notes per second of an accompaniment that goes with a melody."""
    onsets = [note.onset for note in melody]
    seconds = max(max(onsets) - min(onsets), TICKS_PER_SECOND) / TICKS_PER_SECOND
    density = DENSITY_TO_MELODY * len(onsets) / seconds
    return min(max(density, MIN_ACCOMPANIMENT_DENSITY), MAX_ACCOMPANIMENT_DENSITY)
