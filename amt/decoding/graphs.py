"""Record steps as CUDA graphs: one launch in place of a thousand."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from amt.decoding import step
from amt.decoding.step import StepInputs
from amt.gpt2.cache import Cache
from amt.gpt2.network import GPT2
from amt.tokens.vocab import CONTEXT_TOKENS, EVENT_TOKENS

logger = logging.getLogger("anticipatory")

FEW_ROWS: Final = 8
"""Up to so many, rows are rounded up to a power of two; beyond, to a multiple of this."""

LENGTH_MULTIPLE: Final = 256
"""Lengths are rounded up to this: every length that is met is recorded."""


@dataclass(frozen=True)
class _Graph:
    """Hold a recorded step, and where it reads and writes."""

    inputs: StepInputs
    replay: Callable[[], Tensor]


class Graphs:
    """Run steps, each from the recording of its kind: number of rows, attention length, constraints or none.

    A kind is recorded when it is first met, which takes some steps' time. On other devices than CUDA nothing is
    recorded, but everything else is the same.
    """

    def __init__(self, model: GPT2, cache: Cache) -> None:
        self._model, self._cache = model, cache
        self._memory: Tensor | None = None
        self._recorded: dict[tuple[int, int, bool], _Graph] = {}
        self._pool = torch.cuda.graph_pool_handle() if model.device.type == "cuda" else None

    def decode(self, inputs: StepInputs, max_cache_length: int) -> Tensor:
        """Decode the next event of each of the first rows of the cache; shape = (n_rows, 3).

        Args:
            inputs: on the host.
            max_cache_length: the most tokens that the cache holds of a row.
        """
        n_rows = len(inputs.numbers)
        n_padded, length = padded_rows(n_rows), padded_length(max_cache_length + EVENT_TOKENS)
        self._cache.reserve(n_padded)
        if self._memory is not self._cache.data:  # it has grown: what was recorded reads and writes the old one
            self._recorded.clear()
            self._memory = self._cache.data
        kind = n_padded, length, inputs.legal is not None or inputs.biases is not None
        if kind not in self._recorded:
            self._recorded[kind] = self._record(*kind, inputs)
        graph = self._recorded[kind]
        graph.inputs.fill(inputs)
        return graph.replay()[:n_rows]

    def _record(self, n_rows: int, length: int, has_constraints: bool, first: StepInputs) -> _Graph:
        inputs = StepInputs.neutral(n_rows, has_constraints).to(self._model.device)

        def run() -> Tensor:
            return step.decode(self._model, self._cache, inputs, inputs.cache_lengths, length)

        if self._pool is None:
            return _Graph(inputs, run)
        inputs.fill(first)
        try:
            # Twice: a step writes nothing that it would not write again, and the first one sets up the libraries.
            stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
            stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(stream):
                run()
                expected = run()
            torch.cuda.current_stream().wait_stream(stream)
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph, pool=self._pool, capture_error_mode="thread_local"):  # others may be loading
                decoded = run()
            graph.replay()
            if not torch.equal(decoded, expected):
                raise RuntimeError("a replay decoded something else")
        except RuntimeError as error:  # if the device were lost, what follows would say so
            logger.warning("steps of %d rows run without a CUDA graph, and slower: %s", n_rows, error)
            return _Graph(inputs, run)

        def replay() -> Tensor:
            graph.replay()
            return decoded

        return _Graph(inputs, replay)


def padded_rows(n_rows: int) -> int:
    """Return how many rows are decoded when there are `n_rows`."""
    return 1 << (n_rows - 1).bit_length() if n_rows <= FEW_ROWS else -(-n_rows // FEW_ROWS) * FEW_ROWS


def padded_length(n_tokens: int) -> int:
    """Return how far attention looks when rows hold up to `n_tokens`."""
    return min(-(-n_tokens // LENGTH_MULTIPLE) * LENGTH_MULTIPLE, CONTEXT_TOKENS)
