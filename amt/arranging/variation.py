"""Plan a variation of a piece: which of its notes stay, the strong ones first, and which are written again."""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
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
    strengths: Mapping[int, int],
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
        strengths: by onset, as `find_strengths` gives them.

    Raises:
        NoNotesError: none of these notes begins within the span.
        ArrangementError: the piece ends before the span does, or more than `MAX_NOTES` would be kept.
    """
    varied = [
        note
        for note in notes
        if start_ticks <= note.onset < end_ticks and (instruments is None or note.instrument in instruments)
    ]
    if notes and not varied:
        raise NoNotesError("none of the notes to vary begins within the span: there is nothing to vary")
    rng = np.random.default_rng([seed, _SEED_OF_CHOICE])
    onsets = sorted({note.onset for note in varied})
    by_onset = {
        onset: (-strengths[onset], chance) for onset, chance in zip(onsets, rng.random(len(onsets)), strict=True)
    }
    chances = rng.random(len(varied)).tolist()
    order = sorted(range(len(varied)), key=lambda index: (*by_onset[varied[index].onset], chances[index]))
    locked = [varied[index] for index in order[: round(similarity * len(varied))]]
    plan = replace_span(notes, start_ticks, end_ticks, instruments, locked)
    if len(locked) < len(varied):
        return plan
    return replace(plan, start_ticks=end_ticks, prompt=(), controls=(), origin_ticks=end_ticks)


def find_strengths(notes: Sequence[Note], metre: Grid | None = None) -> dict[int, int]:
    """Return how strong each onset is, 0 to 3: by the metre if the notes keep to it, else by the notes alone.

    Args:
        notes: in any order.
        metre: lines for at least each eighth note of their time; None if it is not known.
    """
    n_by_onset = Counter(note.onset for note in notes)
    if metre is not None:
        strengths = _levels(n_by_onset, metre)
        n_on_eighths = sum(n_notes for onset, n_notes in n_by_onset.items() if strengths[onset])
        if n_on_eighths >= MIN_SHARE_ON_EIGHTHS * len(notes):
            return strengths
    return _tracked_strengths(n_by_onset)


def _levels(onsets: Iterable[int], metre: Grid) -> dict[int, int]:
    """Return the level of each onset's line, 0 for one beside the lines."""
    lines = list(zip(metre.ticks.tolist(), metre.levels.tolist(), strict=True))
    by_tick: dict[int, int] = {}
    for distance in (-ON_LINE_TICKS, ON_LINE_TICKS, 0):  # what is exactly on a line goes before what is near one
        by_tick |= {tick + distance: level for tick, level in lines}
    return {onset: by_tick.get(onset, 0) for onset in onsets}


def _tracked_strengths(n_by_onset: Mapping[int, int]) -> dict[int, int]:
    """Return strengths by the beat that the onsets have had so far, and by how many notes begin together."""
    usual = sum(n_by_onset.values()) / max(len(n_by_onset), 1)
    tracker, strengths = BeatTracker(), {}
    for onset, n_notes in sorted(n_by_onset.items()):
        is_on_beat, is_full = tracker.accent(onset) > 0, n_notes > usual
        strengths[onset] = ON_BEAT_STRENGTH * is_on_beat + FULL_CHORD_STRENGTH * is_full
        tracker.observe(onset, n_notes)
    return strengths
