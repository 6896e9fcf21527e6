"""Compute on CPUs, compiled by numba, what `legality` and `biases` do in PyTorch, which takes ten times as long.

Compiled code is kept until this file changes, whatever becomes of `amt.gpt2.cpu.kernels`: change both, if `exponential`
changes.
"""

from typing import Any, Final

import numpy as np
from numba import prange
from numpy.typing import NDArray
from torch import Tensor

from amt.decoding.chord_tones import EARLY_TICKS, N_PITCH_CLASSES
from amt.decoding.onset_grid import MAX_KEPT_NATS, MAX_LEVEL, NATS_PER_LEVEL
from amt.gpt2.cpu.compiling import compiled, share
from amt.gpt2.cpu.kernels import REORDERED, exponential
from amt.midi.notes import DRUMS, N_INSTRUMENTS, N_PITCHES

_NEGLIGIBLE: Final = np.float32(30)
"""Nats below the likeliest note of all at which an instrument's share of the probability need not be kept."""

_MAX_LEVEL_NATS: Final = np.float32(MAX_LEVEL * NATS_PER_LEVEL)

_EXACT: Final = np.float32(-80)
"""Below this `exponential` is not exact, but next to nothing."""


def forbid_past(logits: Tensor, earliest_onset: Tensor) -> None:
    """Do what `legality.forbid_past` says."""
    share(_forbid_past, *_arrays(logits, earliest_onset))


@compiled(parallel=True)
def _forbid_past(logits: NDArray[np.float32], earliest_onset: NDArray[np.float32]) -> None:
    for row in prange(len(logits)):
        logits[row, : max(int(np.ceil(earliest_onset[row])), 0)] = -np.inf


def forbid_notes(logits: Tensor, legal: Tensor) -> None:
    """Do what `legality.forbid_notes` says."""
    share(_forbid_notes, *_arrays(logits, legal))


@compiled(parallel=True)
def _forbid_notes(logits: NDArray[np.float32], legal: NDArray[np.bool_]) -> None:
    for row in prange(len(logits)):
        for token in range(logits.shape[1]):
            logits[row, token] = logits[row, token] if legal[row, token] else np.float32(-np.inf)


def bias_onsets(logits: Tensor, earliest: Tensor, latest: Tensor, width: float) -> None:
    """Do what `biases.bias_onsets` says."""
    share(_bias_onsets, *_arrays(logits, earliest, latest), np.float32(-0.5 / width**2))


@compiled(parallel=True)
def _bias_onsets(
    logits: NDArray[np.float32], earliest: NDArray[np.float32], latest: NDArray[np.float32], factor: np.float32
) -> None:
    for row in prange(len(logits)):
        for token in range(logits.shape[1]):
            ticks = np.float32(token)
            distance = min(max(ticks, earliest[row]), latest[row]) - ticks
            logits[row, token] += factor * distance * distance


def bias_notes(logits: Tensor, biases: Tensor) -> None:
    """Do what `biases.bias_notes` says."""
    share(_bias_notes, *_arrays(logits, biases))


@compiled(parallel=True)
def _bias_notes(logits: NDArray[np.float32], biases: NDArray[np.float32]) -> None:
    for row in prange(len(logits)):
        for instrument in range(N_INSTRUMENTS):
            bias = biases[row, instrument]
            if bias:
                logits[row, instrument * N_PITCHES : (instrument + 1) * N_PITCHES] += bias
        logits[row, -1] += biases[row, -1]


def keep_on_grid(logits: Tensor, places: Tensor, shift: Tensor, levels: Tensor) -> None:
    """Do what `legality.keep_on_grid` says."""
    share(_keep_on_grid, *_arrays(logits, places, shift, levels), NATS_PER_LEVEL, MAX_KEPT_NATS)


@compiled(parallel=True)
def _keep_on_grid(
    logits: NDArray[np.float32],
    places: NDArray[np.float32],
    shift: NDArray[np.float32],
    levels: NDArray[np.int8],
    nats_per_level: float,
    max_kept_nats: float,
) -> None:
    for row in prange(len(logits)):
        kind, now, due, may_rest = places[row]
        if kind:
            own = levels[row]
            due_token, shift_ticks = int(due), int(shift[row])
            kept_due = logits[row, due_token] if due_token < logits.shape[1] else np.float32(0)
            _keep_row(logits[row], own, shift_ticks, int(now), due_token, nats_per_level, max_kept_nats)
            if due_token < logits.shape[1]:
                is_line = own[min(max(due_token + shift_ticks, 0), len(own) - 1)] >= 0
                logits[row, due_token] = kept_due if is_line or may_rest else np.float32(-np.inf)


