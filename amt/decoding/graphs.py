"""Steps recorded as CUDA graphs: one launch in place of a thousand."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from amt import passes
from amt.gpt2 import GPT2, Cache
from amt.vocab import CONTEXT_TOKENS, EVENT_TOKENS

logger = logging.getLogger("anticipatory")

FEW_ROWS: Final = 8
"""So many rows are rounded up to a power of two, more to a multiple of this."""

REACH_TOKENS: Final = 256
"""Lengths are rounded up to this: every one that is met is recorded."""


@dataclass(frozen=True)
class _Graph:
    """A recorded step, and where it reads and writes."""

    inputs: passes.Inputs
    replay: Callable[[], Tensor]


class Graphs:
    """Runs steps, each from the recording of one of its kind: as many rows, as far a reach, wishes or none.

    A kind is recorded when it is first met, which takes some steps' time. On other devices than CUDA nothing is
    recorded, but everything else is the same.
    """

    def __init__(self, model: GPT2, cache: Cache) -> None:
        self._model, self._cache = model, cache
        self._memory: Tensor | None = None
        self._recorded: dict[tuple[int, int, bool], _Graph] = {}
        self._pool = torch.cuda.graph_pool_handle() if model.device.type == "cuda" else None

    def decode(self, given: passes.Inputs, longest: int) -> Tensor:
        """The next event of each of the first rows of the cache; shape = (n_rows, 3).

        Args:
            given: on the host.
            longest: the most tokens that the cache holds of a row.
        """
        n_rows = len(given.numbers)
        n_padded, reach = padded_rows(n_rows), padded_reach(longest + EVENT_TOKENS)
        self._cache.reserve(n_padded)
        if self._memory is not self._cache.data:  # it has grown: what was recorded reads and writes the old one
            self._recorded.clear()
            self._memory = self._cache.data
        kind = n_padded, reach, given.legal is not None or given.biases is not None
        if kind not in self._recorded:
            self._recorded[kind] = self._record(*kind, given)
        graph = self._recorded[kind]
        graph.inputs.fill(given)
        return graph.replay()[:n_rows]

    def _record(self, n_rows: int, reach: int, has_wishes: bool, given: passes.Inputs) -> _Graph:
        inputs = passes.Inputs.neutral(n_rows, has_wishes).to(self._model.device)

        def run() -> Tensor:
            return passes.decode(self._model, self._cache, inputs, passes.ends(inputs), reach)

        if self._pool is None:
            return _Graph(inputs, run)
        inputs.fill(given)
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
    """How many rows are decoded in place of so many."""
    return 1 << (n_rows - 1).bit_length() if n_rows <= FEW_ROWS else -(-n_rows // FEW_ROWS) * FEW_ROWS


def padded_reach(n_tokens: int) -> int:
    """How far a step looks in place of so far."""
    return min(-(-n_tokens // REACH_TOKENS) * REACH_TOKENS, CONTEXT_TOKENS)
