"""Plan a variation of a piece: which of its notes stay, the strong ones first, and which are written again."""

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import replace
from statistics import mean
from typing import Final

import numpy as np

from amt.arranging.beat import BeatTracker
from amt.arranging.plan import EditPlan, replace_span
from amt.errors import NoNotesError
from amt.midi.grid import Grid
from amt.midi.notes import Note

ON_LINE_TICKS: Final = 1
"""A note this far from a line of the metre is on it."""

MIN_SHARE_ON_EIGHTHS: Final = 0.4
"""If fewer notes begin on eighths, the metre of the file is not that of the music: it was played freely."""

ON_BEAT_STRENGTH, FULL_CHORD_STRENGTH = 2, 1
"""Of notes whose beat is found by their onsets alone."""

_SEED_OF_CHOICE: Final = 11
"""Joined to the seed of the request, so that these random numbers are independent of those that choose notes."""


def vary(
    notes: Sequence[Note],
    start_ticks: int,
    end_ticks: int,
    instruments: Collection[int] | None,
    similarity: float,
    seed: int,
    strengths: Sequence[int],
) -> EditPlan:
    """Return a plan that keeps a share of the notes that begin within a span, and replaces the others.

    The strongest stay, so that the skeleton of the music does, and among equally strong ones chance decides, onset by
    onset: chords stay whole where that can be. The model is told them ahead. Notes outside the span, and those of
    other instruments, stay as `infill` has it. If every note stays, no time is left for new ones.

    Args:
        notes: the piece.
        start_ticks: of the span.
        end_ticks: of the span.
        instruments: those whose notes are varied; None: all.
        similarity: the share of the varied notes that stays, 0 to 1, to the nearest whole note.
        seed: of the choice.
        strengths: of each note, as `find_strengths` gives them.

    Raises:
        NoNotesError: none of these notes begins within the span.
        ArrangementError: the piece ends before the span does, or more than `MAX_NOTES` would be kept.
    """
    varied = [
        (note, strength)
        for note, strength in zip(notes, strengths, strict=True)
        if start_ticks <= note.onset < end_ticks and (instruments is None or note.instrument in instruments)
    ]
    if not varied:
        raise NoNotesError("none of the notes to vary begins within the span: there is nothing to vary")
    rng = np.random.default_rng([seed, _SEED_OF_CHOICE])
    onsets = sorted({note.onset for note, _ in varied})
    by_onset = dict(zip(onsets, rng.random(len(onsets)).tolist(), strict=True))
    ranks = [
        (-strength, by_onset[note.onset], chance)
        for (note, strength), chance in zip(varied, rng.random(len(varied)).tolist(), strict=True)
    ]
    order = sorted(range(len(varied)), key=ranks.__getitem__)
    locked = [varied[index][0] for index in order[: round(similarity * len(varied))]]
    plan = replace_span(notes, start_ticks, end_ticks, instruments, locked)
    if len(locked) < len(varied):
        return plan
    return replace(plan, start_ticks=end_ticks, prompt=(), controls=(), origin_ticks=end_ticks)


def find_strengths(notes: Sequence[Note], metre: Grid | None = None) -> list[int]:
    """Return how strong the beat of each note is, 0 to 3: by the metre if notes keep to it, else by their onsets.

    Args:
        notes: of a piece, in any order.
        metre: lines for at least each eighth note; None if it is not known.
    """
    levels = _levels(notes, metre) if metre else []
    n_on_eighths = sum(level > 0 for level in levels)
    return levels if levels and n_on_eighths >= MIN_SHARE_ON_EIGHTHS * len(notes) else _tracked_strengths(notes)


def _levels(notes: Sequence[Note], metre: Grid) -> list[int]:
    """Return the level of each note's line, 0 for a note beside the lines."""
    lines = list(zip(metre.ticks.tolist(), metre.levels.tolist(), strict=True))
    by_tick: dict[int, int] = {}
    for distance in (-ON_LINE_TICKS, ON_LINE_TICKS, 0):  # what is exactly on a line goes before what is near one
        by_tick |= {tick + distance: level for tick, level in lines}
    return [by_tick.get(note.onset, 0) for note in notes]


def _tracked_strengths(notes: Sequence[Note]) -> list[int]:
    """Return strengths by the beat that the onsets have had so far, and by how many notes begin together."""
    n_by_onset = sorted(Counter(note.onset for note in notes).items())
    usual = mean(n_notes for _, n_notes in n_by_onset)
    tracker = BeatTracker()
    strengths = {}
    for onset, n_notes in n_by_onset:
        is_on_beat, is_full = tracker.accent(onset) > 0, n_notes > usual
        strengths[onset] = ON_BEAT_STRENGTH * is_on_beat + FULL_CHORD_STRENGTH * is_full
        tracker.observe(onset, n_notes)
    return [strengths[note.onset] for note in notes]
