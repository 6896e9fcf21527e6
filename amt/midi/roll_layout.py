"""Lay out a piano roll: a scale for its times, rows for its pitches and drums."""

from collections.abc import Sequence
from typing import Final, NamedTuple

from amt.midi.notes import DRUMS, N_PITCHES, Note

KEYS_WIDTH: Final = 52
RULER_HEIGHT: Final = 26
DRUM_ROW: Final = 13

PIXELS_PER_SECOND: Final = 60
MIN_PIXELS_PER_SECOND: Final = 8
MIN_WIDTH: Final = 720
MAX_WIDTH: Final = 1_600
"""Wider than that, a long piece is pressed together, but never below the minimum."""

MELODY_HEIGHT: Final = 340
MIN_ROWS: Final = 26
MARGIN_ROWS: Final = 2


class Layout(NamedTuple):
    """Know where on the image things are, in pixels.

    Attributes:
        seconds: that are shown.
        scale: pixels in a second.
        low: the pitch of the lowest row.
        high: the pitch of the highest.
        kit: the drums that have a row, the lowest row first.
        row: the height of a pitch.
    """

    seconds: float
    scale: float
    low: int
    high: int
    kit: tuple[int, ...]
    row: float

    @classmethod
    def of(cls, notes: Sequence[Note], seconds: float) -> "Layout":
        """Choose the scale and the rows that show all notes."""
        pitches = [note.pitch for note in notes if note.instrument != DRUMS] or [60]
        low, high = max(min(pitches) - MARGIN_ROWS, 0), min(max(pitches) + MARGIN_ROWS, N_PITCHES - 1)
        missing = max(MIN_ROWS - (high - low + 1), 0)
        low = max(low - missing // 2, 0)
        high = min(max(high, low + MIN_ROWS - 1), N_PITCHES - 1)
        width = min(max(seconds * PIXELS_PER_SECOND, MIN_WIDTH), MAX_WIDTH)
        scale = max(width / seconds, MIN_PIXELS_PER_SECOND)
        kit = tuple(sorted({note.pitch for note in notes if note.instrument == DRUMS}))
        return cls(seconds, scale, low, high, kit, max(round(MELODY_HEIGHT / (high - low + 1)), 3))

    @property
    def width(self) -> float:
        """The width of the image."""
        return KEYS_WIDTH + self.seconds * self.scale

    @property
    def floor(self) -> float:
        """Where melodies end, and the strip of the drums begins."""
        return RULER_HEIGHT + self.row * (self.high - self.low + 1)

    @property
    def bottom(self) -> float:
        """Where the roll ends, and the times begin."""
        return self.floor + DRUM_ROW * len(self.kit)

    def x(self, seconds: float) -> float:
        """Return the place of a time."""
        return KEYS_WIDTH + seconds * self.scale

    def y(self, pitch: int) -> float:
        """Return the top of a pitch's row."""
        return RULER_HEIGHT + (self.high - pitch) * self.row

    def drum_y(self, pitch: int) -> float:
        """Return the top of a drum's row."""
        return self.bottom - (self.kit.index(pitch) + 1) * DRUM_ROW
