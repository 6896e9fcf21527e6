"""Choose how loud new notes are; the model has no velocities.

The velocity of a note is the sum of a centre and an offset of at most `MAX_OFFSET` up or down.

- The centre is the weighted average of kept notes of the same instrument near in time, nearer ones with more weight;
  for a drum, of the same drum if it has any. The offset is scaled by how much those notes differ: among notes of one
  velocity it is 0.
- If the instrument has no kept notes, the centre is the average of all kept notes near in time, or `DEFAULT_VELOCITY`
  if there are none; background instruments are a little softer.
- The offset has three parts: the beat (see `amt.arranging.beat`); the pitch (notes above the latest ones of the
  instrument are louder, those below softer, so the top of a chord stands out); and a small random part, the same for
  all notes of a chord.

A velocity does not depend on later notes, so it is known as soon as the note is decided. It does not depend on the
order of simultaneous notes either. The same seed gives the same velocities.
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable
from typing import Final, NamedTuple

import numpy as np

from amt.arranging.beat import MEMORY_TICKS as BEAT_MEMORY_TICKS
from amt.arranging.beat import BeatTracker
from amt.midi.notes import DEFAULT_VELOCITY, DRUMS, Note

MIN_VELOCITY: Final = 1
MAX_VELOCITY: Final = 127

NEAREST_NOTES: Final = 16
"""The number of kept notes that are averaged."""

HALF_WEIGHT_TICKS: Final = 100
"""A kept note this far away has half the weight of one at the same time."""

BEAT_CONTEXT_TICKS: Final = 4 * BEAT_MEMORY_TICKS
"""The beat is tracked over kept notes from this long before the first new note."""

MAX_OFFSET: Final = 12.0
BEAT_DEPTH: Final = 20.0
"""Velocity per unit of `BeatTracker.accent`."""
MAX_BEAT_OFFSET: Final = 6.0
PITCH_DEPTH: Final = 1 / 3
"""Velocity per semitone."""
MAX_PITCH_OFFSET: Final = 4.0
RANDOM_DEVIATION: Final = 1.5
"""The standard deviation of the random part."""

REGISTER_SHARE: Final = 0.25
"""The weight of the latest chord in the moving average of an instrument's pitch."""

TYPICAL_DEVIATION: Final = 6.0
"""The standard deviation of kept velocities among which the offset is neither scaled up nor down."""
MAX_SCALE: Final = 1.5

BACKGROUND_OFFSETS: Final = {**dict.fromkeys(range(48, 56), -4), **dict.fromkeys(range(88, 96), -8)}
"""Program -> offset: ensembles and pads."""

DRUM_OFFSETS: Final = {
    **dict.fromkeys((49, 57), 4),  # crash cymbals
    **dict.fromkeys((42, 44, 46), -6),  # hi-hats
    **dict.fromkeys((51, 53, 54, 59, 69, 70, 82), -4),  # rides, tambourine, shakers
}
"""Number of the drum -> offset."""

_N_RANDOM: Final = 4_099
_SEED_OF_VELOCITIES: Final = 7
"""Joined to the seed of the request, so that these random numbers are independent of those that choose notes."""

_Source = tuple[int, ...]
"""Kept notes to compare with: (instrument,), (DRUMS, drum), or () for all."""

_EVERYTHING: Final[_Source] = ()


class _Average(NamedTuple):
    """Hold the weighted averages of kept notes near a time."""

    velocity: float
    deviation: float
    pitch: float


class VelocityContext:
    """Look up the velocities of kept notes near a time. All variations of a request can share one."""

    def __init__(self, kept: Iterable[Note] = ()) -> None:
        notes_by_source: dict[_Source, list[Note]] = {}
        for note in sorted(kept):
            for source in (*_sources(note), _EVERYTHING):
                notes_by_source.setdefault(source, []).append(note)
        self._kept = {
            source: ([note.onset for note in notes], np.array([(note.velocity, note.pitch) for note in notes]))
            for source, notes in notes_by_source.items()
        }

    def average_near(self, source: _Source, onset: int) -> _Average | None:
        """Return the average of a source near a time in ticks, or None if it has no notes."""
        if source not in self._kept:
            return None
        onsets, values = self._kept[source]
        middle = bisect_left(onsets, onset)
        start = max(middle - NEAREST_NOTES, 0)
        distance = np.abs(np.array(onsets[start : middle + NEAREST_NOTES]) - onset)
        chosen = np.argsort(distance, kind="stable")[:NEAREST_NOTES]
        weights = 1 / (1 + distance[chosen] / HALF_WEIGHT_TICKS)
        weights /= weights.sum()
        velocity, pitch = weights @ values[start + chosen]
        velocities, _ = values[start + chosen].T
        deviation = np.sqrt(weights @ (velocities - velocity) ** 2)
        return _Average(float(velocity), float(deviation), float(pitch))

    def onsets(self, start_ticks: int, end_ticks: int) -> list[int]:
        """Return the onsets of kept notes with start <= onset < end."""
        onsets = self._kept[_EVERYTHING][0] if self._kept else []
        return onsets[bisect_left(onsets, start_ticks) : bisect_left(onsets, end_ticks)]


