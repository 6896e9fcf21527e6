"""Convert between the file ticks of a MIDI file and seconds: ticks per beat, tempo map, and time signatures.

A beat is a quarter note throughout, as in the header of a file.

Source: Standard MIDI Files 1.0, RP-001 (header chunk, set tempo, time signature).
"""

from bisect import bisect_right
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cached_property
from itertools import pairwise
from math import gcd
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from amt.midi.kinds import TEMPO, TIME_SIGNATURE
from amt.midi.notes import TICKS_PER_SECOND
from amt.midi.smf import DEFAULT_TEMPO, File, Messages

MILLISECONDS_PER_TICK: Final = 1_000 // TICKS_PER_SECOND
"""Times are whole milliseconds from the start of the file, ten to the model's tick of 10 ms."""

MAX_TICKS_PER_BEAT: Final = 32_767
MAX_FILE_TICK: Final = 0x0FFF_FFFF
"""The largest distance between two messages that a file can hold."""

MAX_FILE_TICK_MICROSECONDS: Final = 500
"""The length of a file tick at the slowest tempo, or twice that below 8 bpm, where a file can count no finer.

Rounding to it never moves a time to another tick of 10 ms."""

MAX_BYTE: Final = 0xFF
CLOCKS_PER_QUARTER: Final = 24
"""Time signatures count the clicks of a metronome in these; a grid's file ticks divide a quarter by this too."""

MAX_DENOMINATOR_POWER: Final = 7
"""128th notes are the shortest beat that a time signature may have."""


class TempoChange(NamedTuple):
    """Hold a tempo in microseconds per quarter note, and the file tick at which it begins."""

    tick: int
    tempo: int


class TimeSignature(NamedTuple):
    """Hold a time signature as a file gives it, and the file tick at which it begins."""

    tick: int
    numerator: int
    denominator: int
    clocks_per_click: int = CLOCKS_PER_QUARTER
    thirty_seconds_per_beat: int = 8

    def __str__(self) -> str:
        return f"{self.numerator}/{self.denominator}"

    @property
    def bar_quarters(self) -> Fraction:
        """The length of a bar in quarter notes."""
        return Fraction(4 * self.numerator, self.denominator)

    @property
    def beat_quarters(self) -> Fraction:
        """The length of a beat, as it is felt, in quarter notes: of 6/8, 9/8 and their like a dotted quarter."""
        is_compound = self.denominator >= 8 and self.numerator % 3 == 0
        return Fraction(12 if is_compound else 4, self.denominator)


