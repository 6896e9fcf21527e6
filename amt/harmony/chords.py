"""Say which chord sounds when."""

from typing import NamedTuple


class ChordSpan(NamedTuple):
    """Hold a chord from its start until the next one's, or for ever.

    Attributes:
        start_ticks: from the start of the piece.
        pitch_classes: of its notes, 0 is C; none where no chord sounds.
        symbol: as it is written, such as Am7.
    """

    start_ticks: int
    pitch_classes: frozenset[int]
    symbol: str
