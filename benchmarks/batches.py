"""Decode many requests in batches, and note how far each event was steered from the model's own choice."""

from collections.abc import Iterable, Iterator
from collections.abc import Sequence as AnySequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Final, NamedTuple

import torch
from torch import Tensor

from amt.decoding import step
from amt.decoding.engine import Engine
from amt.decoding.inputs import StepInputs
from amt.decoding.request import DecodeRequest
from amt.decoding.sequence import Sequence
from amt.gpt2.network import GPT2
from amt.tokens import events as ev
from amt.tokens.vocab import Slot

ROWS: Final = 24
"""Sequences decoded together."""


class Decoded(NamedTuple):
    """Hold a finished sequence.

    Attributes:
        sequence: as the engine returns it.
        divergence: the mean over its draws of KL(steered || the model's own choice), of all slots together, in nats.
            The model's own choice is made by the rules that hold without steering too.
    """

    sequence: Sequence
    divergence: float

    @property
    def new(self) -> ev.Events:
        """The new notes, sorted."""
        return ev.sort(self.sequence.generated)


def decode_all(model: GPT2, requests: Iterable[DecodeRequest], n_rows: int = ROWS) -> list[Decoded]:
    """Return what becomes of each request, in their order."""
    engine = _MeasuringEngine(model)
    waiting = list(requests)[::-1]
    sequences: list[Sequence] = []
    n_active = 0
    while waiting or n_active:
        while waiting and n_active < n_rows:
            sequences.append(engine.add(waiting.pop()))
            n_active += 1
        n_active -= len(engine.step())
    return [Decoded(sequence, engine.divergence(sequence)) for sequence in sequences]


class _MeasuringEngine(Engine):
    """Decode as the engine does, and sum up how far each sequence is steered."""

    def __init__(self, model: GPT2) -> None:
        super().__init__(model, as_graphs=False)  # recorded steps could not be measured
        self._sums: dict[Sequence, tuple[float, int]] = {}

    def divergence(self, sequence: Sequence) -> float:
        """Return the mean nats of a sequence's draws."""
        total, count = self._sums[sequence]
        return total / count

    def step(self) -> list[Sequence]:
        """Decode one event of every sequence, and measure it."""
        rows = list(self._sequences)
        with _measured() as slots:
            finished = super().step()
        if slots:
            for sequence, nats in zip(rows, torch.stack(slots).sum(0).tolist(), strict=True):
                total, count = self._sums.get(sequence, (0.0, 0))
                if nats == nats:  # not forced
                    self._sums[sequence] = total + nats, count + 1
        return finished


@contextmanager
def _measured() -> Iterator[list[Tensor]]:
    """Collect the divergence of each slot, shape = (n_rows,), NaN where an event is forced, while the block runs."""
    slots: list[Tensor] = []
    steer = step.steer

    def measure(logits: Tensor, slot: Slot, inputs: StepInputs, decoded: AnySequence[Tensor]) -> None:
        own = logits.clone() if inputs.is_steered else logits
        steer(logits, slot, inputs, decoded)
        if inputs.is_steered:
            steer(own, slot, replace(inputs, levels=None, recent=None, chords=None), decoded)
        is_forced = inputs.columns.forced_event[:, 0] >= 0
        slots.append(divergences(logits, own).masked_fill(is_forced, torch.nan))

    step.steer = measure
    try:
        yield slots
    finally:
        step.steer = steer


def divergences(steered: Tensor, own: Tensor) -> Tensor:
    """Return KL(steered || own) of each row of logits, in nats; -inf is illegal; shape = (n_rows,)."""
    if torch.equal(steered, own):
        return torch.zeros(len(own), device=own.device)
    steered, own = steered.log_softmax(1), own.log_softmax(1)
    probabilities = steered.exp()
    return torch.where(probabilities > 0, probabilities * (steered - own), 0).sum(1)
