"""The batched decoding loop: add sequences, step all of them by one event, take what has finished."""

from contextlib import nullcontext

import numpy as np
import torch
from torch import Tensor

from amt import sampling
from amt.gpt2 import GPT2, Cache, rounded_up
from amt.sequence import HOP_EVENTS, Request, Sequence, Triple
from amt.steering import STEERING_SECONDS
from amt.threads import Threads
from amt.vocab import N_INSTRUMENTS, NOTE, ONSET, SLOTS, TICKS_PER_SECOND

PREFILL_TOKENS = 2_048
"""At once, and in one step; more would be no faster, and its activations would take hundreds of megabytes."""

ANY_NOTE = np.ones(NOTE.size, dtype=np.bool_)
NO_BIAS = np.zeros(N_INSTRUMENTS + 1, dtype=np.float32)


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
        # Elsewhere the music might depend on the number.
        self._threads = Threads(torch.get_num_threads()) if model.is_reproducible else None

    @property
    def is_idle(self) -> bool:
        """Whether there is nothing to step."""
        return not self._sequences

    @property
    def cache_bytes(self) -> int:
        """What keys and values take; it never shrinks."""
        return self._cache.data.nbytes

    def add(self, request: Request) -> Sequence:
        """Let a sequence join; it is decoded from the next step on.

        Raises:
            SequenceError: the request cannot be decoded.
            RuntimeError: there is no memory for one more.
        """
        sequence = Sequence(request, self._hop_events)
        self._cache.reserve(len(self._sequences) + 1)
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
        """Decode one event of every sequence; the finished ones leave and are returned.

        When many windows must be computed again that takes several steps, which decode nothing: whoever calls has
        other things to do meanwhile. A step that raises can be repeated, perhaps with fewer sequences.
        """
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

    def _decode(self) -> list[Triple]:
        """The next event of each sequence."""
        sequences, device = self._sequences, self.model.device
        given = [sequence.given() for sequence in sequences]
        columns = torch.tensor([_choices(sequence) for sequence in sequences], device=device).unbind(1)
        tokens = torch.tensor([sequence.pending for sequence in sequences], device=device)
        lengths = [sequence.length for sequence in sequences]
        decoded = []
        for index, slot in enumerate(SLOTS):
            hidden = self.model.decode(tokens, [length + index for length in lengths], self._cache)
            logits = self.model.logits(hidden, slot)
            if slot is ONSET:
                self._steer_onsets(logits)
            elif slot is NOTE:
                self._steer_notes(logits)
            *choice, uniform = columns[index :: len(SLOTS)]
            tokens = sampling.draw(sampling.kept(logits, sampling.Choice(*choice)), uniform).add_(slot.offset)
            if any(given):
                tokens = _forced(tokens, [event and event[index] for event in given])
            decoded.append(tokens)
        events: list[Triple] = torch.stack(decoded, dim=1).tolist()
        return events

    def _refill(self) -> bool:
        """Compute the cache of rows whose window has moved, as many as a step may; whether that was all of them."""
        left = PREFILL_TOKENS
        while moved := [row for row, sequence in enumerate(self._sequences) if sequence.needs_refill]:
            if left <= 0:
                return False
            left -= self._refill_alike(moved)
        return True

    def _refill_alike(self, moved: list[int]) -> int:
        """Compute the windows as long as that of the first row, equal ones once; how many tokens that was."""
        reach = rounded_up(self._sequences[moved[0]].window_tokens)
        rows: dict[tuple[int, ...], list[int]] = {}
        for row in moved:
            sequence = self._sequences[row]
            if rounded_up(sequence.window_tokens) == reach:
                window = tuple(sequence.window())
                if window in rows or not rows or (len(rows) + 1) * reach <= PREFILL_TOKENS:
                    rows.setdefault(window, []).append(row)
        if reach:
            self._prefill(reach, rows)
        for each in rows.values():
            for row in each:
                self._sequences[row].refilled()
        return reach * len(rows)

    def _prefill(self, reach: int, rows: dict[tuple[int, ...], list[int]]) -> None:
        """Each window, padded to `reach` tokens, into its rows."""
        device = self.model.device
        tokens = np.zeros((len(rows), reach), dtype=np.int64)
        for index, window in enumerate(rows):
            tokens[index, : len(window)] = window
        targets = torch.tensor([row for each in rows.values() for row in each], device=device)
        source = torch.tensor([index for index, each in enumerate(rows.values()) for _ in each], device=device)
        self.model.prefill(torch.from_numpy(tokens).to(device), self._cache, targets, source)

    def _steer_onsets(self, logits: Tensor) -> None:
        due = [sequence.due for sequence in self._sequences]
        if any(due):
            spans = torch.tensor([span or (-torch.inf, torch.inf) for span in due], device=logits.device)
            sampling.pull_onsets(logits, spans[:, 0], spans[:, 1], STEERING_SECONDS * TICKS_PER_SECOND)
        earliest = [sequence.earliest for sequence in self._sequences]
        sampling.forbid_past(logits, torch.tensor(earliest, device=logits.device))

    def _steer_notes(self, logits: Tensor) -> None:
        for steer, rows, neutral in (
            (sampling.forbid_notes, [sequence.request.wishes.legal_notes for sequence in self._sequences], ANY_NOTE),
            (sampling.bias_notes, [sequence.note_biases for sequence in self._sequences], NO_BIAS),
        ):
            if any(row is not None for row in rows):
                stacked = np.stack([neutral if row is None else row for row in rows])
                steer(logits, torch.from_numpy(stacked).to(logits.device))


def _choices(sequence: Sequence) -> list[float]:
    """Temperature, top_p, top_k, min_p and a random number, each for three slots."""
    samplings = [sampling.divisible() for sampling in sequence.request.sampling]
    return [value for values in (*zip(*samplings, strict=True), sequence.uniforms) for value in values]


def _forced(tokens: Tensor, given: list[int | None]) -> Tensor:
    """The tokens, those that are given in their place; shape = (n_rows,)."""
    wanted = torch.tensor([-1 if token is None else token for token in given], device=tokens.device)
    return torch.where(wanted >= 0, wanted, tokens)
