"""Record steps as CUDA graphs: one launch in place of a thousand."""

import logging
import time
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

import torch
from torch import Tensor

from amt.decoding import step
from amt.decoding.inputs import InputBuffers
from amt.gpt2.cache import Cache
from amt.gpt2.network import GPT2
from amt.tokens.vocab import CONTEXT_TOKENS, EVENT_TOKENS

logger = logging.getLogger("anticipatory")

ROWS_MULTIPLE: Final = 8
"""Up to so many, rows are rounded up to a power of two; beyond, to a multiple of this."""

LENGTHS: Final = (256, 512, CONTEXT_TOKENS)
"""How far attention looks, unless it reads each row as far as it goes; each is recorded, so there are few."""


class Kind(NamedTuple):
    """Tell steps apart that need a recording of their own.

    Those that steer take more work, and are recorded at their first use.
    """

    n_rows: int
    attention_length: int
    is_steered: bool = False


class Recording(NamedTuple):
    """Hold a step that can be run again, and what recording it took; 0 bytes and seconds if it is not recorded."""

    replay: Callable[[], Tensor]
    seconds: float = 0.0
    n_bytes: int = 0


class Graphs:
    """Run steps, each from the recording of its kind.

    All kinds read and write the same buffers: a recording that is of fewer rows uses the first ones. On other devices
    than CUDA nothing is recorded, but everything else is the same.

    Attributes:
        recordings: by kind.
        has_failed: whether a recording has failed. Then no other is tried, and steps run as they are, and slower.
    """

    def __init__(self, model: GPT2, cache: Cache, inputs: InputBuffers) -> None:
        self._model, self._cache, self._inputs = model, cache, inputs
        self.recordings: dict[Kind, Recording] = {}
        self.has_failed = False
        self._memory: Tensor | None = None
        self._lengths = LENGTHS[-1:] if model.is_fused else LENGTHS
        self._records = model.device.type == "cuda"
        # One for warm-up and capture: the workspace of cuBLAS belongs to a stream and stays where it was first needed.
        self._stream = torch.cuda.Stream(model.device) if self._records else None  # type: ignore[no-untyped-call]

    def decode(self, n_rows: int, max_cache_length: int, *, is_steered: bool) -> Tensor:
        """Decode the next event of each of the first rows of the cache; shape = (n_rows, 3).

        Args:
            n_rows: there is room for them, see `reserve`, and their inputs have been loaded.
            max_cache_length: the most tokens that the cache holds of a row.
            is_steered: see `StepInputs`.
        """
        kind = Kind(padded_rows(n_rows), padded_length(max_cache_length + EVENT_TOKENS, self._lengths), is_steered)
        if kind not in self.recordings:
            self.recordings[kind] = self._record(kind)
        return self.recordings[kind].replay()[:n_rows]

    def record_next(self, max_rows: int) -> bool:
        """Record one kind that is still missing; return whether more are. For when nothing waits.

        Args:
            max_rows: no kind has more rows, but for padding.
        """
        if self.has_failed or not self._records:
            return False
        self.reserve(max_rows)
        n_rows = sorted({padded_rows(n) for n in range(1, max_rows + 1)})
        missing = [
            Kind(n, length) for n in n_rows for length in self._lengths if Kind(n, length) not in self.recordings
        ]
        if missing:
            self.recordings[missing[0]] = self._record(missing[0])
        return len(missing) > 1

    def reserve(self, n_rows: int) -> None:
        """Make room in the cache and the inputs, before any are loaded; what was recorded with smaller ones is void."""
        self._cache.reserve(padded_rows(n_rows))
        has_new_inputs = self._inputs.reserve(padded_rows(n_rows))
        if has_new_inputs or self._memory is not self._cache.data:
            self.recordings.clear()
            self._memory = self._cache.data
            # Graphs that are gone may have left memory in their pool that other pools' graphs would be given.
            self._pool = torch.cuda.graph_pool_handle() if self._records else None

    def _record(self, kind: Kind) -> Recording:
        inputs = self._inputs.all(kind.n_rows, is_steered=kind.is_steered)

        def run() -> Tensor:
            return step.decode(self._model, self._cache, inputs, inputs.cache_lengths, kind.attention_length)

        if not self._records or self.has_failed:
            return Recording(run)
        start = time.perf_counter()
        torch.cuda.empty_cache()  # as recording does, or what it gives back would count as less than nothing
        reserved = torch.cuda.memory_reserved(self._model.device)
        try:
            replay = self._capture(run)
        except (torch.OutOfMemoryError, torch.AcceleratorError):
            raise
        except Exception as error:  # of Triton, too: what is recorded while nothing waits must not end the worker
            self.has_failed = True
            logger.warning("steps run without CUDA graphs, and slower: %s", error)
            return Recording(run)
        n_bytes = torch.cuda.memory_reserved(self._model.device) - reserved
        return Recording(replay, time.perf_counter() - start, n_bytes)

    def _capture(self, run: Callable[[], Tensor]) -> Callable[[], Tensor]:
        """Return what replays a step. Raise RuntimeError if it cannot be captured, or decodes something else."""
        assert self._stream is not None
        current = torch.cuda.current_stream(self._model.device)
        self._stream.wait_stream(current)
        with torch.cuda.stream(self._stream):
            # Twice: a step writes nothing that it would not write again, and the first one sets up the libraries.
            run()
            expected = run()
        graph = torch.cuda.CUDAGraph()
        # Others may be loading meanwhile, in other threads.
        with torch.cuda.graph(graph, pool=self._pool, stream=self._stream, capture_error_mode="thread_local"):
            decoded = run()
        current.wait_stream(self._stream)
        decoded.fill_(-1)  # so that an empty graph does not pass
        graph.replay()
        if not torch.equal(decoded, expected):
            raise RuntimeError("a replay decoded something else")

        def replay() -> Tensor:
            graph.replay()
            return decoded

        return replay


def padded_rows(n_rows: int) -> int:
    """Return how many rows are decoded when there are `n_rows`."""
    return 1 << (n_rows - 1).bit_length() if n_rows <= ROWS_MULTIPLE else -(-n_rows // ROWS_MULTIPLE) * ROWS_MULTIPLE


def padded_length(n_tokens: int, lengths: Sequence[int] = LENGTHS) -> int:
    """Return how far attention looks when rows hold up to `n_tokens`: the least of these lengths, shortest first."""
    return next(length for length in lengths if length >= n_tokens)
