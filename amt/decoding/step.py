"""The three passes of a step, and what they have to know: nothing in them waits for the host."""

from collections.abc import Sequence as AnySequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from torch import Tensor

from amt import sampling
from amt.gpt2 import GPT2, Cache
from amt.sequence import Sequence
from amt.steering import STEERING_SECONDS
from amt.vocab import N_INSTRUMENTS, NOTE, ONSET, SLOTS, TICKS_PER_SECOND
from amt.wishes import Sampling

ANY_NOTE: Final = np.ones(NOTE.size, dtype=np.bool_)
NO_BIAS: Final = np.zeros(N_INSTRUMENTS + 1, dtype=np.float32)
ANY_TIME: Final = (-np.inf, np.inf)
NOT_GIVEN: Final = (-1, -1, -1)

_PENDING, _END, _EARLIEST = range(3)
_DUE, _GIVEN, _CHOICES = slice(3, 5), slice(5, 8), slice(8, None)


@dataclass(frozen=True)
class Inputs:
    """What a step has to know of each row.

    Attributes:
        numbers: the token to feed, how many are in the cache, the earliest onset, when the next one is due, the tokens
            that are given (-1: none), and temperature, top_p, top_k, min_p and a random number, each for three slots;
            float32, which holds every token, shape = (n_rows, 23).
        legal: which notes are, shape = (n_rows, 16,513), or None for all.
        biases: nats to add for each instrument and rests, shape = (n_rows, 130), or None for zeros.
        is_due: whether any row has a time at which its next onset is due.
        is_given: whether any row's next event is given.
    """

    numbers: Tensor
    legal: Tensor | None
    biases: Tensor | None
    is_due: bool
    is_given: bool

    @classmethod
    def neutral(cls, n_rows: int, has_wishes: bool) -> "Inputs":
        """Of rows that nobody looks at, with everything that may be filled in."""
        numbers = torch.zeros(n_rows, 8 + len(Sampling._fields) * len(SLOTS) + len(SLOTS))
        numbers[:, _DUE] = torch.tensor(ANY_TIME)
        numbers[:, _GIVEN] = torch.tensor(NOT_GIVEN, dtype=torch.float32)
        numbers[:, _CHOICES] = 1
        legal = torch.from_numpy(ANY_NOTE).repeat(n_rows, 1) if has_wishes else None
        biases = torch.from_numpy(NO_BIAS).repeat(n_rows, 1) if has_wishes else None
        return cls(numbers, legal, biases, True, True)

    def fill(self, given: "Inputs") -> None:
        """Copy what is given into the first rows."""
        n_rows = len(given.numbers)
        self.numbers[:n_rows] = given.numbers
        for own, other, neutral in ((self.legal, given.legal, ANY_NOTE), (self.biases, given.biases, NO_BIAS)):
            if own is not None:
                own[:n_rows] = torch.from_numpy(neutral) if other is None else other

    def to(self, device: torch.device) -> "Inputs":
        """The same on a device."""
        legal, biases = (None if each is None else each.to(device) for each in (self.legal, self.biases))
        return Inputs(self.numbers.to(device), legal, biases, self.is_due, self.is_given)


def inputs(sequences: AnySequence[Sequence]) -> Inputs:
    """Those of the next step, on the host."""
    due, given = [sequence.due for sequence in sequences], [sequence.given() for sequence in sequences]
    numbers = [
        (
            sequence.pending,
            sequence.length,
            sequence.earliest,
            *(due[row] or ANY_TIME),
            *(given[row] or NOT_GIVEN),
            *sequence.choices,
            *sequence.uniforms,
        )
        for row, sequence in enumerate(sequences)
    ]
    return Inputs(
        torch.tensor(numbers),
        _stacked([sequence.legal_notes for sequence in sequences], ANY_NOTE),
        _stacked([sequence.note_biases for sequence in sequences], NO_BIAS),
        any(due),
        any(given),
    )


def _stacked(rows: list[np.ndarray | None], neutral: np.ndarray) -> Tensor | None:
    if all(row is None for row in rows):
        return None
    return torch.from_numpy(np.stack([neutral if row is None else row for row in rows]))


def decode(model: GPT2, cache: Cache, given: Inputs, ends: int | Tensor, reach: int) -> Tensor:
    """The next event of each of the first rows of the cache; shape = (n_rows, 3).

    Args:
        model: what decodes.
        cache: written in place.
        given: on the model's device.
        ends: see `GPT2.decode`, of the first pass.
        reach: of all three.
    """
    tokens, columns = given.numbers[:, _PENDING].long(), given.numbers[:, _CHOICES].unbind(1)
    decoded = []
    for index, slot in enumerate(SLOTS):
        logits = model.logits(model.decode(tokens, ends + index, reach, cache), slot)
        if slot is ONSET:
            if given.is_due:
                earliest, latest = given.numbers[:, _DUE].unbind(1)
                sampling.pull_onsets(logits, earliest, latest, STEERING_SECONDS * TICKS_PER_SECOND)
            sampling.forbid_past(logits, given.numbers[:, _EARLIEST])
        elif slot is NOTE:
            if given.legal is not None:
                sampling.forbid_notes(logits, given.legal)
            if given.biases is not None:
                sampling.bias_notes(logits, given.biases)
        *choice, uniform = columns[index :: len(SLOTS)]
        tokens = sampling.draw(sampling.kept(logits, sampling.Choice(*choice)), uniform).add_(slot.offset)
        if given.is_given:
            forced = given.numbers[:, _GIVEN][:, index].long()
            tokens = torch.where(forced >= 0, forced, tokens)
        decoded.append(tokens)
    return torch.stack(decoded, dim=1)


def ends(given: Inputs) -> Tensor:
    """How many tokens of each row the cache holds; shape = (n_rows,)."""
    return given.numbers[:, _END].long()
