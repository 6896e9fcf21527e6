"""How loud new notes are; the model has no velocities.

A level is the sum of a centre and a light shape, at most `MAX_SHAPE` up or down:

- The centre is the average of the kept notes of the same instrument that are nearest in time, the nearer the more; of
  drums those of the same drum, if there are any. The shape is then as deep as those notes differ: next to notes of one
  velocity it is flat.
- Without kept notes of the instrument the centre is that of the nearest kept notes of all, or `DEFAULT_VELOCITY`
  without any; backgrounds are a little softer.
- The shape adds what the beat gives (see `amt.beats`), what the pitch gives (notes above the instrument's latest ones
  are louder, those below softer, and so the top of a chord stands out), and a breath of chance, the same for a chord.

A level depends on nothing that comes after the note, so that it can be told as soon as the note is decided; nor on the
order of simultaneous notes. The same seed gives the same levels.
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable
from typing import Final, NamedTuple

import numpy as np

from amt.arranging.beat import MEMORY_TICKS as PULSE_MEMORY_TICKS
from amt.arranging.beat import BeatTracker
from amt.midi.notes import DEFAULT_VELOCITY, DRUMS, Note

MIN_VELOCITY: Final = 1
MAX_VELOCITY: Final = 127

NEAREST: Final = 16
"""Kept notes that give a level."""

MEMORY_TICKS: Final = 100
"""A kept note so far away counts half."""

HEARD_TICKS: Final = 4 * PULSE_MEMORY_TICKS
"""From so long before the first new note on kept notes give the beat."""

MAX_SHAPE: Final = 12.0
BEAT_DEPTH: Final = 20.0
MAX_BEAT: Final = 6.0
PITCH_DEPTH: Final = 1 / 3
"""Velocity a semitone."""
MAX_PITCH: Final = 4.0
CHANCE: Final = 1.5
"""Its standard deviation."""

REGISTER_SHARE: Final = 0.25
"""What a chord counts in the average of an instrument's latest pitches."""

TYPICAL_SPREAD: Final = 6.0
"""The standard deviation of kept velocities beside which the shape has its plain depth."""
MAX_SPREAD: Final = 1.5

BACKGROUND: Final = {**dict.fromkeys(range(48, 56), -4), **dict.fromkeys(range(88, 96), -8)}
"""Ensembles and pads: program -> how much softer."""

DRUM_ROLES: Final = {
    **dict.fromkeys((49, 57), 4),  # crash cymbals
    **dict.fromkeys((42, 44, 46), -6),  # hi-hats
    **dict.fromkeys((51, 53, 54, 59, 69, 70, 82), -4),  # rides, tambourine, shakers
}
"""Drum -> how much louder."""

_N_CHANCES: Final = 4_099
_SEED_OF_DYNAMICS: Final = 7
"""Beside the request's seed, so that these random numbers have nothing to do with those that choose notes."""

_Voice = tuple[int, ...]
"""What levels are compared within: an instrument, or a drum, or everything."""

_EVERYTHING: Final[_Voice] = ()


class _Near(NamedTuple):
    """The kept notes of a voice near a time, on average."""

    velocity: float
    spread: float
    pitch: float


class VelocityContext:
    """Kept notes, by what they can tell about others. One does for all variations."""

    def __init__(self, kept: Iterable[Note] = ()) -> None:
        ordered = sorted(kept)
        voices: dict[_Voice, list[Note]] = {}
        for note in ordered:
            for voice in (*_voices(note), _EVERYTHING):
                voices.setdefault(voice, []).append(note)
        self._voices = {
            voice: ([note.onset for note in notes], np.array([(note.velocity, note.pitch) for note in notes]))
            for voice, notes in voices.items()
        }

    def near(self, voice: _Voice, onset: int) -> _Near | None:
        """The average of a voice about a time in ticks, or None when it has no notes."""
        if voice not in self._voices:
            return None
        onsets, values = self._voices[voice]
        middle = bisect_left(onsets, onset)
        start = max(middle - NEAREST, 0)
        distance = np.abs(np.array(onsets[start : middle + NEAREST]) - onset)
        chosen = np.argsort(distance, kind="stable")[:NEAREST]
        weights = 1 / (1 + distance[chosen] / MEMORY_TICKS)
        weights /= weights.sum()
        velocity, pitch = weights @ values[start + chosen]
        spread = np.sqrt(weights @ (values[start + chosen, 0] - velocity) ** 2)
        return _Near(float(velocity), float(spread), float(pitch))

    def onsets(self, start_ticks: int, end_ticks: int) -> list[int]:
        """The onsets of kept notes with start <= onset < end."""
        onsets = self._voices[_EVERYTHING][0] if self._voices else []
        return onsets[bisect_left(onsets, start_ticks) : bisect_left(onsets, end_ticks)]


