"""Say of a result how it counts time, and which chords it keeps to."""

from collections.abc import Sequence
from itertools import islice, pairwise
from typing import Final, TypeVar

from amt.arranging.plan import EditPlan
from amt.harmony.chords import ChordSpan
from amt.midi.bars import Bars
from amt.midi.notes import TICKS_PER_SECOND
from amt.midi.timing import MILLISECONDS_PER_TICK, Timing
from tasks.notes import AnsweredChord
from tasks.responses import AnsweredTiming, Metre, Tempo

MAX_LISTED: Final = 10_000
"""Tempos, time signatures and bars that an answer lists; a damaged file may claim millions."""

_SECONDS_DECIMALS: Final = 6
_BPM_DECIMALS: Final = 3
_BAR_DECIMALS: Final = 4
_MICROSECONDS_PER_MINUTE: Final = 60_000_000

T = TypeVar("T")


def describe_timing(timing: Timing, length_ticks: int) -> AnsweredTiming:
    """Return what an answer of a length says of its timing."""
    timing = timing.until(max(MILLISECONDS_PER_TICK * length_ticks, 1))
    bars = Bars(timing)
    tempos = [
        Tempo(
            seconds=round(float(timing.milliseconds(change.tick)) / 1_000, _SECONDS_DECIMALS),
            bpm=round(_MICROSECONDS_PER_MINUTE / change.tempo, _BPM_DECIMALS),
        )
        for change in _changes(timing.tempos, [change.tempo for change in timing.tempos])
    ]
    metres = [Metre(bar=number, time_signature=str(signature)) for number, signature in bars.signatures]
    metres = _changes(metres, [metre.time_signature for metre in metres])
    lines = bars.lines(1, length_ticks, MAX_LISTED + 1)
    return AnsweredTiming(
        bpm=tempos[0].bpm if len(tempos) == 1 else None,
        tempos=tempos,
        time_signature=metres[0].time_signature if len(metres) == 1 else None,
        time_signatures=metres,
        bars=[
            round(line / TICKS_PER_SECOND, _SECONDS_DECIMALS)
            for line in lines[:MAX_LISTED]
            if round(line) < length_ticks
        ],
    )


def describe_chords(chords: Sequence[ChordSpan], bars: Bars, plan: EditPlan) -> list[AnsweredChord]:
    """Return the chords that sound from the start of the new music to its end."""
    starts = [*(chord.start_ticks for chord in chords), plan.end_ticks]
    sounding = [
        chord._replace(start_ticks=max(start, plan.start_ticks))
        for chord, (start, end) in zip(chords, pairwise(starts), strict=True)
        if start < plan.end_ticks and end > plan.start_ticks
    ]
    return [
        AnsweredChord(
            symbol=chord.symbol,
            start_bar=round(bars.position(chord.start_ticks), _BAR_DECIMALS),
            start_seconds=chord.start_ticks / TICKS_PER_SECOND,
        )
        for chord in sounding
    ]


def _changes(each: Sequence[T], values: Sequence[object]) -> list[T]:
    """Return those whose value is not that of the one before; at most `MAX_LISTED`."""
    is_change = (place == 0 or values[place] != values[place - 1] for place in range(len(values)))
    return list(islice((one for one, changes in zip(each, is_change, strict=True) if changes), MAX_LISTED))
