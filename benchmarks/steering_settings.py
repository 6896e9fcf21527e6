"""List what steering is measured on: progressions, keys, grids and variety, from nothing and after prompts."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cache
from itertools import count, cycle, takewhile
from typing import Final

import numpy as np
from numpy.typing import NDArray

from amt.arranging.plan import EditPlan, continue_from_start, from_nothing
from amt.decoding.constraints import Constraints
from amt.decoding.request import DecodeRequest
from amt.gpt2.sampling_params import SamplingParams
from amt.harmony.chords import ChordSpan
from amt.midi import codec
from amt.midi.grid import Grid
from amt.midi.notes import TICKS_PER_SECOND
from amt.midi.timing import MILLISECONDS_PER_TICK
from benchmarks.checkpoints import TINY_VARIETY
from benchmarks.running import PROJECT

PROMPTS: Final = PROJECT / "tests/data/golden/midi"
PROMPT_SECONDS: Final = 5
BEATS_PER_BAR: Final = 4
LINES_PER_BEAT: Final = 4
"""Sixteenth notes."""

C_MAJOR: Final = frozenset({0, 2, 4, 5, 7, 9, 11})
TRIADS: Final = {
    "Am": frozenset({9, 0, 4}),
    "F": frozenset({5, 9, 0}),
    "C": frozenset({0, 4, 7}),
    "G": frozenset({7, 11, 2}),
}

FREE: Final = Constraints(allow_repetition=False)
"""What the service asks for where a request asks for nothing."""


def transposed(scale: Iterable[int], semitones: int) -> frozenset[int]:
    """Return pitch classes moved up."""
    return frozenset((pitch_class + semitones) % 12 for pitch_class in scale)


@dataclass(frozen=True)
class Setting:
    """Say what is decoded, and what it is steered to.

    Attributes:
        group: whose table it is in.
        name: of its rows there.
        prompt: the file whose first seconds are continued; None: from nothing.
        seconds: of new music.
        bpm: of the grid and of the chords, from where the new music begins.
        has_grid: whether onsets are on sixteenth notes.
        key: pitch classes of a scale, or None.
        progression: chords, a bar each, again and again.
        variety: the share that the six commonest keys may have, or None.
    """

    group: str
    name: str
    prompt: str | None = None
    seconds: int = 20
    bpm: float = 100
    has_grid: bool = False
    key: frozenset[int] | None = None
    progression: tuple[str, ...] = ()
    variety: float | None = None

    @property
    def plan(self) -> EditPlan:
        """What is kept, and from when to when new notes come."""
        return _plan(self.prompt, self.seconds)

    @property
    def can_be_snapped(self) -> bool:
        """Whether notes could be moved afterwards to what they should be."""
        return self.has_grid or bool(self.key or self.progression)

    def free(self, seed: int, sampling: tuple[SamplingParams, ...]) -> DecodeRequest:
        """Return the request without steering."""
        return self.plan.request(constraints=FREE, seed=seed, sampling=sampling)

    def steered(self, seed: int, sampling: tuple[SamplingParams, ...]) -> DecodeRequest:
        """Return the request with steering."""
        return self.plan.request(constraints=self.constraints, seed=seed, sampling=sampling)

    @property
    def constraints(self) -> Constraints:
        """What it is steered to."""
        grid = self.grid if self.has_grid else None
        return replace(FREE, grid=grid, key=self.key, chords=self.chords, variety=self.variety)

    @property
    def grid(self) -> Grid:
        """All sixteenth notes of the new music."""
        times = self._times(BEATS_PER_BAR * LINES_PER_BEAT)
        lines = np.arange(len(times))
        levels = sum(
            (lines % step == 0).astype(np.int8) for step in (2, LINES_PER_BEAT, BEATS_PER_BAR * LINES_PER_BEAT)
        )
        return Grid(np.rint(times).astype(np.int64), times * MILLISECONDS_PER_TICK, np.asarray(levels, np.int8))

    @property
    def chords(self) -> tuple[ChordSpan, ...]:
        """The progression to the end."""
        starts = np.rint(self._times(1)).astype(np.int64).tolist()
        return tuple(
            ChordSpan(start, TRIADS[symbol], symbol)
            for start, symbol in zip(starts, cycle(self.progression), strict=False)
        )

    @property
    def strong_ticks(self) -> NDArray[np.int64]:
        """When the first and the third beat of each bar are."""
        return np.rint(self._times(2)).astype(np.int64)

    def _times(self, n_per_bar: int) -> NDArray[np.float64]:
        """Return the times of so many even parts of each bar, in ticks but exactly, up to the end of the new music."""
        step = 60 / self.bpm * BEATS_PER_BAR / n_per_bar * TICKS_PER_SECOND
        length = self.plan.end_ticks - self.plan.start_ticks
        return self.plan.start_ticks + np.fromiter(takewhile(lambda t: t < length, (k * step for k in count())), float)


@cache
def _plan(prompt: str | None, seconds: int) -> EditPlan:
    length = seconds * TICKS_PER_SECOND
    if prompt is None:
        return from_nothing(length)
    notes = codec.read_notes((PROMPTS / f"{prompt}.mid").read_bytes())
    return continue_from_start(notes, PROMPT_SECONDS * TICKS_PER_SECOND, length)


POP: Final = ("Am", "F", "C", "G")
CHORALE, GAME = "chorale_001", "easyrpg_castle1"
"""The first seconds are in A major, and in E minor for several instruments."""

SETTINGS: Final = (
    *(Setting("grid", f"1/16 at {bpm}, from nothing", bpm=bpm, has_grid=True) for bpm in (120, 100, 93)),
    Setting("grid", "1/16 at 120, its own, after a chorale", CHORALE, bpm=120, has_grid=True),
    Setting("grid", "1/16 at 100, not its own, after a chorale", CHORALE, bpm=100, has_grid=True),
    Setting("key", "C major, from nothing", key=C_MAJOR),
    Setting("key", "F# major, from nothing", key=transposed(C_MAJOR, 6)),
    Setting("key", "C major, after a chorale in A major", CHORALE, key=C_MAJOR),
    Setting("key", "Eb major, after a chorale in A major", CHORALE, key=transposed(C_MAJOR, 3)),
    Setting("key", "Eb major, after game music in E minor", GAME, key=transposed(C_MAJOR, 3)),
    Setting("chords", "Am F C G, from nothing", progression=POP),
    Setting("chords", "Am F C G, after a chorale in A major", CHORALE, progression=POP),
    Setting("chords", "Am F C G, after game music in E minor", GAME, progression=POP),
    Setting("chords and grid", "Am F C G and 1/16 at 100, from nothing", has_grid=True, progression=POP),
    Setting("chords and grid", "Am F C G and 1/16 at 100, after a chorale", CHORALE, has_grid=True, progression=POP),
    Setting(
        "chords and grid",
        "with C major and variety too",
        has_grid=True,
        progression=POP,
        key=C_MAJOR,
        variety=TINY_VARIETY,
    ),
    Setting("variety", "30 s", seconds=30, variety=TINY_VARIETY),
    Setting("variety", "120 s", seconds=120, variety=TINY_VARIETY),
)


def chosen(terms: Iterable[str]) -> list[Setting]:
    """Return the settings of any group that is named, or with any of these words in their names; all if none is."""
    terms = list(terms)
    return [
        setting
        for setting in SETTINGS
        if not terms or any(term == setting.group or term in setting.name for term in terms)
    ]
