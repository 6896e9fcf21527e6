"""Compute what steering is meant to change, of the new notes of a piece: events without rests, sorted by onset.

All times are in ticks from the start of the piece. What cannot be said of a piece, as how much of nothing is in a key,
is NaN. Drums have no pitch: where pitches matter they are left out.
"""

import math
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from amt.harmony.chords import ChordSpan
from amt.midi.grid import Grid
from amt.midi.notes import DRUMS, N_PITCHES, TICKS_PER_SECOND
from amt.tokens import events as ev
from amt.tokens.vocab import DURATION
from training.statistics import keys

EARLY_TICKS = 5
"""An onset so little before a change of chord, or before a beat, belongs to what comes."""

BEAT_LEVEL, DOWNBEAT_LEVEL = 2, 3
"""Of lines of a grid."""

DWELLING_SECONDS, DWELLING_KEYS = 20, 6
PITCH_CLASSES = 12


def melodic(events: ev.Events) -> ev.Events:
    """Return the events of all instruments but drums."""
    chosen: ev.Events = events[keys(events) // N_PITCHES != DRUMS]
    return chosen


def pitch_classes(events: ev.Events) -> NDArray[np.int64]:
    """Return the pitch class of each event; shape = (n_events,)."""
    classes: NDArray[np.int64] = keys(events) % N_PITCHES % PITCH_CLASSES
    return classes


def _mean(values: NDArray[np.generic]) -> float:
    return float(values.mean()) if values.size else math.nan


def nearest_lines(onsets: NDArray[np.int64], grid: Grid) -> NDArray[np.int64]:
    """Return the index of the line that is nearest to each onset; shape = (n_events,)."""
    after = np.searchsorted(grid.ticks, onsets).clip(1, len(grid.ticks) - 1)
    is_before = onsets - grid.ticks[after - 1] <= grid.ticks[after] - onsets
    nearest: NDArray[np.int64] = after - is_before
    return nearest


def share_on_lines(events: ev.Events, grid: Grid) -> float:
    """Return the share of notes that begin exactly on a line."""
    return _mean(np.isin(events[:, 0], grid.ticks))


def share_on_level(events: ev.Events, grid: Grid, level: int) -> float:
    """Return the share of notes whose nearest line has at least this level: how clear the metre is, on lines or not."""
    return _mean(grid.levels[nearest_lines(events[:, 0], grid)] >= level)


def share_in(events: ev.Events, allowed: frozenset[int]) -> float:
    """Return the share of melodic notes within these pitch classes."""
    return _mean(np.isin(pitch_classes(melodic(events)), list(allowed)))


def pitch_class_entropy(events: ev.Events) -> float:
    """Return the entropy of the melodic notes' pitch classes, in bits."""
    counts = np.bincount(pitch_classes(melodic(events)), minlength=PITCH_CLASSES)
    shares = counts[counts > 0] / max(counts.sum(), 1)
    return float(-(shares * np.log2(shares)).sum()) if len(shares) else math.nan


def dwelling(events: ev.Events, end_ticks: int) -> float:
    """Return the share of the last 20 s of a piece that its six commonest keys there are; NaN for drums alone."""
    if not len(melodic(events)):
        return math.nan
    last = keys(events[events[:, 0] >= end_ticks - DWELLING_SECONDS * TICKS_PER_SECOND]).tolist()
    return sum(count for _, count in Counter(last).most_common(DWELLING_KEYS)) / len(last) if last else math.nan


class ChordShares(NamedTuple):
    """Hold which share of melodic notes are chord tones.

    Attributes:
        by_count: of the notes, by the chord at their onset.
        by_duration: of their sounding time, by the chords that sound meanwhile.
        on_strong_beats: of those that begin on a strong beat.
        specific: by count, less the share in the progression's other chords: how well one hears which chord it is.
    """

    by_count: float
    by_duration: float
    on_strong_beats: float
    specific: float


def chord_shares(events: ev.Events, chords: Sequence[ChordSpan], strong_ticks: NDArray[np.int64]) -> ChordShares:
    """Return how well notes fit to chords; `strong_ticks`: when the strong beats are, sorted."""
    events = melodic(events)
    if not len(events):
        return ChordShares(*[math.nan] * len(ChordShares._fields))
    classes, members = pitch_classes(events), _members(chords)
    current = chord_indices(events[:, 0], chords)
    hits = members[current, classes]
    inside = _seconds_within(events, chords)
    fitting = (inside * members[:, classes].T).sum()
    different = np.unique(members, axis=0)
    in_others = (different[:, classes].sum(axis=0) - hits) / max(len(different) - 1, 1)
    distances = np.abs(events[:, :1] - strong_ticks[None]).min(axis=1, initial=EARLY_TICKS + 1)
    return ChordShares(
        by_count=_mean(hits),
        by_duration=float(fitting / inside.sum()),
        on_strong_beats=_mean(hits[distances <= EARLY_TICKS]),
        specific=_mean(hits - in_others),
    )


def chord_indices(onsets: NDArray[np.int64], chords: Sequence[ChordSpan]) -> NDArray[np.int64]:
    """Return the index of the chord to which each onset belongs; shape = (n_events,)."""
    starts = [chord.start_ticks for chord in chords]
    indices: NDArray[np.int64] = np.maximum(np.searchsorted(starts, onsets + EARLY_TICKS, side="right") - 1, 0)
    return indices


def _members(chords: Sequence[ChordSpan]) -> NDArray[np.bool_]:
    """Return which pitch classes each chord holds; shape = (n_chords, 12)."""
    members = np.zeros((len(chords), PITCH_CLASSES), dtype=np.bool_)
    for index, chord in enumerate(chords):
        members[index, list(chord.pitch_classes)] = True
    return members


def _seconds_within(events: ev.Events, chords: Sequence[ChordSpan]) -> NDArray[np.float64]:
    """Return for how long each note sounds within each chord; shape = (n_events, n_chords)."""
    starts = np.array([chord.start_ticks for chord in chords], dtype=np.float64)
    starts[0] = -np.inf  # what comes before the first chord counts as in it
    ends = np.append(starts[1:], np.inf)
    onsets = events[:, :1]
    note_ends = onsets + np.maximum(events[:, 1:2] - DURATION.offset, 1)
    within: NDArray[np.float64] = np.minimum(note_ends, ends) - np.maximum(onsets, starts)
    return within.clip(0) / TICKS_PER_SECOND
