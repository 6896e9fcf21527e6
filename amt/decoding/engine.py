"""Decode many sequences as one batch: add them, step all by one event, take those that have finished."""

from contextlib import nullcontext
from typing import Final

import numpy as np
import torch

from amt.decoding import step
from amt.decoding.graphs import Graphs
from amt.decoding.inputs import InputBuffers
from amt.decoding.request import DecodeRequest
from amt.decoding.sequence import Sequence
from amt.decoding.window import HOP_EVENTS
from amt.gpt2.network import GPT2, rounded_length
from amt.gpt2.threads import ThreadTuner
from amt.tokens.events import Triple
from amt.tokens.vocab import EVENT_TOKENS

PREFILL_TOKENS: Final = 2_048
CUDA_PREFILL_TOKENS: Final = 16_384
"""At once, and in one step. On a CPU more would be no faster, and its activations would take hundreds of megabytes."""

CUDA_ROWS: Final = 32
"""Cache rows that are there from the start where steps are recorded: growing would make all recordings void."""


class Engine:
    """Decode any number of sequences together; between steps they may join and leave.

    A step is one event for every sequence, which need not take it: three passes, all rows in the same slot. A row that
    must take a given event (a control) is forced instead of sampled in that step.
    """

    def __init__(
        self,
        model: GPT2,
        hop_events: int = HOP_EVENTS,
        *,
        max_rows: int | None = None,
        as_graphs: bool | None = None,
    ) -> None:
        """Begin without sequences.

        Args:
            model: see `amt.decoding.model`.
            hop_events: how many events a full window drops at once; 1 is exact, and slow past 339 events.
            max_rows: for so many sequences there is memory, so the cache does not grow beyond; None if unknown.
            as_graphs: whether steps are arranged as CUDA graphs need them; by default where there is CUDA.
        """
        self.model = model
        self._hop_events = hop_events
        self._cache = model.new_cache(max_rows)
        self._inputs = InputBuffers(model.device)
        self._sequences: list[Sequence] = []  # in the order of the cache's rows
        is_cuda = model.device.type == "cuda"
        as_graphs = is_cuda if as_graphs is None else as_graphs
        self.graphs = Graphs(model, self._cache, self._inputs) if as_graphs else None
        self._n_first_rows = min(CUDA_ROWS, max_rows or CUDA_ROWS) if is_cuda else 1
        self._prefill_tokens = CUDA_PREFILL_TOKENS if is_cuda else PREFILL_TOKENS
        # What is launched or recorded goes to the current device, which need not be the model's.
        self._current_device = torch.cuda.device(model.device) if is_cuda else nullcontext()
        # Elsewhere the music might depend on the number of threads.
        self._threads = ThreadTuner(torch.get_num_threads()) if model.is_reproducible else None

    @property
    def is_idle(self) -> bool:
        """Whether there is nothing to step."""
        return not self._sequences

    @property
    def cache_bytes(self) -> int:
        """Bytes of keys and values; they never become fewer."""
        return self._cache.data.nbytes

    def add(self, request: DecodeRequest) -> Sequence:
        """Let a sequence join; it is decoded from the next step on.

        Raises:
            SequenceError: the request cannot be decoded.
            RuntimeError: there is no memory for one more.
        """
        sequence = Sequence(request, self._hop_events)
        self._cache.reserve(max(len(self._sequences) + 1, self._n_first_rows))
        self._sequences.append(sequence)
        return sequence

    @torch.inference_mode()
    def remove(self, sequence: Sequence) -> None:
        """Let a sequence leave; the last row moves into its place."""
        row = self._sequences.index(sequence)
        last = self._sequences.pop()
        if last is not sequence:
            self._sequences[row] = last
            if not last.window.needs_refill:
                self._cache.move(len(self._sequences), row, last.window.cache_length)

    @torch.inference_mode()
    def step(self) -> list[Sequence]:
        """Decode one event of every sequence; the finished ones leave and are returned.

        When many windows must be computed again that takes several steps, which decode nothing: whoever calls has
        other things to do meanwhile. A step that raises can be repeated, perhaps with fewer sequences.
        """
        with self._current_device:
            if self.is_idle or not self._refill():
                return []
            with self._threads.measured(len(self._sequences)) if self._threads else nullcontext():
                events = self._decode()
        for sequence, event in zip(self._sequences, events, strict=True):
            sequence.append(event)
        finished = [sequence for sequence in self._sequences if sequence.finished]
        for sequence in finished:
            self.remove(sequence)
        return finished

    @torch.inference_mode()
    def record_next(self) -> bool:
        """Record one kind of step ahead of its first use; return whether more are missing. For when nothing waits."""
        if not self.graphs:
            return False
        with self._current_device:
            return self.graphs.record_next(self._n_first_rows)

    def _decode(self) -> list[Triple]:
        """Return the next event of each sequence."""
        if self.graphs:
            self.graphs.reserve(len(self._sequences))
        inputs = self._inputs.load(self._sequences)
        lengths = [sequence.window.cache_length for sequence in self._sequences]
        if self.graphs:
            decoded = self.graphs.decode(len(self._sequences), max(lengths), is_steered=inputs.is_steered)
        else:
            # One number is less work for a CPU.
            cache_lengths = lengths[0] if len(set(lengths)) == 1 else inputs.cache_lengths
            attention_length = rounded_length(max(lengths) + EVENT_TOKENS)
            decoded = step.decode(self.model, self._cache, inputs, cache_lengths, attention_length)
        events: list[Triple] = decoded.tolist()
        return events

    def _refill(self) -> bool:
        """Fill the cache of rows whose window has moved, as many as a step may; return whether that was all."""
        left = self._prefill_tokens
        while moved := [row for row, sequence in enumerate(self._sequences) if sequence.window.needs_refill]:
            if left <= 0:
                return False
            left -= self._refill_alike(moved)
        return True

    def _refill_alike(self, moved: list[int]) -> int:
        """Fill the windows as long as that of the first row, equal ones once; return how many tokens that was."""
        length = rounded_length(self._sequences[moved[0]].window.n_tokens)
        rows: dict[tuple[int, ...], list[int]] = {}
        for row in moved:
            window = self._sequences[row].window
            if rounded_length(window.n_tokens) == length:
                tokens = tuple(window.tokens())
                if tokens in rows or not rows or (len(rows) + 1) * length <= self._prefill_tokens:
                    rows.setdefault(tokens, []).append(row)
        if length:
            self._prefill(length, rows)
        for each in rows.values():
            for row in each:
                self._sequences[row].window.refilled()
        return length * len(rows)

    def _prefill(self, length: int, rows: dict[tuple[int, ...], list[int]]) -> None:
        """Compute each window, padded to `length` tokens, into its rows."""
        device = self.model.device
        tokens = np.zeros((len(rows), length), dtype=np.int64)
        for index, window in enumerate(rows):
            tokens[index, : len(window)] = window
        targets = torch.tensor([row for each in rows.values() for row in each], device=device)
        source = torch.tensor([index for index, each in enumerate(rows.values()) for _ in each], device=device)
        self.model.prefill(torch.from_numpy(tokens).to(device), self._cache, targets, source)
