"""The batched decoding loop: add sequences, step all of them by one event, take what has finished."""

from collections.abc import Iterable, Iterator

import numpy as np
import torch
from torch import Tensor

from amt import sampling
from amt.gpt2 import GPT2, Cache
from amt.sequence import HOP_EVENTS, Request, Sequence, Triple
from amt.vocab import N_INSTRUMENTS, NOTE, ONSET, SLOTS

PREFILL_TOKENS = 2_048
"""At once; more would be no faster, and its activations would take hundreds of megabytes."""


class Engine:
    """Decodes any number of sequences together. Between steps they may join and leave.

    A step is one event for every sequence: three passes, all rows in the same slot. A row that must take a given
    event (a control) is forced instead of sampled in that step.
    """

    def __init__(self, model: GPT2, hop_events: int = HOP_EVENTS) -> None:
        """`hop_events`: how many events a full window drops at once; 1 is exact, and slow past 339 events."""
        self.model = model
        self._hop_events = hop_events
        self._cache = Cache(model)
        self._sequences: list[Sequence] = []  # in the order of the cache's rows

    @property
    def is_idle(self) -> bool:
        """Whether there is nothing to step."""
        return not self._sequences

    def add(self, request: Request) -> Sequence:
        """Let a sequence join; it is decoded from the next step on.

        Raises:
            SequenceError: the request cannot be decoded.
        """
        sequence = Sequence(request, self._hop_events)
        self._sequences.append(sequence)
        return sequence

    @torch.inference_mode()
    def remove(self, sequence: Sequence) -> None:
        """Let a sequence leave; the last row moves into its place."""
        row = self._sequences.index(sequence)
        last = self._sequences.pop()
        if last is not sequence:
            self._sequences[row] = last
            if not last.needs_refill:
                self._cache.move(len(self._sequences), row, last.length)

    @torch.inference_mode()
    def step(self) -> list[Sequence]:
        """Decode one event of every sequence; the finished ones leave and are returned."""
        if self.is_idle:
            return []
        self._refill()
        sequences, device = self._sequences, self.model.device
        given = [sequence.given() for sequence in sequences]
        choices = [[sequence.request.top_p, *next(sequence.uniforms)] for sequence in sequences]
        top_p, *uniforms = torch.tensor(choices, device=device).unbind(1)
        tokens = torch.tensor([sequence.pending for sequence in sequences], device=device)
        lengths = [sequence.length for sequence in sequences]
        decoded = []
        for index, slot in enumerate(SLOTS):
            hidden = self.model.decode(tokens, [length + index for length in lengths], self._cache)
            logits = self.model.logits(hidden, slot)
            if slot is ONSET:
                self._forbid_past(logits)
            elif slot is NOTE:
                self._forbid_instruments(logits)
            tokens = sampling.draw(sampling.nucleus(logits, top_p), uniforms[index]).add_(slot.offset)
            if any(given):
                tokens = _forced(tokens, [event and event[index] for event in given])
            decoded.append(tokens)
        events: list[Triple] = torch.stack(decoded, dim=1).tolist()
        for sequence, event in zip(self._sequences, events, strict=True):
            sequence.append(event)
        finished = [sequence for sequence in self._sequences if sequence.finished]
        for sequence in finished:
            self.remove(sequence)
        return finished

    def _refill(self) -> None:
        """Compute the cache of every row whose window has moved; equal windows once."""
        self._cache.reserve(len(self._sequences))
        rows: dict[tuple[int, ...], list[int]] = {}
        for row, sequence in enumerate(self._sequences):
            if sequence.needs_refill and (window := tuple(sequence.refill())):
                rows.setdefault(window, []).append(row)
        for windows in _groups(rows):
            self._prefill(windows, [rows[window] for window in windows])

    def _prefill(self, windows: list[tuple[int, ...]], rows: list[list[int]]) -> None:
        """Each window into its rows."""
        device = self.model.device
        tokens = np.zeros((len(windows), max(map(len, windows))), dtype=np.int64)
        for index, window in enumerate(windows):
            tokens[index, : len(window)] = window
        targets = torch.tensor([row for each in rows for row in each], device=device)
        source = torch.tensor([index for index, each in enumerate(rows) for _ in each], device=device)
        self.model.prefill(torch.from_numpy(tokens).to(device), self._cache, targets, source)

    def _forbid_past(self, logits: Tensor) -> None:
        earliest = [sequence.earliest for sequence in self._sequences]
        sampling.forbid_past(logits, torch.tensor(earliest, device=logits.device))

    def _forbid_instruments(self, logits: Tensor) -> None:
        allowed = [sequence.allowed_instruments for sequence in self._sequences]
        if any(row is not None for row in allowed):
            every = np.ones(N_INSTRUMENTS, dtype=bool)
            rows = np.stack([every if row is None else row for row in allowed])
            sampling.forbid_instruments(logits, torch.from_numpy(rows).to(logits.device))


def _groups(windows: Iterable[tuple[int, ...]]) -> Iterator[list[tuple[int, ...]]]:
    """Windows of similar lengths, as many at a time as make up PREFILL_TOKENS with their padding; at least one."""
    group: list[tuple[int, ...]] = []
    for window in sorted(windows, key=len):
        if group and (len(group) + 1) * len(window) > PREFILL_TOKENS:
            yield group
            group = []
        group.append(window)
    if group:
        yield group


def _forced(tokens: Tensor, given: list[int | None]) -> Tensor:
    """The tokens, those that are given in their place; shape = (n_rows,)."""
    wanted = torch.tensor([-1 if token is None else token for token in given], device=tokens.device)
    return torch.where(wanted >= 0, wanted, tokens)
