"""Keep the new notes of one sequence on the lines of a grid."""

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from amt.errors import SequenceError
from amt.midi.grid import Grid
from amt.midi.notes import TICKS_PER_SECOND
from amt.tokens.vocab import REST_INTERVAL_TICKS

TABLE_TICKS: Final = 12_288
"""From the start of the new music: longer than any request, and the same for all, so that tables lie side by side."""

OFF_GRID: Final = -1

MAX_LEVEL: Final = 3

NATS_PER_LEVEL: Final = 0.5
"""What an onset gains for each level of its line, or bar and beat would not be heard."""

MAX_KEPT_NATS: Final = 1.0
"""Where the mask takes from other onsets, those that are left gain as much as was taken, but no more than this: without
it the mass goes to "now" and to the next rest, and the music fills up with both."""


class GridPlace(NamedTuple):
    """Say where the next onset is drawn; times are onset tokens.

    Attributes:
        kind: 0 without a grid; 1 where onsets, 2 where ends too lie on it.
        now: the last onset.
        due: when a rest must come at the latest; it may begin off the grid.
        may_rest: 1 if it may come now, else 0.
    """

    kind: int
    now: int
    due: int
    may_rest: int


class OnsetGrid:
    """Know the lines of one sequence, and refuse what was drawn beside them.

    A rest has an onset like a note, and what it is shows only afterwards. So the onset at which the next rest must come
    is allowed on no line too; if a note is drawn there, it is drawn again, and without that onset.

    Attributes:
        levels: of each tick from the start of the new music: `OFF_GRID` between lines, 0 past the end;
            shape = (12,288,).
    """

    def __init__(self, grid: Grid, start_ticks: int, end_ticks: int, *, ends_too: bool) -> None:
        """Take lines between two times.

        Raises:
            SequenceError: these are too far apart.
        """
        if end_ticks - start_ticks >= TABLE_TICKS:
            seconds = TABLE_TICKS / TICKS_PER_SECOND
            raise SequenceError(f"new notes can be kept on a grid for less than {seconds:g} s")
        self.levels: NDArray[np.int8] = np.full(TABLE_TICKS, OFF_GRID, dtype=np.int8)
        places = grid.ticks - start_ticks
        inside = (places >= 0) & (places < TABLE_TICKS)
        self.levels[places[inside]] = grid.levels[inside]
        self.levels[end_ticks - start_ticks :] = 0  # any onset there finishes the sequence
        self._start, self._kind = start_ticks, 2 if ends_too else 1
        self._may_rest = True

    def place(self, now: int, offset: int) -> GridPlace:
        """Return where the next onset is drawn, `now` being the last one, in a window that begins at `offset`."""
        return GridPlace(self._kind, now - offset, now + REST_INTERVAL_TICKS - offset, int(self._may_rest))

    def accepts(self, onset: int, duration: int | None) -> bool:
        """Tell whether an event may be taken, and if not, keep the next draw to the lines.

        Args:
            onset: in ticks.
            duration: in ticks; None for a rest, which may always be.
        """
        self._may_rest = duration is None or (
            self._is_line(onset) and (self._kind == 1 or (duration > 0 and self._is_line(onset + duration)))
        )
        return self._may_rest

    def _is_line(self, ticks: int) -> bool:
        place = ticks - self._start
        return place >= TABLE_TICKS or self.levels[place] != OFF_GRID
