"""Collect what a step must know of each row, in buffers that stay where they are on the device."""

from collections.abc import Callable
from collections.abc import Sequence as AnySequence
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Final, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from amt.decoding.chord_tones import MAX_SPANS, N_PITCH_CLASSES
from amt.decoding.onset_grid import TABLE_TICKS, GridPlace
from amt.decoding.sequence import Sequence
from amt.decoding.variety import MAX_KEYS
from amt.midi.notes import N_INSTRUMENTS
from amt.tokens.vocab import EVENT_TOKENS, NOTE

ANY_TIME: Final = (-np.inf, np.inf)
NOT_FORCED: Final = (-1, -1, -1)
NO_GRID: Final = GridPlace(0, 0, 0, 0)
NO_KEY: Final = (0.0,) * N_PITCH_CLASSES


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
        shift: what makes onset tokens ticks from the start of the new music; 1.
        grid_place: see `GridPlace`; 4.
        chord_strength: see `ChordTones`; 1.
        key: nats for each pitch class; 12.
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
    shift: Tensor
    grid_place: Tensor
    chord_strength: Tensor
    key: Tensor

    @property
    def sampling(self) -> tuple[Tensor, ...]:
        """How to draw a token of each slot: its parameters and, last, a random number."""
        return self.temperature, self.top_p, self.top_k, self.min_p, self.uniform


_WIDTHS: Final = [1, 1, 1, 2, *[EVENT_TOKENS] * 6, 1, len(GridPlace._fields), 1, N_PITCH_CLASSES]
_ENDS: Final = np.cumsum(_WIDTHS).tolist()
_PLACE: Final = {
    name: slice(end - width, end) for name, end, width in zip(Columns._fields, _ENDS, _WIDTHS, strict=True)
}
_SAMPLING: Final = slice(_PLACE["temperature"].start, _PLACE["min_p"].stop)


