"""Draw a piano roll in text, small enough to read: a row for some pitches, a column for a part of a bar."""

from collections.abc import Sequence
from itertools import pairwise
from math import ceil
from typing import Final

from agents.words import pitch_name
from amt.midi.bars import Bars
from amt.midi.instruments import instrument_name
from amt.midi.notes import DRUMS, Note

MAX_COLUMNS: Final = 64
MAX_ROWS: Final = 12
COLUMNS_PER_BAR: Final = (8, 4, 2, 1)

SILENT, SOUNDING, BEGINNING = ".", "-", "#"
BAR_LINE: Final = "|"


def draw_roll(notes: Sequence[Note], bars: Bars, n_bars: int, *, flats: bool = False) -> str:
    """Return rows of pitches from high to low, and one for drums; `#` is where a note begins, `-` where it sounds.

    Of a long piece a column is more than a bar, and bar lines are left out.
    """
    edges, per_bar = _edges(bars, n_bars)
    pitched = [note for note in notes if note.instrument != DRUMS]
    rows = []
    if pitched:
        lowest, highest = min(note.pitch for note in pitched), max(note.pitch for note in pitched)
        step = ceil((highest - lowest + 1) / MAX_ROWS)
        for low in reversed(range(lowest, highest + 1, step)):
            band = [note for note in pitched if low <= note.pitch < low + step]
            rows.append((pitch_name(low, flats=flats), _row(band, edges)))
    if drums := [note for note in notes if note.instrument == DRUMS]:
        rows.append(("drums", _row(drums, edges).replace(SOUNDING, SILENT)))
    width = max((len(name) for name, _ in rows), default=0)
    return "\n".join(f"{name:>{width}} {_with_lines(row, per_bar)}" for name, row in rows)


def draw_players(notes: Sequence[Note], bars: Bars, n_bars: int) -> list[str]:
    """Return who plays when: for each instrument a line with `#` for the bars in which its notes begin."""
    step = ceil(n_bars / MAX_COLUMNS) or 1
    edges = [bars.start_ticks(number) for number in range(1, n_bars + step + 1, step)]
    lines = []
    for instrument in sorted({note.instrument for note in notes}):
        row = _row([note for note in notes if note.instrument == instrument], edges).replace(SOUNDING, SILENT)
        lines.append(f"{row} {instrument_name(instrument)}")
    return lines


def _edges(bars: Bars, n_bars: int) -> tuple[list[int], int]:
    """Return where columns begin, and where the last one ends; and how many are a bar, 0 if one is more than that."""
    per_bar = next((count for count in COLUMNS_PER_BAR if count * n_bars <= MAX_COLUMNS), 0)
    if not per_bar:
        step = ceil(n_bars / MAX_COLUMNS)
        return [bars.start_ticks(number) for number in range(1, n_bars + step + 1, step)], 0
    edges = []
    for number in range(1, n_bars + 1):
        start, end = bars.start_ticks(number), bars.start_ticks(number + 1)
        edges += [start + (end - start) * part // per_bar for part in range(per_bar)]
    return [*edges, bars.start_ticks(n_bars + 1)], per_bar


def _row(notes: Sequence[Note], edges: Sequence[int]) -> str:
    """Return what notes do in each column."""
    cells = [SILENT] * (len(edges) - 1)
    for place, (start, end) in enumerate(pairwise(edges)):
        if any(start <= note.onset < end for note in notes):
            cells[place] = BEGINNING
        elif any(note.onset < start < note.onset + note.duration for note in notes):
            cells[place] = SOUNDING
    return "".join(cells)


def _with_lines(row: str, per_bar: int) -> str:
    """Return a row with bar lines."""
    if not per_bar:
        return row
    return BAR_LINE.join(row[place : place + per_bar] for place in range(0, len(row), per_bar))
