"""Turn notes into the event triples that the model reads, and clip, pad, sort and interleave these.

Events are integer arrays of vocabulary tokens, shape = (n_events, 3), one row (onset, duration, note) for each event.
Onsets count from the start of the piece and may be larger than the vocabulary allows; a window makes them relative.
Rows whose note token is `CONTROL_OFFSET` or higher are controls. Each operation does what its namesake in
`anticipation/ops.py` of the reference does.
"""

from collections.abc import Iterable, Sequence
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from amt.midi.notes import DEFAULT_VELOCITY, N_PITCHES, Note
from amt.tokens.vocab import (
    ANTICIPATION_TICKS,
    CONTROL_OFFSET,
    DURATION,
    EVENT_TOKENS,
    MAX_DURATION_TICKS,
    NOTE,
    ONSET,
    REST,
    REST_INTERVAL_TICKS,
)

Events = NDArray[np.int64]
"""Shape = (n_events, 3)."""

Triple = tuple[int, int, int]
"""One event as its three tokens."""

_ONSET, _DURATION, _NOTE = range(EVENT_TOKENS)
"""The columns of `Events`."""


def empty() -> Events:
    """Return no events; shape = (0, 3)."""
    return np.empty((0, EVENT_TOKENS), dtype=np.int64)


def from_tokens(tokens: Sequence[int]) -> Events:
    """Return a flat list of tokens as events."""
    return np.asarray(tokens, dtype=np.int64).reshape(-1, EVENT_TOKENS)


def from_notes(notes: Iterable[Note]) -> Events:
    """Return notes as events, in the same order. Durations of 10 s and more become 9.99 s."""
    onsets, durations, pitches, instruments, _ = np.fromiter(chain.from_iterable(notes), np.int64).reshape(-1, 5).T
    codes = NOTE.offset + N_PITCHES * instruments + pitches
    durations = DURATION.offset + np.minimum(durations, MAX_DURATION_TICKS - 1)
    return np.stack([ONSET.offset + onsets, durations, codes], axis=1)


def to_notes(events: Events, velocity: int = DEFAULT_VELOCITY) -> list[Note]:
    """Return the notes of events and controls, without rests, in the same order."""
    values = np.where(is_control(events)[:, None], events - CONTROL_OFFSET, events)
    values = values[values[:, _NOTE] != REST] - (ONSET.offset, DURATION.offset, NOTE.offset)
    return [
        Note(onset, duration, code % N_PITCHES, code // N_PITCHES, velocity)
        for onset, duration, code in values.tolist()
    ]


def is_control(events: Events) -> NDArray[np.bool_]:
    """Return which rows are controls; shape = (n_events,)."""
    return events[:, _NOTE] >= CONTROL_OFFSET


def onsets(events: Events) -> NDArray[np.int64]:
    """Return the onsets of events and controls in ticks; shape = (n_events,)."""
    return events[:, _ONSET] - CONTROL_OFFSET * is_control(events)


def instrument_codes(events: Events) -> set[int]:
    """Return the instruments that occur. A rest counts as instrument 129, as in the reference."""
    return set(((events[:, _NOTE] - CONTROL_OFFSET * is_control(events) - NOTE.offset) // N_PITCHES).tolist())


def sort(events: Events) -> Events:
    """Return the events by onset; simultaneous ones keep their order. Not for a mixture of events and controls."""
    return events[np.argsort(events[:, _ONSET], kind="stable")]


def clip(events: Events, start_ticks: int, end_ticks: int, *, clip_duration: bool = False) -> Events:
    """Return the events with start <= onset <= end.

    `clip_duration`: also shorten those that sound past the end.
    """
    times = onsets(events)
    kept = events[(times >= start_ticks) & (times <= end_ticks)]
    if clip_duration:
        kept = kept.copy()
        durations = kept[:, _DURATION] - DURATION.offset - CONTROL_OFFSET * is_control(kept)
        kept[:, _DURATION] -= np.maximum(onsets(kept) + durations - end_ticks, 0)
    return kept


def translate(events: Events, ticks: int) -> Events:
    """Return the events with every onset moved by a number of ticks."""
    moved: Events = events + np.array([ticks, 0, 0])
    return moved


def pad(events: Events, end_ticks: int | None = None) -> Events:
    """Return sorted events with a rest after every second without an onset, from time 0 to the end.

    `end_ticks`: the end; if it is not given, or 0, as in the reference, the end is the last onset.
    """
    times = events[:, _ONSET] - ONSET.offset
    last = int(times[-1]) if len(times) else 0
    starts = np.concatenate([[0], times])
    ends = np.concatenate([times, [max(end_ticks or 0, last)]])
    n_rests = rests_between(starts, ends)
    total = int(n_rests.sum())
    nth_in_gap = np.arange(total) - np.repeat(np.cumsum(n_rests) - n_rests, n_rests) + 1
    rests = np.empty((total, EVENT_TOKENS), dtype=np.int64)
    rests[:, _ONSET] = ONSET.offset + np.repeat(starts, n_rests) + REST_INTERVAL_TICKS * nth_in_gap
    rests[:, _DURATION], rests[:, _NOTE] = DURATION.offset, REST
    return np.insert(events, np.repeat(np.arange(len(ends)), n_rests), rests, axis=0)


def rests_between(starts: NDArray[np.int64], ends: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the number of rests in each gap from one onset to the next: one per second, none at the end itself."""
    n_rests: NDArray[np.int64] = np.maximum(ends - starts - 1, 0) // REST_INTERVAL_TICKS
    return n_rests


def unpad(events: Events) -> Events:
    """Return the events without rests."""
    sounding: NDArray[np.bool_] = events[:, _NOTE] != REST
    return events[sounding]


def as_controls(events: Events) -> Events:
    """Return the same triples in the control half of the vocabulary."""
    controls: Events = events + CONTROL_OFFSET
    return controls


def split_instruments(events: Events, instruments: Iterable[int]) -> tuple[Events, Events]:
    """Return (the events of all other instruments, those of these instruments as controls)."""
    chosen = np.isin((events[:, _NOTE] - NOTE.offset) // N_PITCHES, list(instruments))
    return events[~chosen], as_controls(events[chosen])


def anticipate(events: Events, controls: Events) -> tuple[Events, Events]:
    """Interleave controls with events, each control about 5 s before its onset.

    A control stands before the first event whose predecessor begins 5 s or less before the control.

    Args:
        events: without controls, sorted by onset.
        controls: sorted by onset.

    Returns:
        (the events and the controls among them, the controls that would come after the last event).
    """
    if not len(events):
        return events, controls
    previous = np.concatenate([[0], events[:-1, _ONSET] - ONSET.offset])
    # The running maximum, because a control enters at the first predecessor that is near enough.
    position = np.searchsorted(np.maximum.accumulate(previous), onsets(controls) - ANTICIPATION_TICKS, side="left")
    ready = position < len(events)
    return np.insert(events, position[ready], controls[ready], axis=0), controls[~ready]