class VelocityShaper:
    """The levels of one variation's new notes, told one after the other by onset."""

    def __init__(self, context: VelocityContext, velocity: int | None, seed: int) -> None:
        """`velocity`: what every note gets; None: a level of its own."""
        self._context, self._velocity = context, velocity
        self._chances = np.random.default_rng([seed, _SEED_OF_DYNAMICS]).normal(0.0, CHANCE, _N_CHANCES).tolist()
        self._beats = BeatTracker()
        self._now: int | None = None
        self._beat = 0.0
        self._simultaneous: list[Note] = []
        self._registers: dict[int, float] = {}

    def shape(self, note: Note) -> Note:
        """The note with its level."""
        if self._velocity is not None:
            return note._replace(velocity=self._velocity)
        if note.onset != self._now:
            self._advance(note.onset)
        self._simultaneous.append(note)
        centre, depth = self._centre(note)
        chance = self._chances[(note.onset * (DRUMS + 1) + note.instrument) % _N_CHANCES]
        shape = depth * (self._beat + self._lift(note) + chance)
        level = round(centre + _within(MAX_SHAPE, shape))
        return note._replace(velocity=min(max(level, MIN_VELOCITY), MAX_VELOCITY))

    def _advance(self, onset: int) -> None:
        """What was told so far is past."""
        pitches: dict[int, list[int]] = {}
        for note in self._simultaneous:
            pitches.setdefault(note.instrument, []).append(note.pitch)
        for instrument, chord in pitches.items():
            mean = sum(chord) / len(chord)
            register = self._registers.get(instrument, mean)
            self._registers[instrument] = register + REGISTER_SHARE * (mean - register)
        since = onset - HEARD_TICKS if self._now is None else self._now
        heard = self._context.onsets(since, onset) + [note.onset for note in self._simultaneous]
        for time, n_notes in sorted(Counter(heard).items()):
            self._beats.observe(time, n_notes)
        self._beat = _within(MAX_BEAT, BEAT_DEPTH * self._beats.accent(onset))
        self._simultaneous = []
        self._now = onset

    def _centre(self, note: Note) -> tuple[float, float]:
        """(the level about which a note lies, how deep its shape is)."""
        own, *general = _voices(note)
        role = DRUM_ROLES.get(note.pitch, 0) if note.instrument == DRUMS else BACKGROUND.get(note.instrument, 0)
        if near := self._context.near(own, note.onset):
            return near.velocity, _depth(near)
        for voice in general:
            if near := self._context.near(voice, note.onset):
                return near.velocity + role, _depth(near)
        everything = self._context.near(_EVERYTHING, note.onset)
        return (everything.velocity if everything else DEFAULT_VELOCITY) + role, 1.0

    def _lift(self, note: Note) -> float:
        """What its pitch gives. Drums have none."""
        if note.instrument == DRUMS:
            return 0.0
        register = self._registers.get(note.instrument)
        if register is None:
            near = self._context.near((note.instrument,), note.onset)
            if near is None:
                return 0.0
            register = self._registers[note.instrument] = near.pitch
        return _within(MAX_PITCH, PITCH_DEPTH * (note.pitch - register))


def _voices(note: Note) -> tuple[_Voice, ...]:
    """What a note belongs to, the closest first."""
    return ((DRUMS, note.pitch), (DRUMS,)) if note.instrument == DRUMS else ((note.instrument,),)


def _depth(near: _Near) -> float:
    return min(near.spread / TYPICAL_SPREAD, MAX_SPREAD)


def _within(most: float, value: float) -> float:
    return min(max(value, -most), most)
