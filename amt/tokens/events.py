"""Notes, and the event triples that the model reads.

Events are integer arrays, shape = (n_events, 3), one row (onset, duration, note) of vocabulary tokens each. Onsets
count from the start of the piece and may exceed what the vocabulary holds; a window makes them relative. Rows whose
note token is `CONTROL_OFFSET` or higher are controls. Semantics follow `anticipation/ops.py` of the reference.
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

Triple = tuple[int, int, int]
"""One event as its three tokens."""


def empty() -> Events:
    """No events: shape = (0, 3)."""
    return np.empty((0, EVENT_TOKENS), dtype=np.int64)


def from_tokens(tokens: Sequence[int]) -> Events:
    """Fold a flat list of tokens into events."""
    return np.asarray(tokens, dtype=np.int64).reshape(-1, EVENT_TOKENS)


def from_notes(notes: Iterable[Note]) -> Events:
    """Tokens of the notes, in the order given. Durations of 10 s and more become 9.99 s."""
    onsets, durations, pitches, instruments, _ = np.fromiter(chain.from_iterable(notes), np.int64).reshape(-1, 5).T
    codes = NOTE.offset + N_PITCHES * instruments + pitches
    durations = DURATION.offset + np.minimum(durations, MAX_DURATION_TICKS - 1)
    return np.stack([ONSET.offset + onsets, durations, codes], axis=1)


def to_notes(events: Events, velocity: int = DEFAULT_VELOCITY) -> list[Note]:
    """The notes of events and controls alike, without rests, in the order given."""
    values = np.where(is_control(events)[:, None], events - CONTROL_OFFSET, events)
    values = values[values[:, 2] != REST] - (ONSET.offset, DURATION.offset, NOTE.offset)
    return [
        Note(onset, duration, code % N_PITCHES, code // N_PITCHES, velocity)
        for onset, duration, code in values.tolist()
    ]


def is_control(events: Events) -> NDArray[np.bool_]:
    """Which rows are controls; shape = (n_events,)."""
    return events[:, 2] >= CONTROL_OFFSET


def onsets(events: Events) -> NDArray[np.int64]:
    """Onsets in ticks, of events and controls alike; shape = (n_events,)."""
    return events[:, 0] - CONTROL_OFFSET * is_control(events)


def instrument_codes(events: Events) -> set[int]:
    """The distinct instruments. A rest counts as instrument 129, as in the reference."""
    return set(((events[:, 2] - CONTROL_OFFSET * is_control(events) - NOTE.offset) // N_PITCHES).tolist())


def sort(events: Events) -> Events:
    """By onset; simultaneous events keep their order. Not for events and controls together."""
    return events[np.argsort(events[:, 0], kind="stable")]


def clip(events: Events, start_ticks: int, end_ticks: int, *, clip_duration: bool = False) -> Events:
    """The events with start <= onset <= end; with `clip_duration` none sounds past the end."""
    times = onsets(events)
    kept = events[(times >= start_ticks) & (times <= end_ticks)]
    if clip_duration:
        kept = kept.copy()
        durations = kept[:, 1] - DURATION.offset - CONTROL_OFFSET * is_control(kept)
        kept[:, 1] -= np.maximum(onsets(kept) + durations - end_ticks, 0)
    return kept


def translate(events: Events, ticks: int) -> Events:
    """Every onset moved by so many ticks."""
    moved: Events = events + np.array([ticks, 0, 0])
    return moved


def pad(events: Events, end_ticks: int | None = None) -> Events:
    """Sorted events with a rest after every second without an onset, from time zero to the end.

    The end is the last onset unless `end_ticks` is given (0 counts as not given, as in the reference).
    """
    times = events[:, 0] - ONSET.offset
    last = int(times[-1]) if len(times) else 0
    starts = np.concatenate([[0], times])
    ends = np.concatenate([times, [max(end_ticks or 0, last)]])
    n_rests = rests_between(starts, ends)
    total = int(n_rests.sum())
    nth_in_gap = np.arange(total) - np.repeat(np.cumsum(n_rests) - n_rests, n_rests) + 1
    rests = np.empty((total, EVENT_TOKENS), dtype=np.int64)
    rests[:, 0] = ONSET.offset + np.repeat(starts, n_rests) + REST_INTERVAL_TICKS * nth_in_gap
    rests[:, 1:] = DURATION.offset, REST
    return np.insert(events, np.repeat(np.arange(len(ends)), n_rests), rests, axis=0)


def rests_between(starts: NDArray[np.int64], ends: NDArray[np.int64]) -> NDArray[np.int64]:
    """How many rests fill each gap from one onset to the next: one a second, none at the end itself."""
    n_rests: NDArray[np.int64] = np.maximum(ends - starts - 1, 0) // REST_INTERVAL_TICKS
    return n_rests


def unpad(events: Events) -> Events:
    """The events without rests."""
    sounding: NDArray[np.bool_] = events[:, 2] != REST
    return events[sounding]


def as_controls(events: Events) -> Events:
    """The same triples in the control half of the vocabulary."""
    controls: Events = events + CONTROL_OFFSET
    return controls


def split_instruments(events: Events, instruments: Iterable[int]) -> tuple[Events, Events]:
    """(events of all other instruments, controls of these)."""
    chosen = np.isin((events[:, 2] - NOTE.offset) // N_PITCHES, list(instruments))
    return events[~chosen], as_controls(events[chosen])


def anticipate(events: Events, controls: Events) -> tuple[Events, Events]:
    """Interleave sorted controls, each before the first event that follows an onset 5 s or less ahead of it.

    Returns:
        (the events with the controls whose time has come, the controls that are left over).
    """
    if not len(events):
        return events, controls
    previous = np.concatenate([[0], events[:-1, 0] - ONSET.offset])
    # The running maximum: a control enters at the first event whose predecessor has come near enough.
    position = np.searchsorted(np.maximum.accumulate(previous), onsets(controls) - ANTICIPATION_TICKS, side="left")
    ready = position < len(events)
    return np.insert(events, position[ready], controls[ready], axis=0), controls[~ready]
