"""Define the vocabulary of the Anticipatory Music Transformer as one table.

An event is three tokens: onset, duration, note. Each slot has its own range, once for events and once,
`CONTROL_OFFSET` higher, for controls. Source: Thickstun et al., "Anticipatory Music Transformer"
(arXiv:2306.08620), section 3 and the `stanford-crfm/music-*-800k` checkpoints.
"""

from typing import Final, NamedTuple

from amt.midi.notes import N_INSTRUMENTS, N_PITCHES

MAX_ONSET_TICKS: Final = 10_000
"""Onsets, relative to the earliest of the window, are from 0 to 99.99 s."""

MAX_DURATION_TICKS: Final = 1_000
"""Durations are from 0 to 9.99 s."""

CONTEXT_TOKENS: Final = 1_024
EVENT_TOKENS: Final = 3
MAX_WINDOW_EVENTS: Final = (CONTEXT_TOKENS - 1) // EVENT_TOKENS
"""The number of events that fit after the mode token: 341."""

ANTICIPATION_TICKS: Final = 500
"""Controls stand 5 s ahead of their onset."""

REST_INTERVAL_TICKS: Final = 100
"""The model was trained with a rest after every second without an onset."""


class Slot(NamedTuple):
    """Give the contiguous range of tokens that are legal in one slot of an event."""

    name: str
    offset: int
    size: int

    @property
    def slice(self) -> slice:
        """Return the slot's rows of the embedding and output matrices."""
        return slice(self.offset, self.offset + self.size)


ONSET: Final = Slot("onset", 0, MAX_ONSET_TICKS)
DURATION: Final = Slot("duration", ONSET.offset + ONSET.size, MAX_DURATION_TICKS)
NOTE: Final = Slot("note", DURATION.offset + DURATION.size, N_INSTRUMENTS * N_PITCHES + 1)
SLOTS: Final = (ONSET, DURATION, NOTE)

REST: Final = NOTE.offset + NOTE.size - 1
"""The note token of an event in which nothing sounds."""

CONTROL_OFFSET: Final = NOTE.offset + NOTE.size
"""Added to each of an event's tokens when the event is given, not generated."""

SEPARATOR: Final = 2 * CONTROL_OFFSET - 1
"""Stands between pieces in the reference's training data. Its number is the one that a rest as a control would have."""

AUTOREGRESS: Final = SEPARATOR + 1
"""The mode token, first of a context, of music without controls."""

ANTICIPATE: Final = SEPARATOR + 2
"""The mode token of music with controls."""

VOCAB_SIZE: Final = SEPARATOR + 3

if (CONTROL_OFFSET, VOCAB_SIZE, MAX_WINDOW_EVENTS) != (27_513, 55_028, 341):
    raise AssertionError("the vocabulary table does not add up to the published checkpoints' layout")