@dataclass(frozen=True)
class StepInputs:
    """Hold what a step must know of its rows, on the model's device.

    Attributes:
        numbers: see `Columns`; float32, which holds every token, shape = (n_rows, 41).
        legal: which notes are, shape = (n_rows, 16,513), or None for all.
        biases: nats to add for each instrument and rests, shape = (n_rows, 130), or None for zeros.
        recent: keys and nats to add to each, shape = (n_rows, 256) both, or None for zeros.
        levels: see `OnsetGrid`, shape = (n_rows, 12,288), or None if no row has a grid.
        chords: see `ChordTones`, shape = (n_rows, 1,024, 2), or None if no row is led to chords or a key.
        has_target: whether any row may have a target onset.
        has_forced: whether any row may have a forced event.
    """

    numbers: Tensor
    legal: Tensor | None
    biases: Tensor | None
    recent: tuple[Tensor, Tensor] | None
    levels: Tensor | None
    chords: Tensor | None
    has_target: bool
    has_forced: bool

    @cached_property
    def columns(self) -> Columns:
        """Views of `numbers` by name."""
        return Columns._make(torch.split(self.numbers, _WIDTHS, dim=1))

    @property
    def cache_lengths(self) -> Tensor:
        """How many tokens of each row the cache holds; shape = (n_rows,)."""
        return self.numbers[:, _PLACE["cache_length"].start].long()

    @property
    def is_steered(self) -> bool:
        """Whether any row has a grid, or is led to a key or chords, or away from recent notes."""
        return not (self.recent is None and self.levels is None and self.chords is None)


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
        self._biases: list[NDArray[np.float32] | None] = []
        self._has_recent = False
        self._had: set[str] = set()

    def reserve(self, n_rows: int) -> bool:
        """Make room for at least `n_rows`; return whether the buffers are others than before, and empty."""
        capacity = len(self._sequences)
        is_new = n_rows > capacity
        if is_new:
            n_rows = max(n_rows, 2 * capacity)
            self._host = _Buffers.neutral(n_rows, self._device)
            self._own = self._host if self._device.type == "cpu" else self._host.to(self._device)
            self._sequences, self._legal_notes = [None] * n_rows, [None] * n_rows
            self._biases, self._has_recent, self._had = [None] * n_rows, False, set()
        return is_new

    def load(self, sequences: AnySequence[Sequence]) -> StepInputs:
        """Take the inputs of the next step; row by row as the cache has them."""
        n_rows = len(sequences)
        self.reserve(n_rows)
        for row, sequence in enumerate(sequences):
            if self._sequences[row] is not sequence:
                self._sequences[row] = sequence
                self._begin(row, sequence)
        has_target, has_forced = self._load_numbers(sequences)
        has_grid = any(sequence.grid for sequence in sequences)
        is_led = any(sequence.chord_tones or sequence.key_biases for sequence in sequences)
        has_legal, has_biases = self._load_legal(sequences), self._load_biases(sequences)
        has_recent = self._load_recent(sequences)
        self._upload("numbers", 0, n_rows)
        own = self._own
        return StepInputs(
            own.numbers[:n_rows],
            own.legal[:n_rows] if has_legal else None,
            own.biases[:n_rows] if has_biases else None,
            (own.recent_keys[:n_rows], own.recent_biases[:n_rows]) if has_recent else None,
            own.levels[:n_rows] if has_grid else None,
            own.chords[:n_rows] if is_led else None,
            has_target,
            has_forced,
        )

    def all(self, n_rows: int, *, is_steered: bool) -> StepInputs:
        """Return the inputs of the first rows with everything that a row may have, for a step that is recorded.

        `is_steered`: whether also with a grid, a key, chords and recent notes.
        """
        own = self._own
        return StepInputs(
            own.numbers[:n_rows],
            own.legal[:n_rows],
            own.biases[:n_rows],
            (own.recent_keys[:n_rows], own.recent_biases[:n_rows]) if is_steered else None,
            own.levels[:n_rows] if is_steered else None,
            own.chords[:n_rows] if is_steered else None,
            has_target=True,
            has_forced=True,
        )

    def _begin(self, row: int, sequence: Sequence) -> None:
        """Take what stays as it is while the sequence has the row."""
        numbers = self._host.numbers.numpy()[row]
        numbers[_SAMPLING] = sequence.sampling_values
        numbers[_PLACE["key"]] = sequence.key_biases or NO_KEY
        if sequence.grid:
            self._host.levels.numpy()[row] = sequence.grid.levels
            self._upload("levels", row, row + 1)
        if sequence.chord_tones:
            self._host.chords.numpy()[row] = sequence.chord_tones.table
            self._upload("chords", row, row + 1)

    def _load_numbers(self, sequences: AnySequence[Sequence]) -> tuple[bool, bool]:
        """Take what every row has; return whether any has a target onset, and a forced event."""
        numbers = self._host.numbers.numpy()[: len(sequences)]
        numbers[:, _PLACE["pending"].start] = [sequence.window.pending for sequence in sequences]
        numbers[:, _PLACE["cache_length"].start] = [sequence.window.cache_length for sequence in sequences]
        numbers[:, _PLACE["earliest_onset"].start] = [sequence.earliest_onset for sequence in sequences]
        numbers[:, _PLACE["uniform"]] = [sequence.uniforms for sequence in sequences]
        numbers[:, _PLACE["shift"].start] = [sequence.shift for sequence in sequences]
        tones = [sequence.chord_tones for sequence in sequences]
        self._load_rare("chord_strength", [(each.strength,) if each else None for each in tones], (0,))
        self._load_rare("grid_place", [sequence.grid_place for sequence in sequences], NO_GRID)
        has_target = self._load_rare("target_onset", [sequence.target_onset for sequence in sequences], ANY_TIME)
        return has_target, self._load_rare("forced_event", [each.forced_event for each in sequences], NOT_FORCED)

    def _load_rare(self, name: str, values: AnySequence[tuple[float, ...] | None], neutral: tuple[float, ...]) -> bool:
        """Take numbers that few rows have, unless none has them now or had them before; return whether any has."""
        has = any(values)
        if has or name in self._had:
            numbers = self._host.numbers.numpy()[:, _PLACE[name]]
            numbers[:] = neutral  # all rows: some may have left since
            numbers[: len(values)] = [value or neutral for value in values]
            (self._had.add if has else self._had.remove)(name)
        return has

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
        """Take the rows whose biases are others than before; return whether any row has some."""
        biases = [sequence.note_biases for sequence in sequences]
        changed = [row for row, values in enumerate(biases) if values is not self._biases[row]]
        for row in changed:
            self._biases[row] = values = biases[row]
            self._host.biases.numpy()[row] = 0 if values is None else values
        if changed:  # together: what is steered changes in each step
            self._upload("biases", changed[0], changed[-1] + 1)
        return any(values is not None for values in biases)

    def _load_recent(self, sequences: AnySequence[Sequence]) -> bool:
        """Take the biases of recent keys, unless none has or had any; return whether any row has some."""
        varieties = [(row, sequence.variety) for row, sequence in enumerate(sequences) if sequence.variety]
        held_back = [
            (row, variety.keys, biases) for row, variety in varieties if (biases := variety.biases) is not None
        ]
        had_recent, self._has_recent = self._has_recent, bool(held_back)
        if had_recent:
            self._host.recent_biases.zero_()
        keys, biases = self._host.recent_keys.numpy(), self._host.recent_biases.numpy()
        for row, own_keys, own_biases in held_back:
            keys[row], biases[row] = own_keys, own_biases
        if had_recent or self._has_recent:
            self._upload("recent_keys", 0, len(keys))
            self._upload("recent_biases", 0, len(biases))
        return self._has_recent

    def _upload(self, name: str, start: int, end: int) -> None:
        if self._own is not self._host:
            getattr(self._own, name)[start:end].copy_(getattr(self._host, name)[start:end], non_blocking=True)