@dataclass(frozen=True)
class Timing:
    """Convert times to file ticks; by default at 120 bpm with a file tick of 1 ms.

    Attributes:
        ticks_per_beat: file ticks per quarter note.
        tempos: sorted; the first is at file tick 0.
        signatures: sorted; without one at file tick 0 a reader takes 4/4.
    """

    ticks_per_beat: int = 500
    tempos: tuple[TempoChange, ...] = (TempoChange(0, DEFAULT_TEMPO),)
    signatures: tuple[TimeSignature, ...] = ()

    @classmethod
    def from_bpm(cls, bpm: float, divisor: int = 1) -> "Timing":
        """Return a timing with one tempo, in quarter notes per minute.

        Its file tick is chosen so that 10 ms are as nearly as possible a whole number of file ticks, among those that
        divide a quarter note into a multiple of `divisor`.
        """
        tempo = round(60_000_000 / bpm)
        candidates = [n * tempo / (1_000 * MILLISECONDS_PER_TICK * divisor) for n in range(10, 101)]
        nearest = min(candidates, key=lambda multiple: abs(multiple - round(multiple)))
        return cls(divisor * round(nearest), (TempoChange(0, tempo),))

    @classmethod
    def from_messages(cls, file: File, messages: Messages) -> "Timing":
        """Return the timing of a file; of two changes at one file tick the later counts.

        It is the default if the file counts in SMPTE frames or holds independent patterns (type 2).

        Args:
            file: that the messages come from.
            messages: all of them, in order of time.
        """
        tempos = {0: DEFAULT_TEMPO}
        signatures: dict[int, TimeSignature] = {}
        for message in messages[np.flatnonzero(np.isin(messages.kind, (TEMPO, TIME_SIGNATURE)))].rows():
            if message.kind == TEMPO:
                tempos[message.tick] = message.data1
            elif signature := _decode_signature(message.tick, message.data1):
                signatures[message.tick] = signature
        if not file.has_beats:
            return cls()
        return cls(file.ticks_per_beat, tuple(map(TempoChange._make, tempos.items())), tuple(signatures.values()))

    @cached_property
    def _starts(self) -> list[int]:
        """Return when each tempo begins, in microseconds x `ticks_per_beat`: whole numbers, so that no error grows."""
        starts = [0]
        for change, following in pairwise(self.tempos):
            starts.append(starts[-1] + (following.tick - change.tick) * change.tempo)
        return starts

    @cached_property
    def _start_ticks(self) -> list[int]:
        """Return the file tick at which each tempo begins."""
        return [change.tick for change in self.tempos]

    def _locate(self, microseconds: int) -> tuple[TempoChange, int]:
        """Return (the tempo that holds at a time, for how long it has held in the unit of `_starts`)."""
        moment = microseconds * self.ticks_per_beat
        index = bisect_right(self._starts, moment) - 1
        return self.tempos[index], moment - self._starts[index]

    def file_tick(self, milliseconds: float) -> int:
        """Return the file tick nearest to a time, which is taken to the microsecond."""
        change, elapsed = self._locate(round(1_000 * milliseconds))
        return change.tick + (2 * elapsed + change.tempo) // (2 * change.tempo)

    def tempo_at(self, file_tick: int | Fraction) -> int:
        """Return the tempo that holds at a file tick, in microseconds per quarter note."""
        return self.tempos[bisect_right(self._start_ticks, file_tick) - 1].tempo

    def milliseconds(self, file_tick: int | Fraction) -> Fraction:
        """Return when a file tick is, or a time between two, exactly; it is not negative."""
        index = bisect_right(self._start_ticks, file_tick) - 1
        change = self.tempos[index]
        moment = self._starts[index] + (file_tick - change.tick) * change.tempo
        return Fraction(moment, 1_000 * self.ticks_per_beat)

    def exact_file_tick(self, milliseconds: float | Fraction) -> Fraction:
        """Return where a time lies among the file ticks, exactly; it is not negative."""
        moment = 1_000 * self.ticks_per_beat * Fraction(milliseconds)
        index = bisect_right(self._starts, moment) - 1
        change = self.tempos[index]
        return change.tick + (moment - self._starts[index]) / change.tempo

    def until(self, milliseconds: int) -> "Timing":
        """Return the timing without the changes at that time or later; those at file tick 0 stay."""
        change, elapsed = self._locate(1_000 * milliseconds)
        end = max(change.tick - (-elapsed // change.tempo), 1)
        return Timing(
            self.ticks_per_beat,
            tuple(each for each in self.tempos if each.tick < end),
            tuple(each for each in self.signatures if each.tick < end),
        )

    def with_tempo(self, bpm: float, divisor: int = 1) -> "Timing":
        """Return a timing with one tempo throughout, and with no time signature but the first bar's.

        The others are left out because they would move against the music. For `divisor` see `from_bpm`.
        """
        single = Timing.from_bpm(bpm, divisor)
        return replace(single, signatures=tuple(each for each in self.signatures if not each.tick))

    def with_signature(self, numerator: int, denominator: int) -> "Timing":
        """Return the same timing with one time signature throughout."""
        signature = TimeSignature(0, numerator, denominator)
        clocks = min(int(CLOCKS_PER_QUARTER * signature.beat_quarters), MAX_BYTE)
        return replace(self, signatures=(signature._replace(clocks_per_click=max(clocks, 1)),))

    def for_grid(self) -> "Timing":
        """Return the same timing with file ticks that divide a quarter note into a multiple of 24, if a file can.

        Then all lines of a grid are on file ticks: 32nd notes and triplets of 16th notes.
        """
        factor = CLOCKS_PER_QUARTER // gcd(CLOCKS_PER_QUARTER, self.ticks_per_beat)
        return self._finer(factor) if factor * self.ticks_per_beat <= MAX_TICKS_PER_BEAT else self

    def fit_to_write(self, end_milliseconds: int) -> "Timing":
        """Return the same timing for a file that ends then, with a file tick short enough for notes.

        It is the default if no file can hold it.
        """
        refined = self._refined(end_milliseconds)
        return refined if refined.file_tick(end_milliseconds) <= MAX_FILE_TICK else Timing()

    def can_be_written(self, end_milliseconds: int) -> bool:
        """Return whether a file that ends then can hold it; at thousands of bpm there may be too many file ticks."""
        return self._refined(end_milliseconds).file_tick(end_milliseconds) <= MAX_FILE_TICK

    def _refined(self, end_milliseconds: int) -> "Timing":
        """Return the timing until then with a shorter file tick."""
        kept = self.until(end_milliseconds)
        if kept == Timing():
            return kept
        slowest = max(change.tempo for change in kept.tempos)
        finer = -(-slowest // (MAX_FILE_TICK_MICROSECONDS * kept.ticks_per_beat))
        return kept._finer(min(finer, MAX_TICKS_PER_BEAT // kept.ticks_per_beat))

    def _finer(self, factor: int) -> "Timing":
        """Return the same timing with file ticks that are shorter by a factor."""
        return Timing(
            factor * self.ticks_per_beat,
            tuple(each._replace(tick=factor * each.tick) for each in self.tempos),
            tuple(each._replace(tick=factor * each.tick) for each in self.signatures),
        )


class Clock(NamedTuple):
    """Know when each message comes; each array has shape = (n_messages,).

    Attributes:
        seconds: from the start of the file.
        tick_seconds: the length of a file tick after the message.
    """

    seconds: NDArray[np.float64]
    tick_seconds: NDArray[np.float64]


def message_times(file: File, messages: Messages, starts_pattern: NDArray[np.bool_]) -> Clock:
    """Return the time of each message.

    Times are summed message by message in floating point, as in the reference, because the result is rounded to ticks.

    Args:
        file: that the messages come from.
        messages: in order of time, pattern after pattern.
        starts_pattern: whether a message is the first of its pattern; tempo and file ticks then begin again.
    """
    deltas = np.where(starts_pattern, messages.tick, np.diff(messages.tick, prepend=0))
    is_tempo = messages.kind == TEMPO
    changes = np.flatnonzero(starts_pattern | is_tempo)
    tempos = np.where(is_tempo, messages.data1, DEFAULT_TEMPO)[changes]
    tick_seconds = [file.tick_seconds(tempo) for tempo in tempos.tolist()]
    after_message = np.repeat(np.array(tick_seconds, np.float64), np.diff(changes, append=len(messages)))
    before_message = np.roll(after_message, 1)
    before_message[starts_pattern] = file.tick_seconds(DEFAULT_TEMPO)
    return Clock(np.cumsum(deltas * before_message), after_message)


def _decode_signature(tick: int, value: int) -> TimeSignature | None:
    """Return the time signature that the four bytes of a message hold, or None if they hold none."""
    numerator, power, clocks_per_click, thirty_seconds_per_beat = value.to_bytes(4, "big")
    if not numerator or power > MAX_DENOMINATOR_POWER:
        return None
    return TimeSignature(tick, numerator, 2**power, clocks_per_click, thirty_seconds_per_beat)
