"""Say what is decoded."""

from dataclasses import dataclass, field

from amt.decoding.constraints import NO_CONSTRAINTS, Constraints
from amt.gpt2.sampling_params import SamplingParams
from amt.tokens import events as ev
from amt.tokens.vocab import SLOTS


def in_every_slot(params: SamplingParams) -> tuple[SamplingParams, ...]:
    """Return the same parameters for onset, duration and note."""
    return (params,) * len(SLOTS)


@dataclass(frozen=True, eq=False)
class DecodeRequest:
    """Say what one sequence is decoded from, and how.

    Attributes:
        end_ticks: no event is generated at or after this time.
        start_ticks: nor before this one.
        prompt: sorted events, without rests; those after `start_ticks` are not allowed.
        controls: sorted controls, to be interleaved 5 s ahead of their onset.
        existing_instruments: instruments that the piece has anyway: they count among the 16 that it may have.
        sampling: parameters for the tokens of onset, duration and note.
        constraints: what new notes must or should be.
        seed: of the sequence's own random numbers.
    """

    end_ticks: int
    start_ticks: int = 0
    prompt: ev.Events = field(default_factory=ev.empty)
    controls: ev.Events = field(default_factory=ev.empty)
    existing_instruments: frozenset[int] = frozenset()
    sampling: tuple[SamplingParams, ...] = in_every_slot(SamplingParams())
    constraints: Constraints = NO_CONSTRAINTS
    seed: int = 0
