"""Define a note, and the units that everything here counts in."""

from typing import Final, NamedTuple

TICKS_PER_SECOND: Final = 100
"""A tick is 10 ms."""

N_PITCHES: Final = 128

DRUMS: Final = 128
"""The instrument after the 128 programs of General MIDI."""

N_INSTRUMENTS: Final = 129

DEFAULT_VELOCITY = 72
"""The model has no velocities; the reference writes this one."""


class Note(NamedTuple):
    """One sounding note. Onset and duration are in ticks of 10 ms; instrument 128 is drums."""

    onset: int
    duration: int
    pitch: int
    instrument: int
    velocity: int = DEFAULT_VELOCITY
