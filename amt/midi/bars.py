"""Count the bars of a piece by its tempo map and its time signatures.

Bars are numbered from 1. A time signature begins a bar, also where it cuts the one before it short; so a pickup that is
written as a short first signature is bar 1. Without a signature a bar is 4/4. After the last one bars go on for ever.
"""

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from fractions import Fraction
from itertools import count, islice, takewhile
from typing import Final, NamedTuple

from amt.midi.timing import MILLISECONDS_PER_TICK, TimeSignature, Timing

DEFAULT_SIGNATURE: Final = TimeSignature(0, 4, 4)


class Bar(NamedTuple):
    """Hold one bar.

    Attributes:
        number: from 1.
        start: the file tick at which it begins, or a time between two.
        end: likewise, where the next one begins.
        signature: that it is counted in.
    """

    number: int
    start: Fraction
    end: Fraction
    signature: TimeSignature


class _Metre(NamedTuple):
    """Hold the bars from one time signature to the next: by the number of the first."""

    signature: TimeSignature
    first: int


class Bars:
    """Find the bars of a timing. Times are model ticks of 10 ms, to which those of bar lines are rounded."""

    def __init__(self, timing: Timing) -> None:
        """Count the bars of a timing."""
        self.timing = timing
        signatures = timing.signatures
        if not signatures or signatures[0].tick:
            signatures = (DEFAULT_SIGNATURE, *signatures)
        self._metres = [_Metre(signatures[0], 1)]
        for signature in signatures[1:]:  # in whole numbers, for a damaged file may have a million of them
            before, first = self._metres[-1]
            elapsed = (signature.tick - before.tick) * before.denominator
            n_bars = -(-elapsed // (4 * before.numerator * timing.ticks_per_beat))
            self._metres.append(_Metre(signature, first + n_bars))

    def _length(self, signature: TimeSignature) -> Fraction:
        """Return the length of a bar in file ticks."""
        return self.timing.ticks_per_beat * signature.bar_quarters

    @property
    def signatures(self) -> list[tuple[int, TimeSignature]]:
        """The time signatures, each with the number of the bar from which it holds; the first from bar 1 on."""
        return [(metre.first, metre.signature) for metre in self._metres]

    def bar(self, number: int) -> Bar:
        """Return the bar of a number, which is 1 or more."""
        place = bisect_right(self._metres, number, key=lambda metre: metre.first)
        metre = self._metres[place - 1]
        length = self._length(metre.signature)
        start = metre.signature.tick + (number - metre.first) * length
        end = start + length
        if place < len(self._metres):
            end = min(end, Fraction(self._metres[place].signature.tick))
        return Bar(number, start, end, metre.signature)

    def start_milliseconds(self, number: int) -> Fraction:
        """Return when a bar begins, exactly."""
        return self.timing.milliseconds(self.bar(number).start)

    def start_ticks(self, number: int) -> int:
        """Return when a bar begins, in ticks of 10 ms."""
        return nearest_tick(self.start_milliseconds(number))

    def number_at(self, ticks: int) -> int:
        """Return the number of the last bar that has begun at a time."""
        latest = ticks * MILLISECONDS_PER_TICK + Fraction(MILLISECONDS_PER_TICK, 2)  # that may be rounded to it
        tick = self.timing.exact_file_tick(latest)
        metre = self._metres[bisect_right(self._metres, tick, key=lambda metre: Fraction(metre.signature.tick)) - 1]
        number = metre.first + int((tick - metre.signature.tick) // self._length(metre.signature))
        return number if self.start_ticks(number) <= ticks else number - 1

    def number_from(self, ticks: int) -> int:
        """Return the number of the bar that begins at a time, or of the next one."""
        number = self.number_at(ticks)
        return number if self.start_ticks(number) == ticks else number + 1

    def position(self, ticks: int) -> float:
        """Return where a time is, counted in bars from 1: 2.5 is the middle of bar 2."""
        number = self.number_at(ticks)
        start, end = self.start_ticks(number), self.start_ticks(number + 1)
        return number + (ticks - start) / (end - start)

    def lines(self, first: int, end_ticks: int, most: int) -> list[float]:
        """Return when bars begin, in ticks of 10 ms, not rounded: from one on, up to the first at a time or later.

        There are at most so many.
        """
        return self._until(end_ticks, most, (self.bar(number).start for number in count(first)))

    def beats(self, first: int, end_ticks: int, most: int) -> list[float]:
        """Return likewise when the beats of bars begin."""
        return self._until(end_ticks, most, (beat for number in count(first) for beat in self._beats_of(number)))

    def _beats_of(self, number: int) -> Iterator[Fraction]:
        """Yield the file ticks of the beats of a bar."""
        bar = self.bar(number)
        length = self.timing.ticks_per_beat * bar.signature.beat_quarters
        return takewhile(lambda beat: beat < bar.end, (bar.start + place * length for place in count()))

    def _until(self, end_ticks: int, most: int, file_ticks: Iterable[Fraction]) -> list[float]:
        """Return when file ticks are, in ticks of 10 ms, up to the first at a time or later."""
        times: list[float] = []
        for file_tick in islice(file_ticks, most):
            times.append(float(self.timing.milliseconds(file_tick) / MILLISECONDS_PER_TICK))
            if times[-1] >= end_ticks:
                break
        return times


def nearest_tick(milliseconds: Fraction) -> int:
    """Return the tick of 10 ms that is nearest to a time, of two the even one: so a reader of MIDI files rounds.

    A reader adds times up in floating point. So it may find the odd one where a time is right between two ticks.
    """
    return round(milliseconds / MILLISECONDS_PER_TICK)
