"""Draw a piece as a piano roll: an SVG image that needs nothing else, in light and in dark.

Like the page's roll: keys at the side, bars above, a strip of drums below, an instrument's colour the same everywhere.
Below are seconds and the names of the instruments. Classes hold within `.piano-roll` alone: the image may be in HTML.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from itertools import count, islice
from math import ceil
from typing import Final
from xml.sax.saxutils import escape

from amt.midi.bars import Bars
from amt.midi.codec import Piece
from amt.midi.instruments import instrument_name
from amt.midi.notes import DRUMS, TICKS_PER_SECOND, Note
from amt.midi.palette import instrument_colour
from amt.midi.roll_layout import DRUM_ROW, KEYS_WIDTH, RULER_HEIGHT, Layout

TIMES_HEIGHT: Final = 22
LEGEND_ROW: Final = 22
MARGIN: Final = 12

MAX_DRUM_SECONDS: Final = 0.12
"""Drums are drawn as hits: how long their notes last says nothing."""

MIN_BAR_PIXELS: Final = 6
MIN_BEAT_PIXELS: Final = 10
MIN_LABEL_PIXELS: Final = 34
MAX_BARS: Final = 4_000
"""A tempo map may count a million bars in a second; then none is drawn."""

CHARACTER_PIXELS: Final = 6.6
"""How wide a letter of the legend is, about."""

BLACK_KEYS: Final = frozenset({1, 3, 6, 8, 10})

_DRUM_NAMES: Final = (
    *("Kick", "Kick", "Stick", "Snare", "Clap", "Snare", "Tom", "Hi-hat", "Tom", "Pedal", "Tom", "Open", "Tom", "Tom"),
    *("Crash", "Tom", "Ride", "China", "Bell", "Tamb.", "Splash", "Cowbell", "Crash", "Vibra", "Ride", "Bongo"),
    *("Bongo", "Conga", "Conga", "Conga", "Timbale", "Timbale", "Agogo", "Agogo", "Cabasa", "Maracas"),
)
"""Of General MIDI, short enough for the side of the roll."""

_FIRST_DRUM_NAMED: Final = 35

_CLASSES: Final = {
    "paper": ("#fffefb", "#16181f"),
    "black-row": ("#f3f1ec", "#1b1e26"),
    "bar": ("#c6c3ba", "#3b4150"),
    "beat": ("#e7e4dc", "#242832"),
    "text": ("#585f6d", "#a2a9b8"),
    "key": ("#ffffff", "#d9dce4"),
    "key-text": ("#6b7280", "#4a5060"),
    "black-key": ("#3b404b", "#23262f"),
    "ruler": ("#f0eee9", "#1e222b"),
}
"""Colours on a light and on a dark ground, as in `playground/style.css`."""


def draw_piano_roll(piece: Piece) -> str:
    """Return an SVG image of a piece, as long as the piece is: 60 pixels a second, fewer if it is long."""
    seconds = max(piece.length_ticks / TICKS_PER_SECOND, 1.0)
    layout = Layout.of(piece.notes, seconds)
    counts = Counter(note.instrument for note in piece.notes)
    legend, height = _legend(layout, counts)
    size = f'width="{_number(layout.width)}" height="{_number(height)}"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} viewBox="0 0 {_number(layout.width)} {_number(height)}" '
        'class="piano-roll" role="img">',
        f"<title>Piano roll: {_count(len(piece.notes), 'note')} in {seconds:.1f} s</title>",
        f"<desc>{escape(_description(counts))}</desc>",
        f"<style>{_style(counts)}</style>",
        _rectangle("paper", 0, 0, layout.width, height),
        *_rows(layout),
        *_bars(piece, layout),
        *_notes(piece.notes, layout),
        *_keys(layout),
        *_times(layout),
        *legend,
        "</svg>",
    ]
    return "\n".join(parts)


def _description(counts: Counter[int]) -> str:
    parts = [f"{instrument_name(each)} ({_count(number, 'note')})" for each, number in sorted(counts.items())]
    return ", ".join(parts) or "No notes"


def _style(counts: Counter[int]) -> str:
    light, dark = [], []
    for name, (by_day, by_night) in _CLASSES.items():
        light.append(f".piano-roll .{name}{{fill:{by_day}}}")
        dark.append(f".piano-roll .{name}{{fill:{by_night}}}")
    for instrument in sorted(counts):
        light.append(f".piano-roll .i{instrument}{{fill:{instrument_colour(instrument, dark=False)}}}")
        dark.append(f".piano-roll .i{instrument}{{fill:{instrument_colour(instrument, dark=True)}}}")
    font = '.piano-roll text{font:11px system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",Arial,sans-serif}'
    fit = ".piano-roll{max-width:100%;height:auto}"
    return f"{fit}{font}{''.join(light)}@media (prefers-color-scheme:dark){{{''.join(dark)}}}"


def _rows(layout: Layout) -> Iterator[str]:
    for pitch in range(layout.low, layout.high + 1):
        if pitch % 12 in BLACK_KEYS:
            yield _rectangle("black-row", KEYS_WIDTH, layout.y(pitch), layout.width - KEYS_WIDTH, layout.row)
    for drum in layout.kit[1::2]:
        yield _rectangle("black-row", KEYS_WIDTH, layout.drum_y(drum), layout.width - KEYS_WIDTH, DRUM_ROW)


def _bars(piece: Piece, layout: Layout) -> Iterator[str]:
    """Yield the ruler, its numbers, and the lines of bars and beats."""
    yield _rectangle("ruler", 0, 0, layout.width, RULER_HEIGHT)
    lines, beats, labels = [], [], []
    free_line, free_label = 0.0, 0.0
    for number, starts in _beats(piece, layout):
        left = layout.x(starts[0])
        if left >= free_line:
            lines.append(_rectangle("bar", left, RULER_HEIGHT, 1, layout.bottom - RULER_HEIGHT))
            free_line = left + MIN_BAR_PIXELS
        if len(starts) > 1 and layout.scale * (starts[1] - starts[0]) >= MIN_BEAT_PIXELS:
            beats += [
                _rectangle("beat", layout.x(beat), RULER_HEIGHT, 1, layout.bottom - RULER_HEIGHT) for beat in starts[1:]
            ]
        if left >= free_label:
            labels += [_rectangle("bar", left, RULER_HEIGHT - 9, 1, 9), _text(left + 5, RULER_HEIGHT - 9, str(number))]
            free_label = left + MIN_LABEL_PIXELS
    yield from (*beats, *lines, *labels)
    yield _rectangle("bar", 0, RULER_HEIGHT - 1, layout.width, 1)
    if layout.kit:
        yield _rectangle("bar", 0, layout.floor - 0.5, layout.width, 1)


def _beats(piece: Piece, layout: Layout) -> list[tuple[int, list[float]]]:
    """Return (number, when its beats are in seconds) of each bar; none if the file has no bars, or far too many."""
    if piece.score and (piece.score.file.seconds_per_tick or piece.score.file.type == 2):
        return []
    bars = Bars(piece.timing)
    found: list[tuple[int, list[float]]] = []
    for bar in map(bars.bar, islice(count(1), MAX_BARS)):
        beat = piece.timing.ticks_per_beat * bar.signature.beat_quarters
        ticks = (bar.start + index * beat for index in range(ceil((bar.end - bar.start) / beat)))
        starts = [float(piece.timing.milliseconds(tick)) / 1_000 for tick in ticks]
        if starts[0] >= layout.seconds:
            return found
        found.append((bar.number, [start for start in starts if start < layout.seconds]))
    return []


def _notes(notes: Sequence[Note], layout: Layout) -> Iterator[str]:
    """Yield a group for each instrument; those with long notes come first, so that they hide no short ones."""
    lengths: defaultdict[int, list[int]] = defaultdict(list)
    for note in notes:
        lengths[note.instrument].append(note.duration)
    for instrument in sorted(lengths, key=lambda each: -sum(lengths[each]) / len(lengths[each])):
        yield f'<g class="notes i{instrument}"><title>{escape(instrument_name(instrument))}</title>'
        yield from (_note(note, layout) for note in notes if note.instrument == instrument)
        yield "</g>"


def _note(note: Note, layout: Layout) -> str:
    is_drum = note.instrument == DRUMS
    seconds = note.duration / TICKS_PER_SECOND
    row = DRUM_ROW if is_drum else layout.row
    left = layout.x(note.onset / TICKS_PER_SECOND)
    top = layout.drum_y(note.pitch) if is_drum else layout.y(note.pitch)
    width = max((min(seconds, MAX_DRUM_SECONDS) if is_drum else seconds) * layout.scale - 0.5, 2)
    height = row - (1 if row > 4 else 0.5)
    corner = min(2.5, height / 3, width / 2)
    opacity = 0.55 + 0.45 * note.velocity / 127
    place = f'x="{_number(left)}" y="{_number(top + 0.5)}" width="{_number(width)}" height="{_number(height)}"'
    return f'<rect {place} rx="{_number(corner)}" fill-opacity="{opacity:.2f}"/>'


def _keys(layout: Layout) -> Iterator[str]:
    """Yield the piano at the side, and the names of the drums below it."""
    yield _rectangle("key", 0, RULER_HEIGHT, KEYS_WIDTH, layout.floor - RULER_HEIGHT)
    for pitch in range(layout.low, layout.high + 1):
        top = layout.y(pitch)
        if pitch % 12 in BLACK_KEYS:
            yield _rectangle("black-key", 0, top, KEYS_WIDTH * 0.55, layout.row)
        elif pitch % 12 in (0, 5) and pitch > layout.low:  # where two white keys meet
            yield _rectangle("bar", 0, top + layout.row - 0.5, KEYS_WIDTH, 1)
        if pitch % 12 == 0:
            yield _text(KEYS_WIDTH - 20, top + layout.row / 2 + 4, f"C{pitch // 12 - 1}", "key-text")
    for drum in layout.kit:
        yield _text(5, layout.drum_y(drum) + DRUM_ROW - 3, _drum_name(drum))
    yield _rectangle("bar", KEYS_WIDTH - 1, RULER_HEIGHT, 1, layout.bottom - RULER_HEIGHT)


def _drum_name(pitch: int) -> str:
    place = pitch - _FIRST_DRUM_NAMED
    return _DRUM_NAMES[place] if 0 <= place < len(_DRUM_NAMES) else str(pitch)


def _times(layout: Layout) -> Iterator[str]:
    yield _rectangle("bar", 0, layout.bottom, layout.width, 1)
    step = next(each for each in (1, 2, 5, 10, 15, 30, 60) if each * layout.scale >= 2 * MIN_LABEL_PIXELS)
    for second in range(0, ceil(layout.seconds), step):
        yield _rectangle("bar", layout.x(second), layout.bottom, 1, 5)
        if layout.x(second) + MIN_LABEL_PIXELS <= layout.width:
            yield _text(layout.x(second) + 5, layout.bottom + 14, f"{second // 60}:{second % 60:02}")


def _legend(layout: Layout, counts: Counter[int]) -> tuple[list[str], float]:
    """Return the names of the instruments in as many rows as they need, and how high the image is with them."""
    parts = []
    left, top = float(MARGIN), layout.bottom + TIMES_HEIGHT
    for instrument, number in sorted(counts.items()):
        label = f"{instrument_name(instrument)} \u00b7 {number}"
        width = 34 + CHARACTER_PIXELS * len(label)
        if left > MARGIN and left + width > layout.width:
            left, top = float(MARGIN), top + LEGEND_ROW
        parts.append(_rectangle(f"i{instrument}", left, top + 5, 12, 12, corner=3))
        parts.append(_text(left + 18, top + 15, label))
        left += width
    return parts, top + (LEGEND_ROW + 4 if counts else 0)


def _rectangle(name: str, x: float, y: float, width: float, height: float, corner: float = 0) -> str:
    place = f'x="{_number(x)}" y="{_number(y)}" width="{_number(width)}" height="{_number(height)}"'
    return f'<rect class="{name}" {place}{f" rx={chr(34)}{corner}{chr(34)}" if corner else ""}/>'


def _text(x: float, y: float, text: str, name: str = "text") -> str:
    return f'<text class="{name}" x="{_number(x)}" y="{_number(y)}">{escape(text)}</text>'


def _number(value: float) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".")


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'s' * (number != 1)}"
