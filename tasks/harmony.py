"""Find the key and the chords that a request asks for: those that it names, or those of what is kept."""

from collections.abc import Sequence
from typing import Final, NamedTuple

from amt.arranging.plan import EditPlan
from amt.errors import HarmonyError
from amt.harmony.analysis import find_chords
from amt.harmony.chords import ChordSpan
from amt.harmony.keys import Key, find_key, parse_key
from amt.harmony.progression import PlacedChord, place_chords
from amt.midi.bars import Bars
from amt.midi.notes import DRUMS, TICKS_PER_SECOND, Note
from tasks.music_request import MusicRequest
from tasks.notes import SentChord
from tasks.requests import ContinueRequest, GenerateRequest

AUTO: Final = "auto"

CONTEXT_TICKS: Final = 30 * TICKS_PER_SECOND
"""How far from the new music notes may be that say which chords sound beside it."""

MAX_LINES: Final = 2_000
"""Bars and beats by which chords can be placed; a damaged file may claim millions."""


class Harmony(NamedTuple):
    """Hold what new notes keep to.

    Attributes:
        key: if there is one.
        chords: from the start of the piece, or none.
        notices: what could not be found, in sentences.
    """

    key: Key | None
    chords: tuple[ChordSpan, ...]
    notices: tuple[str, ...]

    @property
    def pitch_classes(self) -> frozenset[int] | None:
        """Those of the key."""
        return self.key.pitch_classes if self.key else None


def find_harmony(request: MusicRequest, plan: EditPlan, bars: Bars) -> Harmony:
    """Return the key and the chords of new notes.

    Raises:
        HarmonyError: there is no such key or chord, chords cannot be placed, or there is nothing to find them in.
    """
    key = None
    notices = []
    if request.key == AUTO:
        if not plan.kept:
            raise HarmonyError("key 'auto' is found in what is kept of the input, and nothing is: name a key")
        key = find_key(plan.kept)
        if not key:
            notices.append("no key was found, for what is kept of the input has no pitches")
    elif request.key is not None:
        key = parse_key(request.key)
    return Harmony(key, _find_chords(request, plan, bars), tuple(notices))


def _find_chords(request: MusicRequest, plan: EditPlan, bars: Bars) -> tuple[ChordSpan, ...]:
    chords = request.chords
    if chords is None:
        return ()
    if chords == AUTO:
        if isinstance(request, GenerateRequest | ContinueRequest):
            raise HarmonyError(
                f"chords 'auto' are those of what sounds beside the new music, and nothing does in task "
                f"'{request.task}': name the chords"
            )
        return _implied_chords(plan, bars)
    if isinstance(chords, str):  # a text begins with the bar that holds the start
        lines = bars.lines(bars.number_at(plan.start_ticks), plan.end_ticks, MAX_LINES)
        return place_chords(chords, lines, plan.end_ticks, plan.start_ticks)
    lines = bars.lines(1, plan.end_ticks, MAX_LINES)
    return place_chords(list(map(_placed, chords)), lines, plan.end_ticks, plan.start_ticks)


def _implied_chords(plan: EditPlan, bars: Bars) -> tuple[ChordSpan, ...]:
    """Return the chords that kept notes imply; none if no note with a pitch sounds beside the new music."""
    heard = _sounding(plan.kept, plan.start_ticks - CONTEXT_TICKS, plan.end_ticks + CONTEXT_TICKS)
    if all(note.instrument == DRUMS for note in _sounding(heard, plan.start_ticks, plan.end_ticks)):
        return ()
    first, end = bars.number_at(max(plan.start_ticks - CONTEXT_TICKS, 0)), plan.end_ticks + CONTEXT_TICKS
    return find_chords(heard, bars.beats(first, end, MAX_LINES), bars.lines(first, end, MAX_LINES))


def _sounding(notes: Sequence[Note], start_ticks: int, end_ticks: int) -> list[Note]:
    return [note for note in notes if note.onset < end_ticks and note.onset + note.duration > start_ticks]


def _placed(chord: SentChord) -> PlacedChord:
    if chord.start_bar is not None:
        return {"symbol": chord.symbol, "start_bar": chord.start_bar}
    return {"symbol": chord.symbol, "start_seconds": chord.start_seconds or 0.0}