@compiled(REORDERED)
def _keep_row(
    logits: NDArray[np.float32],
    levels: NDArray[np.int8],
    shift: int,
    now: int,
    due: int,
    nats_per_level: float,
    max_kept_nats: float,
) -> None:
    first = max(now + 1, 0)
    others = logits[first:]
    if due < len(logits):
        logits[due] = -np.inf
    place = min(max(first + shift, 0), len(levels) - 1)
    own = np.zeros(len(others), dtype=np.int8)  # as past the end
    n_known = min(len(others), len(levels) - place)
    own[:n_known] = levels[place : place + n_known]
    largest = np.float32(-np.inf)
    for index in range(len(others)):
        largest = max(largest, others[index])
    before = after = np.float32(0)
    for index in range(len(others)):
        before += exponential(max(others[index] - largest, _EXACT))
        gained = others[index] + np.float32(nats_per_level) * np.float32(own[index])
        others[index] = gained if own[index] >= 0 else np.float32(-np.inf)
        after += exponential(max(others[index] - largest - _MAX_LEVEL_NATS, _EXACT))
    gain = np.float32(max_kept_nats)
    if largest > -np.inf:
        gain = min(gain, np.float32(np.log(before / after)) - _MAX_LEVEL_NATS)
    for index in range(len(others)):
        others[index] += gain
    if 0 <= now < len(logits) and levels[min(max(now + shift, 0), len(levels) - 1)] < 0:
        logits[now] = -np.inf


def _arrays(logits: Tensor, *inputs: Tensor) -> list[NDArray[Any]]:
    """Return tensors as arrays, inputs in one piece: what is compiled is compiled for one layout."""
    return [logits.numpy(), *(each.contiguous().numpy() for each in inputs)]


def end_on_grid(logits: Tensor, onsets: Tensor, places: Tensor, shift: Tensor, levels: Tensor) -> None:
    """Do what `legality.end_on_grid` says."""
    share(_end_on_grid, *_arrays(logits, onsets, places, shift, levels))


@compiled(parallel=True)
def _end_on_grid(
    logits: NDArray[np.float32],
    onsets: NDArray[np.int64],
    places: NDArray[np.float32],
    shift: NDArray[np.float32],
    levels: NDArray[np.int8],
) -> None:
    for row in prange(len(logits)):
        if places[row, 0] < 2:
            continue
        start = onsets[row] + int(shift[row])
        is_due = onsets[row] == places[row, 2]
        for duration in range(logits.shape[1]):
            place = min(max(start + duration, 0), levels.shape[1] - 1)
            if (levels[row, place] < 0 or duration == 0) and not (is_due and duration == 0):
                logits[row, duration] = -np.inf


def lead_pitches(
    logits: Tensor, key: Tensor, strength: Tensor, chords: Tensor, starts: Tensor, durations: Tensor
) -> None:
    """Do what `biases.lead_pitches` says."""
    share(_lead_pitches, *_arrays(logits, key, strength, chords, starts, durations), EARLY_TICKS)


@compiled(parallel=True)
def _lead_pitches(
    logits: NDArray[np.float32],
    key: NDArray[np.float32],
    strength: NDArray[np.float32],
    chords: NDArray[np.int32],
    starts: NDArray[np.int64],
    durations: NDArray[np.int64],
    early: int,
) -> None:
    for row in prange(len(logits)):
        biases = key[row].copy()
        if strength[row] > 0:
            start = starts[row] + early
            end = max(starts[row] + durations[row], start + 1)
            _add_chords(biases, chords[row], start, end, strength[row])
        if biases.any():
            _lead_row(logits[row], biases)


@compiled()
def _add_chords(
    biases: NDArray[np.float32], chords: NDArray[np.int32], start: int, end: int, strength: np.float32
) -> None:
    inside = np.zeros(N_PITCH_CLASSES, dtype=np.int64)
    sounding = 0
    for index in range(len(chords) - 1):
        if chords[index, 0] >= end:
            break
        overlap = min(end, chords[index + 1, 0]) - max(start, chords[index, 0])
        members = chords[index, 1]
        if overlap > 0 and members:
            sounding += overlap
            for pitch_class in range(N_PITCH_CLASSES):
                inside[pitch_class] += overlap * (members >> pitch_class & 1)
    if sounding:
        biases += strength * (inside / sounding).astype(np.float32)


@compiled(REORDERED)
def _lead_row(logits: NDArray[np.float32], biases: NDArray[np.float32]) -> None:
    by_pitch = np.empty(N_PITCHES, dtype=np.float32)
    for pitch in range(N_PITCHES):
        by_pitch[pitch] = biases[pitch % N_PITCH_CLASSES]
    factors = np.exp(by_pitch)
    largest = np.empty(DRUMS, dtype=np.float32)
    for instrument in range(DRUMS):
        own = np.float32(-np.inf)
        for pitch in range(N_PITCHES):
            own = max(own, logits[instrument * N_PITCHES + pitch])
        largest[instrument] = own
    least = largest.max() - _NEGLIGIBLE
    for instrument in range(DRUMS):
        notes = logits[instrument * N_PITCHES : (instrument + 1) * N_PITCHES]
        gain = np.float32(0)
        if largest[instrument] > least:
            before = after = np.float32(0)
            for pitch in range(N_PITCHES):
                weight = exponential(max(notes[pitch] - largest[instrument], _EXACT))
                before += weight
                after += weight * factors[pitch]
            if after > 0:
                gain = np.float32(np.log(before / after))
        for pitch in range(N_PITCHES):
            notes[pitch] += by_pitch[pitch] + gain
