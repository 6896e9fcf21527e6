"""Who plays new notes, and how many, where the caller leaves it open.

Without this a small model often leaves a bare melody alone, or adds to its own instrument only.
"""

from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import replace
from typing import Final

from amt.arrangement import Arrangement
from amt.events import Note
from amt.vocab import DRUMS, MAX_INSTRUMENTS, TICKS_PER_SECOND
from amt.wishes import Wishes

ENSEMBLE: Final = (
    frozenset({0}),  # piano
    frozenset({32, 33, 42, 43}),  # acoustic and electric bass, cello, contrabass
    frozenset({40, 41, 48}),  # violin, viola, string ensemble
    frozenset({24, 46}),  # nylon guitar and harp, where the piano has the melody
)
"""What goes with any melody; of each group the model chooses. No drums: few melodies that come alone want them."""

ENSEMBLE_SIZE: Final = 3
MOST_PARTS: Final = 6
"""So many of the instruments that played what is written anew are asked for again, those that played most."""

BALANCE: Final = 3.0
"""Nats a second: a part comes in, or back, within a few seconds against almost any odds."""

BALANCE_BY_THE_END: Final = 30.0
"""Nats, at least: in a short span a part must come in sooner."""

OVERDUE_SECONDS: Final = 2.0
"""Parts that are written around others begin with them, not seconds later."""

LEAST_DENSITY, MOST_DENSITY = 3.0, 6.0
"""Notes a second of an accompaniment that has no model to follow."""

DENSITY_TO_MELODY: Final = 1.5

OUTLIERS: Final = (0.5, 25.0)
"""Notes a second, least and most, that are taken over from the music that is replaced."""

AROUND_TICKS: Final = 5 * TICKS_PER_SECOND


def to_accompany(
    wishes: Wishes,
    arrangement: Arrangement,
    fixed: Collection[Note],
    others: Iterable[Note],
    *,
    balance_is_open: bool = True,
) -> Wishes:
    """Wishes with instruments, balance and density for an accompaniment where there are none.

    Taken from what the others play where the new notes will be; without others, a small ensemble without the melody's
    own instruments, somewhat denser than the melody.

    Args:
        wishes: the caller's.
        arrangement: as `accompany` makes it.
        fixed: the part that is accompanied.
        others: what else the piece holds.
        balance_is_open: whether the caller leaves that open too.
    """
    if balance_is_open:
        wishes = _balanced(wishes, arrangement)
    replaced = [note for note in others if arrangement.start_ticks <= note.onset < arrangement.end_ticks]
    if wishes.density is None:
        wishes = replace(wishes, density=_density(replaced, arrangement) or _beside(fixed))
    if wishes.groups:
        return wishes
    present = {note.instrument for note in arrangement.kept}
    if replaced:
        played = Counter(note.instrument for note in replaced).most_common(MOST_PARTS)
        groups = [frozenset({instrument}) for instrument, _ in played]
    else:
        melodic = {note.instrument for note in fixed} - {DRUMS}
        groups = [group - melodic for group in ENSEMBLE if not group <= melodic][:ENSEMBLE_SIZE]
    groups = [left for group in groups if (left := group - wishes.excluded)]
    room = max(MAX_INSTRUMENTS - len(present), 0)
    known = [group for group in groups if group & present]
    groups = known + [group for group in groups if group not in known][:room]
    return replace(wishes, groups=tuple(groups))


def to_fill_in(
    wishes: Wishes, arrangement: Arrangement, notes: Collection[Note], *, balance_is_open: bool = True
) -> Wishes:
    """Wishes with instruments and density for a span where there are none.

    These are the instruments of the piece, and the density that the span had; of an empty one that of what is around.

    Args:
        wishes: the caller's.
        arrangement: as `infill` makes it.
        notes: the piece.
        balance_is_open: whether the caller leaves that open too.
    """
    if balance_is_open:
        wishes = _balanced(wishes, arrangement)
    if not wishes.groups:
        playing = frozenset(note.instrument for note in notes) - wishes.excluded
        wishes = replace(wishes, groups=(playing,) if playing else ())
    if wishes.density is None:
        rewritten = frozenset().union(*wishes.groups)
        alike = [note for note in notes if note.instrument in rewritten]
        densities = (_density(alike, arrangement, AROUND_TICKS * far) for far in (0, 1))
        wishes = replace(wishes, density=next(filter(None, densities), LEAST_DENSITY))
    return wishes


def _balanced(wishes: Wishes, arrangement: Arrangement) -> Wishes:
    seconds = (arrangement.end_ticks - arrangement.start_ticks) / TICKS_PER_SECOND
    return replace(wishes, balance=max(BALANCE, BALANCE_BY_THE_END / seconds), overdue_seconds=OVERDUE_SECONDS)


def _density(notes: Iterable[Note], arrangement: Arrangement, around_ticks: int = 0) -> float:
    """Notes a second where the new notes will be, and so far around it; 0 if there are none."""
    start, end = arrangement.start_ticks - around_ticks, arrangement.end_ticks + around_ticks
    n_notes = sum(start <= note.onset < end for note in notes)
    least, most = OUTLIERS
    return min(max(TICKS_PER_SECOND * n_notes / (end - start), least), most) if n_notes else 0.0


def _beside(melody: Collection[Note]) -> float:
    """Notes a second that go with a melody."""
    onsets = [note.onset for note in melody]
    seconds = max(max(onsets) - min(onsets), TICKS_PER_SECOND) / TICKS_PER_SECOND
    return min(max(DENSITY_TO_MELODY * len(onsets) / seconds, LEAST_DENSITY), MOST_DENSITY)
