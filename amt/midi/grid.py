"""Hold the lines on which new notes may begin."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Grid(NamedTuple):
    """Hold lines in order of time, from the start of the new music to its end; each array has shape = (n_lines,).

    Attributes:
        ticks: of 10 ms, from the start of the piece; each once.
        milliseconds: the same times as they are exactly.
        levels: 3 for a downbeat, 2 for another beat, 1 for another eighth note, 0 for all else.
    """

    ticks: NDArray[np.int64]
    milliseconds: NDArray[np.float64]
    levels: NDArray[np.int8]
