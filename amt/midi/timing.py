"""How a MIDI file counts time: ticks a quarter note, changes of tempo, and time signatures.

Source: Standard MIDI Files 1.0, RP-001 (header chunk, set tempo, time signature).
"""

from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Final, NamedTuple

from amt.midi.notes import TICKS_PER_SECOND
from amt.midi.smf import DEFAULT_TEMPO, TEMPO, TIME_SIGNATURE, File, Message

MILLISECONDS_PER_TICK: Final = 1_000 // TICKS_PER_SECOND
"""Times here are whole milliseconds from the start of the file; the model's tick of 10 ms is ten of them."""

MAX_TICKS_PER_BEAT: Final = 32_767
MAX_FILE_TICK: Final = 0x0FFF_FFFF
"""The largest distance between two messages that a file can hold."""

COARSEST_MICROSECONDS: Final = 500
"""A file tick at the slowest tempo: then rounding to it never takes a time to another tick of 10 ms."""

MAX_CHANGES: Final = 10_000
"""Of tempo or time signature. A file with more of them is no score, and they would outgrow the music."""

MAX_DENOMINATOR_POWER: Final = 7


class TempoChange(NamedTuple):
    """From this file tick on a quarter note lasts so many microseconds."""

    tick: int
    tempo: int


class TimeSignature(NamedTuple):
    """From this file tick on a bar is so long; and what a file says beside it about clicks and notation."""

    tick: int
    numerator: int
    denominator: int
    clocks_per_click: int = 24
    thirty_seconds_per_beat: int = 8


@dataclass(frozen=True)
class Timing:
    """What seconds mean in file ticks. By default 120 bpm with a file tick of 1 ms.

    Attributes:
        ticks_per_beat: file ticks a quarter note.
        tempos: sorted, the first at file tick 0.
        signatures: sorted; without one at 0 a reader takes 4/4.
    """

    ticks_per_beat: int = 500
    tempos: tuple[TempoChange, ...] = (TempoChange(0, DEFAULT_TEMPO),)
    signatures: tuple[TimeSignature, ...] = ()

    @classmethod
    def at(cls, bpm: float) -> "Timing":
        """One tempo, in quarter notes a minute, and a file tick of which 10 ms are as nearly as may be a multiple."""
        tempo = round(60_000_000 / bpm)
        ticks = [n * tempo / (1_000 * MILLISECONDS_PER_TICK) for n in range(10, 101)]
        nearest = min(ticks, key=lambda each: abs(each - round(each)))
        return cls(round(nearest), (TempoChange(0, tempo),))

    @classmethod
    def of(cls, file: File, messages: Iterable[Message]) -> "Timing":
        """That of a file whose messages are these, in the order of time; of two changes at one tick the later counts.

        The default when the file counts in SMPTE frames, holds independent patterns (type 2), or changes too often.
        """
        tempos = {0: DEFAULT_TEMPO}
        signatures: dict[int, TimeSignature] = {}
        for tick, kind, _, value, _ in messages:
            if kind == TEMPO:
                tempos[tick] = value
            elif kind == TIME_SIGNATURE:
                signature = _signature(tick, value)
                if signature:
                    signatures[tick] = signature
        if file.seconds_per_tick or file.type == 2 or len(tempos) + len(signatures) > MAX_CHANGES:
            return cls()
        return cls(file.ticks_per_beat, tuple(map(TempoChange._make, tempos.items())), tuple(signatures.values()))

    @cached_property
    def _starts(self) -> list[int]:
        """When each tempo begins, in microseconds x `ticks_per_beat`: whole numbers, so that nothing adds up."""
        starts = [0]
        for change, following in pairwise(self.tempos):
            starts.append(starts[-1] + (following.tick - change.tick) * change.tempo)
        return starts

    def _locate(self, milliseconds: int) -> tuple[TempoChange, int]:
        """The tempo that holds at a time, and for how long it has held; the last goes on for ever."""
        moment = 1_000 * milliseconds * self.ticks_per_beat
        index = bisect_right(self._starts, moment) - 1
        return self.tempos[index], moment - self._starts[index]

    def file_tick(self, milliseconds: int) -> int:
        """The file tick nearest to a time."""
        change, elapsed = self._locate(milliseconds)
        return change.tick + (2 * elapsed + change.tempo) // (2 * change.tempo)

    def until(self, milliseconds: int) -> "Timing":
        """Without what changes at that time or later; what holds at the very start stays."""
        change, elapsed = self._locate(milliseconds)
        end = max(change.tick - (-elapsed // change.tempo), 1)
        return Timing(
            self.ticks_per_beat,
            tuple(each for each in self.tempos if each.tick < end),
            tuple(each for each in self.signatures if each.tick < end),
        )

    def with_tempo(self, bpm: float) -> "Timing":
        """One tempo throughout. Of the time signatures only the first bar's: the others would move."""
        single = Timing.at(bpm)
        return Timing(single.ticks_per_beat, single.tempos, tuple(each for each in self.signatures if not each.tick))

    def fit_to_write(self, end_milliseconds: int) -> "Timing":
        """The same, with a tick fine enough for notes, for a file that ends then.

        The default when no file can say it: at less than 8 bpm a tick may be too coarse, and at
        thousands there may be too many.
        """
        kept = self.until(end_milliseconds)
        slowest = max(change.tempo for change in kept.tempos)
        finer = -(-slowest // (COARSEST_MICROSECONDS * kept.ticks_per_beat))
        if kept == Timing() or finer * kept.ticks_per_beat > MAX_TICKS_PER_BEAT:
            return Timing()
        refined = Timing(
            finer * kept.ticks_per_beat,
            tuple(each._replace(tick=finer * each.tick) for each in kept.tempos),
            tuple(each._replace(tick=finer * each.tick) for each in kept.signatures),
        )
        return refined if refined.file_tick(end_milliseconds) <= MAX_FILE_TICK else Timing()


def _signature(tick: int, value: int) -> TimeSignature | None:
    """The four bytes of the message, or None when they are no time signature."""
    numerator, power, clocks_per_click, thirty_seconds_per_beat = value.to_bytes(4, "big")
    if not numerator or power > MAX_DENOMINATOR_POWER:
        return None
    return TimeSignature(tick, numerator, 2**power, clocks_per_click, thirty_seconds_per_beat)
