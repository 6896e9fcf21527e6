"""Move notes after they have been decoded, as others do: what steering is held against."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from amt.harmony.chords import ChordSpan
from amt.midi.grid import Grid
from amt.midi.notes import DRUMS, N_PITCHES
from amt.midi.timing import MILLISECONDS_PER_TICK
from amt.tokens import events as ev
from benchmarks.music_statistics import PITCH_CLASSES, chord_indices, nearest_lines
from training.statistics import keys

NEARBY = sorted(range(-PITCH_CLASSES // 2, PITCH_CLASSES // 2 + 1), key=lambda step: (abs(step), step))
"""Semitones to move a pitch by, in the order in which they are tried: 0, -1, 1, -2 ..."""


class Snapped(NamedTuple):
    """Hold events that were moved, each pair of equal ones once.

    Attributes:
        events: sorted.
        moved: by how much on average, in milliseconds or in semitones.
        merged: which share of the onsets, or of the notes, fell together with another.
    """

    events: ev.Events
    moved: float
    merged: float


def snap_onsets(events: ev.Events, grid: Grid) -> Snapped:
    """Return the notes, each from the nearest line on."""
    snapped = events.copy()
    snapped[:, 0] = grid.ticks[nearest_lines(events[:, 0], grid)]
    moved = float(np.abs(snapped[:, 0] - events[:, 0]).mean()) if len(events) else np.nan
    n_before, n_after = (len(np.unique(each[:, 0])) for each in (events, snapped))
    return Snapped(_without_duplicates(snapped), moved * MILLISECONDS_PER_TICK, 1 - n_after / max(n_before, 1))


def snap_pitches(events: ev.Events, chords: Sequence[ChordSpan]) -> Snapped:
    """Return the notes, each melodic one at the nearest pitch of its chord; of two that are as near at the lower."""
    allowed = [chord.pitch_classes for chord in chords]
    return _move(events, [allowed[index] for index in chord_indices(events[:, 0], chords)])


def snap_to_scale(events: ev.Events, scale: frozenset[int]) -> Snapped:
    """Return the notes, each melodic one at the nearest pitch of a scale; of two that are as near at the lower."""
    return _move(events, [scale] * len(events))


def _move(events: ev.Events, allowed: Sequence[frozenset[int]]) -> Snapped:
    """Move each melodic event to the nearest of its own allowed pitch classes, if there are any."""
    steps = np.zeros(len(events), dtype=np.int64)
    for row, (key, classes) in enumerate(zip(keys(events).tolist(), allowed, strict=True)):
        instrument, pitch = divmod(key, N_PITCHES)
        if instrument != DRUMS:
            fitting = (step for step in NEARBY if (pitch + step) % PITCH_CLASSES in classes)
            steps[row] = next((step for step in fitting if 0 <= pitch + step < N_PITCHES), 0)
    moved = events + steps[:, None] * (0, 0, 1)
    kept = _without_duplicates(moved)
    distance = float(np.abs(steps).mean()) if len(events) else np.nan
    return Snapped(kept, distance, 1 - len(kept) / max(len(events), 1))


def _without_duplicates(events: ev.Events) -> ev.Events:
    """Return the events without those that repeat onset and key of an earlier one."""
    _, first = np.unique(events[:, [0, 2]], axis=0, return_index=True)
    return ev.sort(events[np.sort(first)])
