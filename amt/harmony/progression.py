"""Place the chords that a user writes in the bars of a piece."""

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from itertools import cycle, pairwise
from typing import Final, NotRequired, TypedDict

import numpy as np

from amt.errors import HarmonyError
from amt.harmony.chords import ChordSpan
from amt.harmony.symbols import NO_CHORD, parse_symbol
from amt.midi.notes import TICKS_PER_SECOND

MAX_CHORDS: Final = 512

REPEAT: Final = "%"
"""Stands for the bar before, or within a bar for the chord before."""


class PlacedChord(TypedDict):
    """Hold a chord and when it begins: either of the two.

    Attributes:
        symbol: as `parse_symbol` takes it.
        start_bar: counted from 1; 2.5 is the middle of bar 2.
        start_seconds: from the start of the piece.
    """

    symbol: str
    start_bar: NotRequired[float]
    start_seconds: NotRequired[float]


def place_chords(
    progression: str | Sequence[PlacedChord], bar_ticks: Sequence[float], end_ticks: int, start_ticks: int = 0
) -> tuple[ChordSpan, ...]:
    """Return which chord sounds when, from time 0 on; no two neighbours are alike.

    Args:
        progression: a text such as "Am | F | C G | E7", or a list. In a text each bar is split evenly among its
            chords, "%" repeats the bar before (within a bar, the chord before), and the whole is repeated to the end;
            it begins with the bar that holds `start_ticks`. In a list a chord lasts until the next one begins.
            Before the first chord there is none.
        bar_ticks: when each bar of the piece begins, from bar 1 on and in order; then the end of the last one.
        end_ticks: the end of the new music.
        start_ticks: its start.

    Raises:
        HarmonyError: a chord is not known, a bar is empty, there are more than 512 chords or none, or a chord of a
            list begins at the end or later, or with another one.
    """
    if isinstance(progression, str):
        spans = _repeat(_parse_bars(progression), bar_ticks, start_ticks, end_ticks)
    else:
        spans = _sort(progression, bar_ticks, end_ticks)
    return _merge([ChordSpan(0, frozenset(), NO_CHORD), *spans])


def _merge(spans: Iterable[ChordSpan]) -> tuple[ChordSpan, ...]:
    """Return chords in order of time without those that have no time, and with one span for like neighbours."""
    merged: list[ChordSpan] = []
    for span in spans:
        if merged and merged[-1].start_ticks == span.start_ticks:
            merged.pop()
        if not merged or merged[-1][1:] != span[1:]:
            merged.append(span)
    return tuple(merged)


def _parse_bars(text: str) -> list[list[ChordSpan]]:
    """Return the chords of each bar of a text, without their times."""
    bars: list[list[ChordSpan]] = []
    n_chords = 0
    for number, written in enumerate(text.strip("| \t\r\n").split("|"), start=1):
        symbols = written.split()
        n_chords += len(symbols)
        _check_count(n_chords)
        if not symbols:
            raise HarmonyError(f"bar {number} of the chords is empty: it needs a chord, N.C. or {REPEAT}")
        if symbols == [REPEAT] and bars:
            bars.append(bars[-1])
            continue
        bar: list[ChordSpan] = []
        for place, symbol in enumerate(symbols, start=n_chords - len(symbols) + 1):
            if symbol == REPEAT and not bar:
                raise HarmonyError(f"chord {place} of the chords is {REPEAT}, but there is nothing before it to repeat")
            bar.append(bar[-1] if symbol == REPEAT else _read_chord(symbol, place))
        bars.append(bar)
    return bars


def _repeat(
    bars: Sequence[Sequence[ChordSpan]], bar_ticks: Sequence[float], start_ticks: int, end_ticks: int
) -> list[ChordSpan]:
    """Return the chords of bars, repeated from the bar that holds the start to the end."""
    spans: list[ChordSpan] = []
    first = max(bisect_right(bar_ticks, start_ticks) - 1, 0)
    for (start, end), bar in zip(pairwise(bar_ticks[first:]), cycle(bars), strict=False):
        if start >= end_ticks:
            break
        step = (end - start) / len(bar)
        spans += [chord._replace(start_ticks=max(round(start + i * step), 0)) for i, chord in enumerate(bar)]
    return spans


def _sort(chords: Sequence[PlacedChord], bar_ticks: Sequence[float], end_ticks: int) -> list[ChordSpan]:
    """Return the chords of a list in order of time."""
    _check_count(len(chords))
    if not chords:
        raise HarmonyError("there is no chord in chords: it needs one at least, which may be N.C.")
    numbers = range(1, len(bar_ticks) + 1)
    placed: dict[int, ChordSpan] = {}
    for place, chord in enumerate(chords, start=1):
        span = _read_chord(chord["symbol"].strip(), place)
        if "start_seconds" in chord:
            start, wanted = TICKS_PER_SECOND * chord["start_seconds"], f"{chord['start_seconds']:g} s"
        else:
            bar = chord["start_bar"]
            start, wanted = float(np.interp(bar, numbers, bar_ticks, left=-1, right=np.inf)), f"bar {bar:g}"
        if not 0 <= start < end_ticks:
            raise HarmonyError(
                f"chord {place}, {span.symbol!r}, begins at {wanted}: it must begin within the music, from 0 s (bar 1) "
                f"to before {end_ticks / TICKS_PER_SECOND:g} s"
            )
        if round(start) in placed:
            raise HarmonyError(f"chord {place}, {span.symbol!r}, begins at {wanted} as another one does: one must go")
        placed[round(start)] = span._replace(start_ticks=round(start))
    return [placed[start] for start in sorted(placed)]


def _read_chord(symbol: str, place: int) -> ChordSpan:
    """Return the chord of a symbol, which is the one at a place from 1 on, without its time."""
    pitch_classes = parse_symbol(symbol, f"chord {place}")
    return ChordSpan(0, pitch_classes, symbol if pitch_classes else NO_CHORD)


def _check_count(n_chords: int) -> None:
    """Raise HarmonyError if there are too many chords."""
    if n_chords > MAX_CHORDS:
        raise HarmonyError(f"there are more than {MAX_CHORDS} chords: at most {MAX_CHORDS} are taken")
