"""Collect what a step must know of each row, in buffers that stay where they are on the device."""

from collections.abc import Sequence as AnySequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from amt.decoding.sequence import Sequence
from amt.midi.notes import N_INSTRUMENTS
from amt.tokens.vocab import EVENT_TOKENS, NOTE

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
_PENDING, _CACHE_LENGTH, _EARLIEST_ONSET = range(3)
_TARGET_ONSET, _FORCED_EVENT, _SAMPLING, _UNIFORM = slice(3, 5), slice(5, 8), slice(8, 20), slice(20, 23)


@dataclass(frozen=True)
class StepInputs:
    """Hold what a step must know of its rows, on the model's device.

    Attributes:
        numbers: see `Columns`; float32, which holds every token, shape = (n_rows, 23).
        legal: which notes are, shape = (n_rows, 16,513), or None for all.
        biases: nats to add for each instrument and rests, shape = (n_rows, 130), or None for zeros.
        has_target: whether any row may have a target onset.
        has_forced: whether any row may have a forced event.
    """

    numbers: Tensor
    legal: Tensor | None
    biases: Tensor | None
    has_target: bool
    has_forced: bool

    @property
    def columns(self) -> Columns:
        """Views of `numbers` by name."""
        return Columns._make(torch.split(self.numbers, _WIDTHS, dim=1))

    @property
    def cache_lengths(self) -> Tensor:
        """How many tokens of each row the cache holds; shape = (n_rows,)."""
        return self.numbers[:, _CACHE_LENGTH].long()


class InputBuffers:
    """Keep the inputs of an engine's rows, and upload only what has changed since the last step.

    On a CPU the step reads the host's buffers; on another device its own, which are written without waiting. The engine
    waits for each step's result, so that the next one's inputs never overtake an upload.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._host = _Buffers.neutral(0, device)
        self._own = self._host
        self._sequences: list[Sequence | None] = []
        self._legal_notes: list[NDArray[np.bool_] | None] = []
        self._has_biases = False

    def reserve(self, n_rows: int) -> None:
        """Make room for at least `n_rows`."""
        capacity = len(self._sequences)
        if n_rows > capacity:
            n_rows = max(n_rows, 2 * capacity)
            self._host = _Buffers.neutral(n_rows, self._device)
            self._own = self._host if self._device.type == "cpu" else self._host.to(self._device)
            self._sequences, self._legal_notes, self._has_biases = [None] * n_rows, [None] * n_rows, False

    def load(self, sequences: AnySequence[Sequence]) -> StepInputs:
        """Take the inputs of the next step; row by row as the cache has them."""
        n_rows = len(sequences)
        self.reserve(n_rows)
        targets = [sequence.target_onset for sequence in sequences]
        forced = [sequence.forced_event for sequence in sequences]
        numbers = self._host.numbers.numpy()[:n_rows]
        for row, sequence in enumerate(sequences):
            if self._sequences[row] is not sequence:
                self._sequences[row] = sequence
                numbers[row, _SAMPLING] = sequence.sampling_values
        numbers[:, _PENDING] = [sequence.window.pending for sequence in sequences]
        numbers[:, _CACHE_LENGTH] = [sequence.window.cache_length for sequence in sequences]
        numbers[:, _EARLIEST_ONSET] = [sequence.earliest_onset for sequence in sequences]
        numbers[:, _TARGET_ONSET] = [target or ANY_TIME for target in targets]
        numbers[:, _FORCED_EVENT] = [event or NOT_FORCED for event in forced]
        numbers[:, _UNIFORM] = [sequence.uniforms for sequence in sequences]
        self._upload("numbers", 0, n_rows)
        has_legal = self._load_legal(sequences)
        has_biases = self._load_biases(sequences)
        return StepInputs(
            self._own.numbers[:n_rows],
            self._own.legal[:n_rows] if has_legal else None,
            self._own.biases[:n_rows] if has_biases else None,
            any(targets),
            any(forced),
        )

    def all(self, n_rows: int) -> StepInputs:
        """Return the inputs of the first rows with everything that a row may have, for a step that is recorded."""
        own = self._own
        return StepInputs(own.numbers[:n_rows], own.legal[:n_rows], own.biases[:n_rows], True, True)

    def _load_legal(self, sequences: AnySequence[Sequence]) -> bool:
        """Take the rows whose legal notes are others than before; return whether any row has some."""
        masks = [sequence.legal_notes for sequence in sequences]
        for row, mask in enumerate(masks):
            if mask is not self._legal_notes[row]:
                self._legal_notes[row] = mask
                self._host.legal.numpy()[row] = True if mask is None else mask
                self._upload("legal", row, row + 1)
        return any(mask is not None for mask in masks)

    def _load_biases(self, sequences: AnySequence[Sequence]) -> bool:
        """Take the biases unless they are all zero and were before; return whether any row has some."""
        rows = [sequence.note_biases for sequence in sequences]
        had_biases, self._has_biases = self._has_biases, any(row is not None for row in rows)
        biases = self._host.biases.numpy()
        if self._has_biases:
            for row, values in enumerate(rows):
                biases[row] = 0 if values is None else values
            self._upload("biases", 0, len(rows))
        elif had_biases:  # all rows: some may have left since
            biases[:] = 0
            self._upload("biases", 0, len(biases))
        return self._has_biases

    def _upload(self, name: str, start: int, end: int) -> None:
        if self._own is not self._host:
            getattr(self._own, name)[start:end].copy_(getattr(self._host, name)[start:end], non_blocking=True)


@dataclass(frozen=True)
class _Buffers:
    """Hold the tensors of `StepInputs` with all their rows."""

    numbers: Tensor
    legal: Tensor
    biases: Tensor

    @classmethod
    def neutral(cls, n_rows: int, device: torch.device) -> "_Buffers":
        """Return buffers on the host with rows that constrain nothing, in memory that the device can read."""
        numbers = torch.zeros(n_rows, sum(_WIDTHS))
        numbers[:, _TARGET_ONSET] = torch.tensor(ANY_TIME)
        numbers[:, _FORCED_EVENT] = torch.tensor(NOT_FORCED, dtype=torch.float32)
        numbers[:, _SAMPLING] = 1
        legal = torch.ones(n_rows, NOTE.size, dtype=torch.bool)
        biases = torch.zeros(n_rows, N_INSTRUMENTS + 1)
        tensors = (numbers, legal, biases)
        return cls(*(tensor.pin_memory() for tensor in tensors) if device.type == "cuda" else tensors)

    def to(self, device: torch.device) -> "_Buffers":
        return _Buffers(self.numbers.to(device), self.legal.to(device), self.biases.to(device))
