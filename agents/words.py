"""Say notes in words: `1: C4 Eb4 (2)` are two notes on the first beat of a bar that last two beats."""

from collections import Counter
from collections.abc import Sequence
from fractions import Fraction
from itertools import groupby
from typing import Final

from amt.harmony.keys import Key
from amt.midi.bars import Bars
from amt.midi.instruments import instrument_name
from amt.midi.notes import DRUMS, Note
from amt.midi.timing import MILLISECONDS_PER_TICK

MAX_GROUPS: Final = 8
"""Groups of notes that are said of a bar unless more are asked for; how many more there are is said too."""

_SHARPS: Final = ("C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B")
_FLATS: Final = ("C", "Db", "D", "Eb", "E", "F", "Gb", "G", "Ab", "A", "Bb", "B")
_FLAT_MAJORS: Final = frozenset({5, 10, 3, 8, 1})
"""The tonics of major keys whose signatures have flats."""

_MINOR_TO_MAJOR: Final = 3

_BEAT_PARTS: Final = 12
"""Times are said to the nearest twelfth of a beat: 16th notes and triplets."""


def uses_flats(key: Key | None) -> bool:
    """Return whether a key's notes are written with flats."""
    if key is None or key.tonic is None:
        return False
    step = _MINOR_TO_MAJOR if key.name.endswith("minor") else 0
    return (key.tonic + step) % 12 in _FLAT_MAJORS


def pitch_name(pitch: int, *, flats: bool = False) -> str:
    """Return the name of a pitch: 60 is C4."""
    return f"{(_FLATS if flats else _SHARPS)[pitch % 12]}{pitch // 12 - 1}"


def say_players(notes: Sequence[Note], *, flats: bool = False) -> list[str]:
    """Return who plays, how many notes and from where to where: `Acoustic Bass: 31 notes, E1-C3`."""
    counts = Counter(note.instrument for note in notes)
    said = []
    for instrument, count in sorted(counts.items()):
        text = f"{instrument_name(instrument)}: {count} note{'s' * (count != 1)}"
        if instrument != DRUMS:
            pitches = [note.pitch for note in notes if note.instrument == instrument]
            text += f", {pitch_name(min(pitches), flats=flats)}-{pitch_name(max(pitches), flats=flats)}"
        said.append(text)
    return said


def say_bar(notes: Sequence[Note], bars: Bars, number: int, *, flats: bool = False, most: int = MAX_GROUPS) -> str:
    """Return the notes that begin in a bar, by instrument: when (beats from 1), which, and for how many beats.

    Beats are quarter notes. Drums are named by their numbers, and have no length. If one instrument plays the whole
    piece it is not named.
    """
    is_solo = len({note.instrument for note in notes}) == 1
    start, end = bars.start_ticks(number), bars.start_ticks(number + 1)
    inside = sorted((note for note in notes if start <= note.onset < end), key=lambda note: note.instrument)
    said, left = [], most
    for instrument, played in groupby(inside, lambda note: note.instrument):
        groups = _groups(list(played), bars, number, flats=flats)
        if left > 0:
            said.append(("" if is_solo else f"{instrument_name(instrument)} ") + ", ".join(groups[:left]))
        left -= len(groups)
    more = f" and {-left} more" if left < 0 else ""
    return f"{'; '.join(said)}{more}" if said else "silent"


def _groups(notes: Sequence[Note], bars: Bars, number: int, *, flats: bool) -> list[str]:
    """Return notes of one instrument, those that begin together as one text; of these, those that end together."""
    first = bars.bar(number).start
    together: dict[Fraction, dict[Fraction, list[str]]] = {}
    for note in sorted(notes):
        start, end = _file_tick(note.onset, bars), _file_tick(note.onset + note.duration, bars)
        is_drum = note.instrument == DRUMS
        length = Fraction(0) if is_drum else _beats(end - start, bars)
        name = str(note.pitch) if is_drum else pitch_name(note.pitch, flats=flats)
        together.setdefault(_beats(start - first, bars), {}).setdefault(length, []).append(name)
    return [
        f"{_number(1 + onset)}: "
        + " ".join(" ".join(names) + (f" ({_number(length)})" if length else "") for length, names in lengths.items())
        for onset, lengths in together.items()
    ]


def _file_tick(ticks: int, bars: Bars) -> Fraction:
    return bars.timing.exact_file_tick(MILLISECONDS_PER_TICK * ticks)


def _beats(file_ticks: Fraction, bars: Bars) -> Fraction:
    return Fraction(round(_BEAT_PARTS * file_ticks / bars.timing.ticks_per_beat), _BEAT_PARTS)


def _number(beats: Fraction) -> str:
    return f"{float(beats):.2f}".rstrip("0").rstrip(".")
