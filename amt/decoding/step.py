"""Decode one event of every row in three passes: what a step must know, and the passes themselves.

Nothing in the passes waits for the host.
"""

from collections.abc import Sequence as AnySequence
from dataclasses import dataclass
from typing import Final, NamedTuple, Self

import numpy as np
import torch
from torch import Tensor

from amt.decoding import legality
from amt.decoding.sequence import Sequence
from amt.decoding.steering import ONSET_WIDTH_SECONDS
from amt.gpt2.cache import Cache
from amt.gpt2.network import GPT2
from amt.gpt2.sampling import SamplingTensors, draw, truncated_probabilities
from amt.midi.notes import N_INSTRUMENTS, TICKS_PER_SECOND
from amt.tokens.vocab import EVENT_TOKENS, NOTE, ONSET, SLOTS

ANY_NOTE: Final = np.ones(NOTE.size, dtype=np.bool_)
NO_BIAS: Final = np.zeros(N_INSTRUMENTS + 1, dtype=np.float32)
ANY_TIME: Final = (-np.inf, np.inf)
NOT_FORCED: Final = (-1, -1, -1)


class Columns(NamedTuple):
    """Name the numbers of each row; shape = (n_rows, width), with these widths.

    Attributes:
        pending: the token to feed; 1.
        cache_length: tokens in the cache; 1.
        earliest_onset: the first legal onset; 1.
        target_onset: from when to when the next onset should come; 2.
        forced_event: its tokens, -1 where the model decides; 3.
        temperature: of each slot, as all that follow; 3.
        top_p: 3.
        top_k: 3.
        min_p: 3.
        uniform: random numbers; 3.
    """

    pending: Tensor
    cache_length: Tensor
    earliest_onset: Tensor
    target_onset: Tensor
    forced_event: Tensor
    temperature: Tensor
    top_p: Tensor
    top_k: Tensor
    min_p: Tensor
    uniform: Tensor


_WIDTHS: Final = [1, 1, 1, 2, *[EVENT_TOKENS] * 6]


@dataclass(frozen=True)
class StepInputs:
    """Hold what a step must know of each row.

    Attributes:
        numbers: see `Columns`; float32, which holds every token, shape = (n_rows, 23).
        legal: which notes are, shape = (n_rows, 16,513), or None for all.
        biases: nats to add for each instrument and rests, shape = (n_rows, 130), or None for zeros.
        has_target: whether any row has a target onset.
        has_forced: whether any row has a forced event.
    """

    numbers: Tensor
    legal: Tensor | None
    biases: Tensor | None
    has_target: bool
    has_forced: bool

    @classmethod
    def of(cls, sequences: AnySequence[Sequence]) -> Self:
        """Collect the inputs of the next step, on the host."""
        targets = [sequence.target_onset for sequence in sequences]
        forced = [sequence.forced_event for sequence in sequences]
        numbers = [
            (
                sequence.window.pending,
                sequence.window.cache_length,
                sequence.earliest_onset,
                *(targets[row] or ANY_TIME),
                *(forced[row] or NOT_FORCED),
                *sequence.sampling_values,
                *sequence.uniforms,
            )
            for row, sequence in enumerate(sequences)
        ]
        return cls(
            torch.tensor(numbers),
            _stacked([sequence.legal_notes for sequence in sequences], ANY_NOTE),
            _stacked([sequence.note_biases for sequence in sequences], NO_BIAS),
            any(targets),
            any(forced),
        )

    @classmethod
    def neutral(cls, n_rows: int, has_constraints: bool) -> Self:
        """Return the inputs of rows that nobody looks at, with everything that may be filled in."""
        numbers = torch.zeros(n_rows, sum(_WIDTHS))
        columns = Columns._make(torch.split(numbers, _WIDTHS, dim=1))
        columns.target_onset[:] = torch.tensor(ANY_TIME)
        columns.forced_event[:] = torch.tensor(NOT_FORCED)
        for column in columns[Columns._fields.index("temperature") :]:
            column[:] = 1
        legal = torch.from_numpy(ANY_NOTE).repeat(n_rows, 1) if has_constraints else None
        biases = torch.from_numpy(NO_BIAS).repeat(n_rows, 1) if has_constraints else None
        return cls(numbers, legal, biases, True, True)

    @property
    def columns(self) -> Columns:
        """Views of `numbers` by name."""
        return Columns._make(torch.split(self.numbers, _WIDTHS, dim=1))

    @property
    def cache_lengths(self) -> Tensor:
        """How many tokens of each row the cache holds; shape = (n_rows,)."""
        return self.columns.cache_length[:, 0].long()

    def fill(self, inputs: "StepInputs") -> None:
        """Copy the inputs of fewer rows into the first rows."""
        n_rows = len(inputs.numbers)
        self.numbers[:n_rows] = inputs.numbers
        for own, other, neutral in ((self.legal, inputs.legal, ANY_NOTE), (self.biases, inputs.biases, NO_BIAS)):
            if own is not None:
                own[:n_rows] = torch.from_numpy(neutral) if other is None else other

    def to(self, device: torch.device) -> "StepInputs":
        """Return the same on a device."""
        legal, biases = (None if each is None else each.to(device) for each in (self.legal, self.biases))
        return StepInputs(self.numbers.to(device), legal, biases, self.has_target, self.has_forced)


def _stacked(rows: list[np.ndarray | None], neutral: np.ndarray) -> Tensor | None:
    if all(row is None for row in rows):
        return None
    return torch.from_numpy(np.stack([neutral if row is None else row for row in rows]))


def decode(model: GPT2, cache: Cache, inputs: StepInputs, cache_lengths: int | Tensor, attention_length: int) -> Tensor:
    """Decode the next event of each of the first rows of the cache; shape = (n_rows, 3).

    Args:
        model: what decodes.
        cache: written in place.
        inputs: on the model's device.
        cache_lengths: before the first pass, see `GPT2.decode`.
        attention_length: of all three passes.
    """
    columns = inputs.columns
    tokens = columns.pending[:, 0].long()
    by_slot = zip(*(column.unbind(1) for column in columns[-5:]), strict=True)
    decoded = []
    for index, (slot, (*params, uniform)) in enumerate(zip(SLOTS, by_slot, strict=True)):
        logits = model.logits(model.decode(tokens, cache_lengths + index, attention_length, cache), index)
        if slot is ONSET:
            if inputs.has_target:
                earliest, latest = columns.target_onset.unbind(1)
                legality.bias_onsets(logits, earliest, latest, ONSET_WIDTH_SECONDS * TICKS_PER_SECOND)
            legality.forbid_past(logits, columns.earliest_onset[:, 0])
        elif slot is NOTE:
            if inputs.legal is not None:
                legality.forbid_notes(logits, inputs.legal)
            if inputs.biases is not None:
                legality.bias_notes(logits, inputs.biases)
        tokens = draw(truncated_probabilities(logits, SamplingTensors(*params)), uniform).add_(slot.offset)
        if inputs.has_forced:
            forced = columns.forced_event[:, index].long()
            tokens = torch.where(forced >= 0, forced, tokens)
        decoded.append(tokens)
    return torch.stack(decoded, dim=1)
