"""Define a note, and the units and ranges of its fields."""

from typing import Final, NamedTuple

TICKS_PER_SECOND: Final = 100
"""A tick is 10 ms. The ticks of a MIDI file are others: they are called file ticks."""

N_PITCHES: Final = 128

DRUMS: Final = 128
"""The instrument after the 128 programs of General MIDI."""

N_INSTRUMENTS: Final = 129

DEFAULT_VELOCITY: Final = 72
"""The model has no velocities; the reference writes this one."""


class Note(NamedTuple):
    """Hold one sounding note.

    Attributes:
        onset: when it begins, in ticks from the start of the piece.
        duration: in ticks.
        pitch: MIDI note number, 0..127; 60 is middle C. For drums, the number of the drum.
        instrument: General MIDI program, 0..127, or 128 for drums.
        velocity: 1..127.
    """

    onset: int
    duration: int
    pitch: int
    instrument: int
    velocity: int = DEFAULT_VELOCITY
