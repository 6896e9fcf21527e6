"""What lies beside the lines is refused, and then no rest may come beside them either."""

import numpy as np

from amt.decoding.onset_grid import OFF_GRID, OnsetGrid
from amt.midi.grid import Grid

LINES = Grid(np.array([100, 150, 200, 250]), np.arange(4.0), np.array([3, 0, 2, 1], dtype=np.int8))


def grid(*, ends_too: bool = False) -> OnsetGrid:
    return OnsetGrid(LINES, 100, 220, ends_too=ends_too)


def test_levels_are_those_of_the_lines_and_past_the_end_everything_is_legal() -> None:
    levels = grid().levels
    assert levels[[0, 50, 100]].tolist() == [3, 0, 2]
    assert np.flatnonzero(levels[:120] != OFF_GRID).tolist() == [0, 50, 100]
    assert (levels[120:] == 0).all()


def test_a_note_beside_the_lines_is_refused_and_the_next_draw_is_kept_to_them() -> None:
    lines = grid()
    assert lines.place(110, 90) == (1, 20, 120, 1)
    assert not lines.accepts(110, 40)
    assert lines.place(110, 90) == (1, 20, 120, 0)
    assert lines.accepts(150, 3)
    assert lines.place(150, 90) == (1, 60, 160, 1)


def test_a_rest_may_be_anywhere() -> None:
    lines = grid()
    assert not lines.accepts(110, 40)
    assert lines.accepts(110, None)
    assert lines.place(110, 90).may_rest


def test_ends_are_refused_too_where_they_must_lie_on_lines() -> None:
    lines = grid(ends_too=True)
    assert [lines.accepts(100, duration) for duration in (0, 49, 50, 60, 100, 130)] == [
        False, False, True, False, True, True
    ]  # fmt: skip
