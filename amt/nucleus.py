"""Which tokens are likely enough to be drawn, on a CPU, compiled by numba.

To find the last one kept, thousands of probabilities need not be sorted: a radix selection looks at their bits, the
leading ones first, and sums up how probable all are together that share them. See `amt.sampling.kept`.
"""

from typing import Final

import numpy as np
import torch
from numba import prange
from numpy.typing import NDArray
from torch import Tensor

from amt.compiled import alone, compiled, use_threads
from amt.elementwise import exponential

_DIGIT: Final = 8
"""Bits of a float32 that are counted at a time."""


def kept(logits: Tensor, choices: Tensor) -> Tensor:
    """Probabilities, zero where a token is not kept; choices are temperature, top_p, top_k and min_p of each row.

    Args:
        logits: shape = (n_rows, n_tokens); -inf where illegal.
        choices: shape = (n_rows, 4), float32.
    """
    probabilities = torch.empty(logits.shape)
    with alone:
        use_threads(torch.get_num_threads())
        _keep(logits.contiguous().numpy(), choices.numpy(), probabilities.numpy())
    return probabilities


@compiled(parallel=True)
def _keep(logits: NDArray[np.float32], choices: NDArray[np.float32], probabilities: NDArray[np.float32]) -> None:
    for row in prange(len(logits)):
        temperature, top_p, top_k, min_p = choices[row]
        weights = probabilities[row]
        total = _weigh(logits[row], temperature, weights)
        limit = top_p * total if top_p < 1 else np.inf
        least = np.float32(0)
        if top_p < 1 or top_k > 0:
            least = _last_kept(weights, limit, int(top_k) if top_k > 0 else len(weights))
        least = max(least, min_p)  # the largest weight is 1
        for token in range(len(weights)):
            weight = weights[token]
            weights[token] = weight / total if weight >= least else np.float32(0)


@compiled(reorders=True)
def _weigh(logits: NDArray[np.float32], temperature: np.float32, weights: NDArray[np.float32]) -> np.float32:
    """The exponentials of logits, the largest 1; returns their sum."""
    largest = logits.max()
    for token in range(len(logits)):
        weight = exponential((logits[token] - largest) / temperature)
        weights[token] = np.float32(0) if logits[token] == -np.inf else weight
    return np.float32(weights.sum())


@compiled()
def _last_kept(weights: NDArray[np.float32], limit: float, most: int) -> np.float32:
    """The smallest weight among the largest: so many that they sum to more than a limit, and no more than `most`."""
    bits = weights.view(np.uint32)  # of positive numbers these have the same order
    sums, counts = np.empty(1 << _DIGIT), np.empty(1 << _DIGIT, dtype=np.int64)
    total, count, found = 0.0, 0, 0
    for shift in range(32 - _DIGIT, -1, -_DIGIT):
        sums[:], counts[:] = 0, 0
        for token in range(len(bits)):
            digits = int(bits[token]) >> shift
            if digits >> _DIGIT == found:
                digit = digits & ((1 << _DIGIT) - 1)
                sums[digit] += weights[token]
                counts[digit] += 1
        last = (1 << _DIGIT) - 1
        while last > 0 and total + sums[last] <= limit and count + counts[last] < most:
            total, count, last = total + sums[last], count + counts[last], last - 1
        found = (found << _DIGIT) | last
    return np.uint32(found).view(np.float32)
