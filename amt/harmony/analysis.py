"""Find the chords that notes imply.

From one onset to the next each chord is judged by how long each pitch class sounds. A change of chord costs something:
less on a beat than off it, and least where a bar begins. The best sequence is found by Viterbi's algorithm. Pitch
classes are counted from the tonic of the key, so that a transposed piece has the same chords, transposed.
"""

from collections.abc import Sequence
from operator import itemgetter
from typing import Final

import numpy as np
from numpy.typing import NDArray

from amt.harmony.candidates import MEMBERS, QUALITY_PREFERENCES, chord_pitch_classes, chord_symbol, key_preferences
from amt.harmony.chords import ChordSpan
from amt.harmony.keys import N_PITCH_CLASSES, Key, find_key, make_key
from amt.harmony.symbols import NO_CHORD
from amt.midi.notes import DRUMS, Note

Ticks = NDArray[np.int64]
Array = NDArray[np.float64]

ONSET_TOLERANCE_TICKS: Final = 4
"""Notes that begin closer than this to the one before begin with it; up to this close to a beat they begin on it."""

MAX_SILENCE_BEATS: Final = 8.0
"""A chord lasts through silences, but not through longer ones."""

OUTSIDE_PENALTY: Final = 0.6
"""What a chord loses in each beat of a voice that is not in it; for one that is, it gains 1."""

MISSING_PENALTY: Final = 0.1
"""What it loses in each beat for each of its pitch classes that does not sound."""

BAR_COST: Final = 0.05
HALF_BAR_COST: Final = 0.3
BEAT_COST: Final = 1.6
HALF_BEAT_COST: Final = 1.9
OFFBEAT_COST: Final = 2.2
BEATLESS_COST: Final = 0.6
"""What a change of chord costs by where it is, or anywhere if the beats mean nothing.

A melody's note of one beat may so be a passing one, and three voices that move together are another chord. A quarter of
these costs finds chords that hold 0.98 of a melody's time instead of 0.89, but nearly each note has its own."""

MIN_BEAT_CLARITY: Final = 0.5
"""Beats that the onsets follow less clearly mean nothing: such a file was recorded without tempo."""

BEAT_DIVISIONS: Final = (2, 3, 4)
"""The parts of a beat that onsets may follow."""


def find_chords(
    notes: Sequence[Note], beat_ticks: Sequence[float], bar_ticks: Sequence[float]
) -> tuple[ChordSpan, ...]:
    """Return the chords that notes imply, from time 0 on; none at all if no note is pitched.

    They are triads and seventh chords, each from a note's onset on, or N.C. for silences of more than 8 beats.

    Args:
        notes: in any order; drums do not count.
        beat_ticks: when each beat begins, as the time signature counts beats, from time 0 on and in order; then the
            end of the piece. At least two.
        bar_ticks: when each bar begins, in order; at least one.
    """
    pitched = sorted(note[:3] for note in notes if note.instrument != DRUMS)
    if not pitched:
        return ()
    onsets, durations, pitches = np.array(pitched, np.int64).T
    ends = onsets + np.maximum(durations, 1)
    beats = np.asarray(beat_ticks, np.float64)
    key = find_key(notes)
    spelled = key or make_key("C", "major")

    starts = onsets[np.diff(onsets, prepend=-ONSET_TOLERANCE_TICKS) >= ONSET_TOLERANCE_TICKS]
    stops = _last_sounds(starts, onsets, ends)
    above_tonic = (pitches - (spelled.tonic or 0)) % N_PITCH_CLASSES
    voices = _sounding_ticks(above_tonic, onsets, ends, starts) / (stops - starts)[:, None]
    fits = _fits(voices) + QUALITY_PREFERENCES + (key_preferences(key) if key else 0.0)
    lengths = _beat_positions(stops, beats) - _beat_positions(starts, beats)
    costs = _change_costs(starts, onsets, beats, np.asarray(bar_ticks, np.float64))
    chords = _best_sequence(lengths[:, None] * fits, costs)
    return _with_silences(starts, stops, chords, spelled, beats)


def _last_sounds(starts: Ticks, onsets: Ticks, ends: Ticks) -> Ticks:
    """Return until when something sounds after each start, at most until the next; onsets are in order."""
    n_begun = np.searchsorted(onsets, np.append(starts[1:], onsets[-1] + 1))
    sounding_until = np.maximum.accumulate(ends)[n_begun - 1]
    stops: Ticks = np.minimum(sounding_until, np.append(starts[1:], ends.max()))
    return stops


def _sounding_ticks(pitch_classes: Ticks, onsets: Ticks, ends: Ticks, starts: Ticks) -> Array:
    """Return for how long each pitch class sounds from each start to the next, shape = (n_starts, 12).

    Two notes at the same time count twice.
    """
    times = np.append(starts, ends.max())
    sounding = np.empty((len(starts), N_PITCH_CLASSES))
    for pitch_class in range(N_PITCH_CLASSES):
        own = pitch_classes == pitch_class
        sounding[:, pitch_class] = np.diff(_elapsed(onsets[own], times) - _elapsed(ends[own], times))
    return sounding