@dataclass(frozen=True)
class _Buffers:
    """Hold the tensors of `StepInputs` with all their rows."""

    numbers: Tensor
    legal: Tensor
    biases: Tensor
    recent_keys: Tensor
    recent_biases: Tensor
    levels: Tensor
    chords: Tensor

    @classmethod
    def neutral(cls, n_rows: int, device: torch.device) -> "_Buffers":
        """Return buffers on the host with rows that constrain nothing, in memory that the device can read."""
        numbers = torch.zeros(n_rows, sum(_WIDTHS))
        numbers[:, _PLACE["target_onset"]] = torch.tensor(ANY_TIME)
        numbers[:, _PLACE["forced_event"]] = torch.tensor(NOT_FORCED, dtype=torch.float32)
        numbers[:, _SAMPLING] = 1
        buffers = cls(
            numbers,
            legal=torch.ones(n_rows, NOTE.size, dtype=torch.bool),
            biases=torch.zeros(n_rows, N_INSTRUMENTS + 1),
            recent_keys=torch.zeros(n_rows, MAX_KEYS, dtype=torch.int64),
            recent_biases=torch.zeros(n_rows, MAX_KEYS),
            levels=torch.zeros(n_rows, TABLE_TICKS, dtype=torch.int8),
            chords=torch.zeros(n_rows, MAX_SPANS, 2, dtype=torch.int32),
        )
        return buffers._map(Tensor.pin_memory) if device.type == "cuda" else buffers

    def to(self, device: torch.device) -> "_Buffers":
        return self._map(lambda tensor: tensor.to(device))

    def _map(self, function: Callable[[Tensor], Tensor]) -> "_Buffers":
        return _Buffers(*(function(getattr(self, each.name)) for each in fields(self)))
