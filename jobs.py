"""What the API process asks of the worker, and what it gets back: plain data that can be pickled, no torch."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from amt.arrangement import Arrangement
from amt.excerpt import Excerpt
from amt.sequence import Request, Triple
from amt.timing import Timing
from schemas import ModelSize


@dataclass(frozen=True)
class Generation:
    """Sequences to decode, one for each variation; the result is a list of `amt.events.Events`, the new ones alone.

    Attributes:
        group: the size of the model.
        headers: of the trace.
        streams: whether to send `Progress` meanwhile.
        arrangement: what the new events become part of; the worker does not get it.
        sequences: what to decode.
        timing: how the files count time; the worker does not get it.
    """

    group: ModelSize
    headers: Mapping[str, str]
    streams: bool
    arrangement: Arrangement
    sequences: tuple[Request, ...]
    timing: Timing = field(default_factory=Timing)

    def __getstate__(self) -> dict[str, Any]:
        """What is pickled: a piece of many thousand notes stays behind."""
        return {name: value for name, value in self.__dict__.items() if name not in ("arrangement", "timing")}


@dataclass(frozen=True)
class Embed:
    """An excerpt to embed; the result is the vector as a list of floats.

    Attributes:
        group: the size of the model.
        headers: of the trace.
        streams: ignored.
        excerpt: of the piece.
        layer: whose hidden state to take.
    """

    group: ModelSize
    headers: Mapping[str, str]
    streams: bool
    excerpt: Excerpt
    layer: int


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
