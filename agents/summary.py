"""Sum up a piece: what a musician asks first, as fields and in words."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Final

from pydantic import BaseModel, Field

from agents.roll import draw_players, draw_roll
from agents.words import MAX_GROUPS, say_bar, say_players, uses_flats
from amt.harmony.analysis import find_chords
from amt.harmony.keys import Key, find_key
from amt.midi.bars import Bars
from amt.midi.codec import Piece
from amt.midi.notes import TICKS_PER_SECOND, Note
from amt.midi.timing import MILLISECONDS_PER_TICK, Timing

MAX_CHORD_BARS: Final = 32
MAX_SHOWN_BARS: Final = 8
MAX_BAR_GROUPS: Final = 48
"""Groups of notes that are said of a bar that was asked for."""

MAX_ANALYSED_NOTES: Final = 50_000
MAX_LINES: Final = 20_000
_MICROSECONDS_PER_MINUTE: Final = 60_000_000


class Summary(BaseModel):
    """Hold what is said of every piece."""

    bars: int
    seconds: float
    bpm: float | None = Field(None, description="missing: it changes")
    time_signature: str | None = Field(None, description="missing: it changes")
    key: str | None = Field(None, description="that its notes fit best")
    notes_per_second: float
    instruments: list[str]


class Description(Summary):
    """Hold what is said of a piece when an agent asks."""

    chords: str | None = Field(None, description="a bar between each two |, as they are implied")
    shown: dict[str, str] = Field(description="notes by bar; beat: pitches (length in beats)")
    when: list[str] = Field(description="# is a bar in which notes begin")
    roll: str


@dataclass(frozen=True)
class Analysis:
    """Look at a piece from several sides, each of them once."""

    piece: Piece

    @cached_property
    def notes(self) -> Sequence[Note]:
        """Its notes, but not more than can be looked at."""
        return self.piece.notes[:MAX_ANALYSED_NOTES]

    @cached_property
    def timing(self) -> Timing:
        """Its timing, without what comes after its end."""
        return self.piece.timing.until(max(MILLISECONDS_PER_TICK * self.piece.length_ticks, 1))

    @cached_property
    def bars(self) -> Bars:
        """Its bars."""
        return Bars(self.timing)

    @cached_property
    def n_bars(self) -> int:
        """How many there are; the last one may not be full."""
        return max(self.bars.number_from(self.piece.length_ticks) - 1, 1)

    @cached_property
    def key(self) -> Key | None:
        """The major or minor key that its notes fit best."""
        return find_key(self.notes)

    @property
    def flats(self) -> bool:
        """Whether its notes are written with flats."""
        return uses_flats(self.key)

    def summary(self) -> Summary:
        """Return what is said of every piece."""
        tempos = {change.tempo for change in self.timing.tempos}
        signatures = {str(signature) for _, signature in self.bars.signatures}
        seconds = self.piece.length_ticks / TICKS_PER_SECOND
        return Summary(
            bars=self.n_bars,
            seconds=round(seconds, 1),
            bpm=round(_MICROSECONDS_PER_MINUTE / tempos.pop(), 1) if len(tempos) == 1 else None,
            time_signature=signatures.pop() if len(signatures) == 1 else None,
            key=self.key.name if self.key else None,
            notes_per_second=round(len(self.piece.notes) / seconds, 1) if seconds else 0.0,
            instruments=say_players(self.notes, flats=self.flats),
        )

    def ends(self) -> dict[str, str]:
        """Return the notes of the first and of the last bar in which any begin, by their numbers."""
        onsets = [note.onset for note in self.notes]
        if not onsets:
            return {}
        return self.say(sorted({self.bars.number_at(min(onsets)), self.bars.number_at(max(onsets))}))

    def say(self, numbers: Sequence[int], most: int = MAX_GROUPS) -> dict[str, str]:
        """Return the notes of some bars, by their numbers."""
        return {str(number): say_bar(self.notes, self.bars, number, flats=self.flats, most=most) for number in numbers}

    def describe(self, start_bar: int | None, end_bar: int | None) -> Description:
        """Return all that is said of a piece, with the notes from one bar to before another, 8 bars at most."""
        if start_bar is None and end_bar is None:
            shown = self.ends()
        else:
            first = start_bar or 1
            last = min(end_bar or first + MAX_SHOWN_BARS, first + MAX_SHOWN_BARS, self.n_bars + 1)
            shown = self.say(range(first, last), MAX_BAR_GROUPS)
        return Description(
            **self.summary().model_dump(),
            chords=self.say_chords(),
            shown=shown,
            when=draw_players(self.notes, self.bars, self.n_bars),
            roll=draw_roll(self.notes, self.bars, self.n_bars, flats=self.flats),
        )

    def say_chords(self) -> str | None:
        """Return the chords that its first bars imply, a bar between each two `|`; None if there are none."""
        end = self.bars.start_ticks(min(self.n_bars, MAX_CHORD_BARS) + 1)
        heard = [note for note in self.notes if note.onset < end]
        beats, lines = self.bars.beats(1, end, MAX_LINES), self.bars.lines(1, end, MAX_LINES)
        if len(beats) < 2 or not heard:
            return None
        chords = find_chords(heard, beats, lines)
        if not chords:
            return None
        said = []
        for start, stop in pairwise(lines):
            before = [chord.symbol for chord in chords if chord.start_ticks <= start + 1]
            inside = [chord.symbol for chord in chords if start + 1 < chord.start_ticks < stop - 1]
            said.append(" ".join([*before[-1:], *inside]))
        more = " | ..." if self.n_bars > MAX_CHORD_BARS else ""
        return " | ".join(said) + more


def say_summary(name: str, summary: Summary) -> list[str]:
    """Return the lines that say what the fields of a summary say."""
    metre, tempo = summary.time_signature or "changing metre", f"{summary.bpm:g} bpm" if summary.bpm else "rubato"
    return [
        f"{name}: {summary.bars} bar{'s' * (summary.bars != 1)}, {metre}, {tempo}, {summary.seconds:g} s, "
        f"fits {summary.key or 'no key'}, {summary.notes_per_second:g} notes/s",
        *summary.instruments,
    ]


def say_description(name: str, description: Description) -> list[str]:
    """Return the lines that say what the fields of a description say."""
    return [
        *say_summary(name, description),
        f"chords: {description.chords or 'none'}",
        *(f"bar {number}: {said}" for number, said in description.shown.items()),
        "who plays in which bars:",
        *description.when,
        "notes (# begins, - sounds):",
        description.roll,
    ]
