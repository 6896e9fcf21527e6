"""Define what the API process asks of the worker, and what it gets back: plain data that can be pickled, no torch."""

from collections.abc import Mapping
from copy import copy
from dataclasses import dataclass, field
from typing import Final, NamedTuple, Self

from amt.arranging.plan import EditPlan
from amt.decoding.degenerate import Flaw
from amt.decoding.request import DecodeRequest
from amt.harmony.chords import ChordSpan
from amt.midi.codec import Piece
from amt.midi.grid import Grid
from amt.midi.timing import Timing
from amt.pooling import Pooling
from amt.tokens.events import Events, Triple
from amt.tokens.windows import Excerpt, Window


class Original(NamedTuple):
    """Hold an input that is given back with new notes in it.

    Attributes:
        piece: as it was read.
        until_ticks: nothing but kept notes is given back from here on; None: everything is.
    """

    piece: Piece
    until_ticks: int | None = None


_OF_THE_ANSWER: Final = frozenset(
    {"plan", "plans", "timing", "original", "grid", "key", "chords", "notices", "repeated"}
)
"""Fields of a job that only its answer needs."""


@dataclass(frozen=True)
class GenerateJob:
    """Ask for sequences to be decoded, one for each variation; the result is a list of `GeneratedVariation`.

    Attributes:
        group: the name of the model.
        headers: of the trace.
        streams: whether to send `Progress` meanwhile.
        redraws: whether silent and stuck results are drawn again.
        plan: what the new events become part of; the worker does not get it.
        sequences: what to decode.
        timing: how the files count time; the worker does not get it.
        original: the input that new notes are added to; the worker does not get it.
        grid: the lines on which new notes begin; the worker does not get it, its sequences have their own.
        key: that new notes keep to, by its name; the worker does not get it.
        chords: that new notes keep to, from the start of the piece; the worker does not get them.
        notices: what is to be said of the request, in sentences; the worker does not get them.
        repeated: numbers that the answer repeats, by their fields; the worker does not get them.
        plans: of each sequence, where they are not all `plan`; the worker does not get them.
        controlled: the task, if it is one that tells the model notes ahead, as controls.
    """

    group: str
    headers: Mapping[str, str]
    streams: bool
    redraws: bool
    plan: EditPlan
    sequences: tuple[DecodeRequest, ...]
    timing: Timing = field(default_factory=Timing)
    original: Original | None = None
    grid: Grid | None = None
    key: str | None = None
    chords: tuple[ChordSpan, ...] = ()
    notices: tuple[str, ...] = ()
    repeated: Mapping[str, float] = field(default_factory=dict)
    plans: tuple[EditPlan, ...] = ()
    controlled: str | None = None

    def for_worker(self) -> Self:
        """Return it without the fields that only its answer needs: a piece of many thousand notes stays behind."""
        job = copy(self)
        for name in _OF_THE_ANSWER:
            del job.__dict__[name]
        return job


class GeneratedVariation(NamedTuple):
    """Hold one variation.

    Attributes:
        events: the new ones.
        seed: that gave them.
        n_draws: how often it was drawn.
        flaw: what is wrong with it nevertheless.
    """

    events: Events
    seed: int
    n_draws: int
    flaw: Flaw | None


class Progress(NamedTuple):
    """Say how far a generation has come.

    Attributes:
        discarded: (variation, reason, its next seed) of those that begin again: what was told of them so far is void.
        new: (variation, event with its onset from the piece's start) of what was decoded since the last one.
        decided_ticks: the music is decided up to here, on average over the variations.
        n_events: decoded so far in all variations.
    """

    discarded: list[tuple[int, Flaw, int]]
    new: list[tuple[int, Triple]]
    decided_ticks: float
    n_events: int


@dataclass(frozen=True)
class EmbedJob:
    """Ask for excerpts to be embedded; the result is a list of vectors for each window of each excerpt in turn.

    Attributes:
        group: the name of the model.
        headers: of the trace.
        streams: ignored.
        excerpts: of the pieces.
        notices: of each piece, what was mended while it was read.
        layer: whose hidden state to take.
        pooling: of the tokens of a window.
    """

    group: str
    headers: Mapping[str, str]
    streams: bool
    excerpts: tuple[Excerpt, ...]
    notices: tuple[list[str], ...]
    layer: int
    pooling: Pooling

    def for_worker(self) -> Self:
        """Return it: the worker needs it all."""
        return self

    @property
    def windows(self) -> list[Window]:
        """The windows of all excerpts."""
        return [window for excerpt in self.excerpts for window in excerpt.windows]