def _elapsed(moments: Ticks, times: Ticks) -> Ticks:
    """Return how long ago all earlier moments are at each time, in sum."""
    moments = np.sort(moments)
    n_before = np.searchsorted(moments, times)
    elapsed: Ticks = times * n_before - np.append(0, np.cumsum(moments))[n_before]
    return elapsed


def _fits(voices: Array) -> Array:
    """Return what each chord gains in each beat by what sounds, shape = (n_starts, n_chords).

    Args:
        voices: how many voices sound each pitch class, shape = (n_starts, 12).
    """
    inside: Array = voices @ MEMBERS.T
    outside = voices.sum(axis=1, keepdims=True) - inside
    missing = np.maximum(1 - voices, 0) @ MEMBERS.T
    fits: Array = inside - OUTSIDE_PENALTY * outside - MISSING_PENALTY * missing
    return fits


def _beat_positions(times: Ticks, beats: Array) -> Array:
    """Return the beats, and parts of beats, that have passed at each time."""
    after_last: Array = np.maximum(times - beats[-1], 0) / np.median(np.diff(beats))
    positions: Array = np.interp(times, beats, np.arange(len(beats))) + after_last
    return positions


def _change_costs(starts: Ticks, onsets: Ticks, beats: Array, bars: Array) -> Array:
    """Return what a change of chord costs at each start, the same anywhere if the onsets do not follow the beats."""
    positions = _beat_positions(onsets, beats)
    clarity = max(abs(np.exp(2j * np.pi * division * positions).mean()) for division in BEAT_DIVISIONS)
    if clarity < MIN_BEAT_CLARITY:
        return np.full(len(starts), BEATLESS_COST)
    on_beat = _near(starts, beats)
    costs = np.full(len(starts), OFFBEAT_COST)
    costs[_near(starts, _halved(beats))] = HALF_BEAT_COST
    costs[on_beat] = BEAT_COST
    costs[on_beat & _near(starts, _halved(bars))] = HALF_BAR_COST
    costs[_near(starts, bars)] = BAR_COST
    return costs


def _halved(lines: Array) -> Array:
    """Return lines with one more in the middle of each two."""
    return np.interp(np.arange(2 * len(lines) - 1) / 2, np.arange(len(lines)), lines)


def _near(starts: Ticks, lines: Array) -> NDArray[np.bool_]:
    """Return which starts are on a line."""
    after = np.searchsorted(lines, starts - ONSET_TOLERANCE_TICKS)
    near: NDArray[np.bool_] = np.abs(lines[np.minimum(after, len(lines) - 1)] - starts) <= ONSET_TOLERANCE_TICKS
    return near


def _best_sequence(gains: Array, costs: Array) -> Ticks:
    """Return the chord of each start that together gain most, by Viterbi's algorithm.

    Args:
        gains: of each chord, shape = (n_starts, n_chords).
        costs: of a change of chord at each start, shape = (n_starts,).
    """
    changes = np.empty(gains.shape, np.bool_)
    best_before = np.empty(len(gains), np.int64)
    totals = gains[0].copy()
    for index in range(1, len(gains)):
        best = best_before[index] = totals.argmax()
        changed = totals[best] - costs[index]
        np.less(totals, changed, out=changes[index])
        np.maximum(totals, changed, out=totals)
        totals += gains[index]
    chords = np.full(len(gains), totals.argmax())
    for index in range(len(gains) - 1, 0, -1):
        chord = chords[index]
        chords[index - 1] = best_before[index] if changes[index, chord] else chord
    return chords


def _with_silences(starts: Ticks, stops: Ticks, chords: Ticks, key: Key, beats: Array) -> tuple[ChordSpan, ...]:
    """Return the chords as spans from time 0 on, with N.C. in long silences."""
    silence_starts = np.append(0, stops)
    silence_ends = np.append(starts, max(int(beats[-1]), int(stops[-1])))
    silent_beats = _beat_positions(silence_ends, beats) - _beat_positions(silence_starts, beats)
    is_long = silent_beats > MAX_SILENCE_BEATS
    begins = is_long[:-1] | (np.diff(chords, prepend=-1) != 0)
    spans = [
        ChordSpan(
            int(starts[index]) if index or is_long[0] else 0,
            chord_pitch_classes(int(chords[index]), key),
            chord_symbol(int(chords[index]), key),
        )
        for index in np.flatnonzero(begins)
    ]
    silences = [ChordSpan(int(silence_starts[index]), frozenset(), NO_CHORD) for index in np.flatnonzero(is_long)]
    return tuple(sorted([*spans, *silences], key=itemgetter(0)))
