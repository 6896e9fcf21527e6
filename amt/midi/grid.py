"""Find the lines on which new notes may begin: those that divide the beats of a piece."""

from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from itertools import count
from typing import Final, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from amt.errors import ConstraintError
from amt.midi.bars import Bar, Bars, nearest_tick
from amt.midi.drum_hits import SLACK, Span
from amt.midi.notes import Note
from amt.midi.timing import MILLISECONDS_PER_TICK, TimeSignature, Timing

Division = Literal["1/4", "1/8", "1/8T", "1/16", "1/16T", "1/32"]

STEPS: Final[dict[Division, Fraction]] = {
    "1/4": Fraction(1),
    "1/8": Fraction(1, 2),
    "1/8T": Fraction(1, 3),
    "1/16": Fraction(1, 4),
    "1/16T": Fraction(1, 6),
    "1/32": Fraction(1, 8),
}
"""The distance of two lines in quarter notes; T: triplets."""

STRAIGHT: Final = 0.5
SWUNG: Final = ("1/8", "1/16")
"""The divisions that can swing."""

_EIGHTH: Final = Fraction(1, 2)
_OTHER, _IS_EIGHTH, _IS_BEAT, _IS_DOWNBEAT = range(4)
_MICROSECONDS_PER_MINUTE: Final = 60_000_000


class Grid(NamedTuple):
    """Hold lines in order of time, from the start of the new music to its end; each array has shape = (n_lines,).

    Attributes:
        ticks: of 10 ms, from the start of the piece; each once.
        milliseconds: the same times as they are exactly.
        levels: 3 for a downbeat, 2 for another beat, 1 for another eighth note, 0 for all else.
    """

    ticks: NDArray[np.int64]
    milliseconds: NDArray[np.float64]
    levels: NDArray[np.int8]

    @property
    def times(self) -> dict[int, float]:
        """The exact time of each line in milliseconds, by its tick."""
        return dict(zip(self.ticks.tolist(), self.milliseconds.tolist(), strict=True))


def spans_on(lines: Mapping[int, float], notes: Sequence[Note]) -> list[Span]:
    """Return when notes begin and end, in milliseconds: exactly on a line where their tick is a line's.

    Another end is at its tick, but for what keeps the duration that a reader rounds.

    Args:
        lines: as `Grid.times` has them.
        notes: in any order.
    """
    spans = []
    for note in notes:
        length, end_tick = MILLISECONDS_PER_TICK * note.duration, note.onset + note.duration
        start = lines.get(note.onset, float(MILLISECONDS_PER_TICK * note.onset))
        rounded = start + min(max(MILLISECONDS_PER_TICK * end_tick - start, length - SLACK), length + SLACK)
        spans.append((start, max(start, lines.get(end_tick, rounded))))
    return spans


class _Line(NamedTuple):
    """Hold a line: its file tick, or where it is between two, when that is, its tick of 10 ms, and its level."""

    file_tick: Fraction
    milliseconds: Fraction
    tick: int
    level: int


def make_grid(timing: Timing, division: Division, swing: float, start_ticks: int, end_ticks: int) -> Grid:
    """Return the lines from the first at or after a time, up to and with the first at or after another.

    They are counted from the start of each bar.

    Args:
        timing: of the piece.
        division: of its beats.
        swing: where in each pair of lines the second one is, as a share of the pair; 0.5 is in the middle.
        start_ticks: of the new music, from the start of the piece.
        end_ticks: of the new music.

    Raises:
        ConstraintError: the division cannot swing, or has two lines in one tick of 10 ms.
    """
    if swing != STRAIGHT and division not in SWUNG:
        raise ConstraintError(f"swing must be {STRAIGHT} with grid {division!r}: only 1/8 and 1/16 can swing")
    lines: list[_Line] = []
    for line in _lines(Bars(timing), division, Fraction(swing).limit_denominator(1_000), start_ticks):
        if lines and lines[-1].tick == line.tick:
            raise ConstraintError(_too_fine(timing, division, line))
        lines.append(line)
        if line.tick >= end_ticks:
            break
    return Grid(
        np.array([line.tick for line in lines], np.int64),
        np.array([float(line.milliseconds) for line in lines], np.float64),
        np.array([line.level for line in lines], np.int8),
    )


def _lines(bars: Bars, division: Division, swing: Fraction, start_ticks: int) -> Iterator[_Line]:
    """Yield lines at or after a time, for ever."""
    timing = bars.timing
    for number in count(bars.number_at(start_ticks)):
        bar = bars.bar(number)
        is_cut = bar.end - bar.start < timing.ticks_per_beat * bar.signature.bar_quarters
        next_downbeat = bars.start_ticks(number + 1) if is_cut else None
        for file_tick, level in _lines_of_bar(bar, timing.ticks_per_beat, STEPS[division], swing):
            milliseconds = timing.milliseconds(file_tick)
            line = _Line(file_tick, milliseconds, nearest_tick(milliseconds), level)
            if line.tick >= start_ticks and line.tick != next_downbeat:
                yield line


def _lines_of_bar(bar: Bar, ticks_per_beat: int, step: Fraction, swing: Fraction) -> Iterator[tuple[Fraction, int]]:
    """Yield (file tick, level) of the lines of a bar."""
    straight = Fraction(0)
    while bar.start + straight * ticks_per_beat < bar.end:
        is_offbeat = swing != STRAIGHT and (straight / step) % 2 == 1
        moved = straight + (2 * swing - 1) * step if is_offbeat else straight
        tick = bar.start + moved * ticks_per_beat
        if tick < bar.end:
            yield tick, _level(straight, bar.signature)
        straight += step


def _level(quarters: Fraction, signature: TimeSignature) -> int:
    """Return the level of a line by its distance from the start of its bar in quarter notes."""
    if not quarters:
        return _IS_DOWNBEAT
    if quarters % signature.beat_quarters == 0:
        return _IS_BEAT
    return _IS_EIGHTH if quarters % _EIGHTH == 0 else _OTHER


def _too_fine(timing: Timing, division: Division, line: _Line) -> str:
    bpm = _MICROSECONDS_PER_MINUTE / timing.tempo_at(line.file_tick)
    return (
        f"grid {division!r} has two lines within 10 ms at {float(line.milliseconds) / 1000:.2f} s, where the tempo is "
        f"{bpm:g} bpm: a coarser grid or a slower tempo is needed"
    )
