"""What the API process asks of the worker, and what it gets back: plain data that can be pickled, no torch."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from amt.excerpt import Excerpt, Pooling, Window
from amt.prime import Prime
from amt.sequence import Request, Triple
from schemas import ModelSize


@dataclass(frozen=True)
class Generation:
    """Sequences to decode, one for each variation; the result is a list of `amt.events.Events`, without the prime.

    Attributes:
        group: the size of the model.
        headers: of the trace.
        streams: whether to send `Progress` meanwhile.
        prime: what the sequences go on from; its notes are not decoded again.
        sequences: what to decode.
    """

    group: ModelSize
    headers: Mapping[str, str]
    streams: bool
    prime: Prime
    sequences: tuple[Request, ...]


@dataclass(frozen=True)
class Embed:
    """Excerpts to embed; the result is a list of vectors for each window of each excerpt in turn.

    Attributes:
        group: the size of the model.
        headers: of the trace.
        streams: ignored.
        excerpts: of the pieces.
        layer: whose hidden state to take.
        pooling: of the tokens of a window.
    """

    group: ModelSize
    headers: Mapping[str, str]
    streams: bool
    excerpts: tuple[Excerpt, ...]
    layer: int
    pooling: Pooling

    @property
    def windows(self) -> list[Window]:
        """Of all excerpts."""
        return [window for excerpt in self.excerpts for window in excerpt.windows]


class Progress(NamedTuple):
    """How far a generation has come.

    Attributes:
        new: (variation, event with its onset from the piece's start) of what was decoded since the last one.
        decided_ticks: the music is decided up to here, on average over the variations.
        n_events: decoded so far in all variations.
    """

    new: list[tuple[int, Triple]]
    decided_ticks: float
    n_events: int