class VelocityShaper:
    """Give the new notes of one variation their velocities, one note after the other by onset."""

    def __init__(self, context: VelocityContext, velocity: int | None, seed: int) -> None:
        """Take `velocity` for every note; if it is None, choose one for each note."""
        self._context, self._velocity = context, velocity
        rng = np.random.default_rng([seed, _SEED_OF_VELOCITIES])
        self._random_offsets = rng.normal(0.0, RANDOM_DEVIATION, _N_RANDOM)
        self._beats = BeatTracker()
        self._now: int | None = None
        self._beat_offset = 0.0
        self._simultaneous: list[Note] = []
        self._registers: dict[int, float] = {}

    def shape(self, note: Note) -> Note:
        """Return the note with its velocity."""
        if self._velocity is not None:
            return note._replace(velocity=self._velocity)
        if note.onset != self._now:
            self._advance(note.onset)
        self._simultaneous.append(note)
        centre, scale = self._centre(note)
        random_offset = float(self._random_offsets[(note.onset * (DRUMS + 1) + note.instrument) % _N_RANDOM])
        offset = scale * (self._beat_offset + self._pitch_offset(note) + random_offset)
        velocity = round(centre + _limit(offset, MAX_OFFSET))
        return note._replace(velocity=min(max(velocity, MIN_VELOCITY), MAX_VELOCITY))

    def _advance(self, onset: int) -> None:
        """Move on to a later onset: the notes so far count for its beat and its pitch offsets."""
        chords: dict[int, list[int]] = {}
        for note in self._simultaneous:
            chords.setdefault(note.instrument, []).append(note.pitch)
        for instrument, chord in chords.items():
            mean = sum(chord) / len(chord)
            register = self._registers.get(instrument, mean)
            self._registers[instrument] = register + REGISTER_SHARE * (mean - register)
        since = onset - BEAT_CONTEXT_TICKS if self._now is None else self._now
        passed = self._context.onsets(since, onset) + [note.onset for note in self._simultaneous]
        for time, n_notes in sorted(Counter(passed).items()):
            self._beats.observe(time, n_notes)
        self._beat_offset = _limit(BEAT_DEPTH * self._beats.accent(onset), MAX_BEAT_OFFSET)
        self._simultaneous = []
        self._now = onset

    def _centre(self, note: Note) -> tuple[float, float]:
        """Return (the centre of a note's velocity, the scale of its offset)."""
        own, *others = _sources(note)
        if average := self._context.average_near(own, note.onset):
            return average.velocity, _scale(average)
        offsets, key = (DRUM_OFFSETS, note.pitch) if note.instrument == DRUMS else (BACKGROUND_OFFSETS, note.instrument)
        role_offset = offsets.get(key, 0)
        for source in others:
            if average := self._context.average_near(source, note.onset):
                return average.velocity + role_offset, _scale(average)
        everything = self._context.average_near(_EVERYTHING, note.onset)
        return (everything.velocity if everything else DEFAULT_VELOCITY) + role_offset, 1.0

    def _pitch_offset(self, note: Note) -> float:
        """Return how much louder a note is because of its pitch; 0 for drums."""
        if note.instrument == DRUMS:
            return 0.0
        register = self._registers.get(note.instrument)
        if register is None:
            average = self._context.average_near((note.instrument,), note.onset)
            if average is None:
                return 0.0
            register = self._registers[note.instrument] = average.pitch
        return _limit(PITCH_DEPTH * (note.pitch - register), MAX_PITCH_OFFSET)


def _sources(note: Note) -> tuple[_Source, ...]:
    """Return the sources that a note belongs to, the narrowest first; `_EVERYTHING` is left out."""
    return ((DRUMS, note.pitch), (DRUMS,)) if note.instrument == DRUMS else ((note.instrument,),)


def _scale(average: _Average) -> float:
    return min(average.deviation / TYPICAL_DEVIATION, MAX_SCALE)


def _limit(value: float, most: float) -> float:
    return min(max(value, -most), most)
