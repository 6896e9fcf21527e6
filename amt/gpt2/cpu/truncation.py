"""Truncate distributions, and draw, on CPUs, compiled by numba: PyTorch would sort thousands of probabilities.

Compiled code is kept until this file changes, whatever becomes of `cpu.kernels`: change both, if `exponential` changes.
"""

from typing import Final

import numpy as np
import torch
from numba import prange
from numpy.typing import NDArray
from torch import Tensor

from amt.gpt2.cpu.compiling import compiled, share
from amt.gpt2.cpu.kernels import REORDERED, exponential

_DIGIT: Final = 8
"""Bits of a float32 that a radix selection counts at a time."""

_LIKELY: Final = np.float32(2**-12)
"""Weights from here on, the largest being 1, are often few, and all that is kept is among them."""


def sample(logits: Tensor, params: Tensor, uniform: Tensor) -> Tensor:
    """Do what `amt.gpt2.sampling.sample` does, in one go; the last token stands in for a row that holds NaN, or none.

    Args:
        logits: shape = (n_rows, n_tokens), float32; -inf where illegal.
        params: temperature, top_p, top_k and min_p of each row; shape = (n_rows, 4), float32.
        uniform: from [0, 1), shape = (n_rows,), float32.
    """
    tokens = torch.empty(len(logits), dtype=torch.int64)
    share(_sample, logits.contiguous().numpy(), params.numpy(), uniform.contiguous().numpy(), tokens.numpy())
    return tokens


@compiled(parallel=True)
def _sample(
    logits: NDArray[np.float32], params: NDArray[np.float32], uniform: NDArray[np.float32], tokens: NDArray[np.int64]
) -> None:
    for row in prange(len(logits)):
        probabilities = np.empty(logits.shape[1], dtype=np.float32)
        truncate(logits[row], params[row], probabilities)
        tokens[row] = _draw(probabilities, uniform[row])


@compiled()
def truncate(logits: NDArray[np.float32], params: NDArray[np.float32], weights: NDArray[np.float32]) -> None:
    """Write what `amt.gpt2.sampling.truncated_by_sorting` returns for one row; NaN if it holds NaN, or no token.

    To find the last one kept, thousands of probabilities need not be sorted: a radix selection looks at their bits, the
    leading ones first, and sums up how probable all are together that share them.
    """
    temperature, top_p, top_k, min_p = params
    total = _weigh(logits, temperature, weights)
    limit = top_p * total if top_p < 1 else np.inf
    least = np.float32(0)
    if top_p < 1 or top_k > 0:
        least = _last_kept(weights, limit, int(top_k) if top_k > 0 else len(weights))
    least = max(least, min_p)  # the largest weight is 1
    for token in range(len(weights)):
        weight = weights[token]
        weights[token] = np.float32(0) if weight < least else weight / total


@compiled()
def _draw(probabilities: NDArray[np.float32], uniform: np.float32) -> int:
    """Draw a token as `amt.gpt2.sampling.draw` does; sums are double, and rounded, as PyTorch's are."""
    last, total = len(probabilities) - 1, 0.0
    for token in range(len(probabilities)):
        if probabilities[token] > 0:
            total += probabilities[token]
    wanted, total = (np.float32(1) - uniform) * np.float32(total), 0.0
    for token in range(last):
        if probabilities[token] > 0:  # most are dropped, and need not wait for the addition before
            total += probabilities[token]
            if np.float32(total) >= wanted:
                return token
    return last


@compiled(REORDERED)
def _weigh(logits: NDArray[np.float32], temperature: np.float32, weights: NDArray[np.float32]) -> np.float32:
    """Write the exponentials of logits, the largest 1, and return their sum."""
    largest = np.max(logits)
    if not largest > -np.inf:
        weights[:] = np.nan
        return np.float32(np.nan)
    for token in range(len(logits)):
        weight = exponential((logits[token] - largest) / temperature)
        weights[token] = np.float32(0) if logits[token] == -np.inf else weight
    return np.float32(weights.sum())


@compiled()
def _last_kept(weights: NDArray[np.float32], limit: float, max_kept: int) -> np.float32:
    """Return the smallest weight that is kept: the largest ones until their sum exceeds a limit, at most `max_kept`."""
    likely = weights[weights >= _LIKELY]
    enough = len(likely) >= max_kept or likely.astype(np.float64).sum() > limit
    left = (likely if enough else weights).view(np.uint32)  # of positive numbers these have the same order
    sums, counts = np.empty(1 << _DIGIT), np.empty(1 << _DIGIT, dtype=np.int64)
    total, count, found = 0.0, 0, np.uint32(0)
    for shift in range(32 - _DIGIT, -1, -_DIGIT):
        sums[:], counts[:] = 0, 0
        for bits in left:
            digit = (bits >> np.uint32(shift)) & np.uint32((1 << _DIGIT) - 1)
            sums[digit] += np.uint32(bits).view(np.float32)
            counts[digit] += 1
        last = (1 << _DIGIT) - 1
        while last > 0 and total + sums[last] <= limit and count + counts[last] < max_kept:
            total, count, last = total + sums[last], count + counts[last], last - 1
        found |= np.uint32(last << shift)
        left = left[left >> np.uint32(shift) == found >> np.uint32(shift)]
    return np.uint32(found).view(np.float32)
