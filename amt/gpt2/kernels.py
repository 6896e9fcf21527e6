"""Compute on CPUs, compiled by numba, what PyTorch does slowly: what lies between matrices, and truncation.

Compiled code is kept for the next start until its file changes; numba looks at no other, so all of this is here.
"""

from collections.abc import Callable
from functools import partial
from threading import Lock, local
from typing import Any, Final

import numba
import numpy as np
import torch
from numba import njit, prange
from numpy.typing import NDArray
from torch import Tensor

_DIGIT: Final = 8
"""Bits of a float32 that a radix selection counts at a time."""

_SMALLEST: Final = np.finfo(np.float32).tiny.view(np.uint32)
"""The bits of the smallest normal number, by which one may divide."""

_TWO_TO: Final = tuple(
    np.polynomial.Chebyshev.interpolate(np.exp2, 6, (0, 1)).convert(kind=np.polynomial.Polynomial).coef[::-1].tolist()
)
"""A polynomial that is 2**x from 0 to 1, highest power first."""

_REORDERED: Final = frozenset({"reassoc", "contract"})
"""Sums may be taken in whatever order suits vectors: it depends on a row's length and nothing else."""

_TORCH_THREADS: Final = torch.get_num_threads()
_MAX_THREADS: Final[int] = numba.get_num_threads()
torch.set_num_threads(_TORCH_THREADS)  # numba's start lets OpenMP, and so PyTorch, use all cores

_alone: Final = Lock()
"""Where there is no libgomp, numba's threads serve one caller at a time, and end the process if there are two."""

_used = local()
"""How many threads each caller uses, so that numba is told only if that changes: telling it takes 10 us."""


def share(function: Callable[..., Any], *arguments: Any) -> Any:
    """Call a compiled function that shares a loop among threads, as many as PyTorch uses."""
    number = min(torch.get_num_threads(), _MAX_THREADS)
    with _alone:
        if getattr(_used, "number", None) != number:
            numba.set_num_threads(number)
            _used.number = number
        return function(*arguments)


def compiled(fastmath: frozenset[str] = frozenset(), **options: bool) -> Callable[[Callable[..., Any]], Any]:
    """Return a decorator that compiles a function when it is first called; options are those of `numba.njit`."""
    # Python's division would look for zeros, one by one.
    compiled = partial(njit, nogil=True, error_model="numpy", fastmath=set(fastmath), **options)

    def compile_once(function: Callable[..., Any]) -> Any:
        try:
            return compiled(cache=True)(function)
        except RuntimeError:  # neither this folder nor the user's can be written to: some seconds at each start
            return compiled()(function)

    return compile_once


@compiled()
def exponential(x: np.float32) -> np.float32:
    """Return e**x of a number that is not positive, to 4e-6 of the result; unlike NumPy's it can be vectorised.

    It is 2**(x * log2 e): two to the whole part, by its bits, times two to the rest, by a polynomial; at least 2**-126.
    """
    power = max(np.float32(x) * np.float32(1.44269504), np.float32(-126))
    whole = np.floor(power)
    rest = power - whole
    two = np.float32(_TWO_TO[0])
    for coefficient in _TWO_TO[1:]:
        two = two * rest + np.float32(coefficient)
    return np.int32((np.int32(whole) + np.int32(127)) << np.int32(23)).view(np.float32) * two


def attend(
    product: NDArray[np.float32],
    absmax: NDArray[np.float32],
    bias: NDArray[np.float32],
    cached: NDArray[np.uint16],
    cache_lengths: NDArray[np.int64],
    scale: float,
    attended: NDArray[np.float32],
) -> None:
    """Put a token's keys and values into the cache, and attend to them and to all before them.

    PyTorch multiplies bfloat16 on a CPU at a tenth of the memory's speed. This reads it as fast as it comes, each row
    as far as it goes, and what a row gets depends on nothing but itself, to the bit.

    Args:
        product: with absmax and bias, see `amt.gpt2.cpu`, queries, keys and values; shape = (n_rows, 3 * width).
        absmax: shape = (n_rows,); gets those of the result.
        bias: shape = (3 * width,).
        cached: bits of keys and values; shape = (2, at least n_rows, n_heads, context_tokens, head_width).
        cache_lengths: where each row's token belongs, shape = (n_rows,).
        scale: of the products of queries and keys.
        attended: gets the result over its absmax; shape = (n_rows, width).
    """
    share(_attend, product, absmax, bias, cached, cache_lengths, np.float32(scale), attended)


@compiled(_REORDERED, parallel=True)
def _attend(
    product: NDArray[np.float32],
    absmax: NDArray[np.float32],
    bias: NDArray[np.float32],
    cached: NDArray[np.uint16],
    cache_lengths: NDArray[np.int64],
    scale: np.float32,
    attended: NDArray[np.float32],
) -> None:
    n_rows, width = attended.shape
    n_heads, head_width = cached.shape[2], cached.shape[4]
    for index in prange(n_rows * n_heads):
        head, row = index // n_rows, index % n_rows  # so that each thread gets some heads of all rows, long or short
        keys, values, end = cached[0, row, head], cached[1, row, head], cache_lengths[row]
        query = np.empty(head_width, dtype=np.float32)
        first = head * head_width
        for i in range(head_width):
            at = first + i
            query[i] = (product[row, at] * absmax[row] + bias[at]) * scale
            keys[end, i] = _to_bfloat16(product[row, width + at] * absmax[row] + bias[width + at])
            values[end, i] = _to_bfloat16(product[row, 2 * width + at] * absmax[row] + bias[2 * width + at])
        scores = np.empty(end + 1, dtype=np.float32)
        for token in range(end + 1):
            score = np.float32(0)
            for i in range(head_width):
                score += query[i] * _from_bfloat16(keys[token, i])
            scores[token] = score
        largest = scores.max()
        for token in range(end + 1):
            scores[token] = exponential(scores[token] - largest)
        total = scores.sum()
        seen = attended[row, first : first + head_width]
        seen[:] = 0
        for token in range(end + 1):
            weight = scores[token] / total
            for i in range(head_width):
                seen[i] += weight * _from_bfloat16(values[token, i])
    for row in range(n_rows):
        absmax[row] = _divide_by_absmax(attended[row])


@compiled()
def _divide_by_absmax(numbers: NDArray[np.float32]) -> np.float32:
    """Divide a row by its absolute maximum (but not by zero), and return that; NaN if any number is."""
    bits, largest = numbers.view(np.uint32), _SMALLEST
    for i in range(len(bits)):  # those of magnitudes have the same order, with NaN behind all
        largest = max(largest, np.uint32(bits[i] & np.uint32(0x7FFFFFFF)))
    absmax: np.float32 = _from_bits(largest)
    for i in range(len(numbers)):
        numbers[i] /= absmax
    return absmax


@compiled(_REORDERED)
def add(
    hidden: NDArray[np.float32],
    product: NDArray[np.float32],
    absmax: NDArray[np.float32],
    bias: NDArray[np.float32],
    norm: tuple[NDArray[np.float32], NDArray[np.float32]],
    epsilon: np.float32,
    normalised: NDArray[np.float32],
) -> None:
    """Add what a layer gives to the hidden states, in place, and normalise them for the next.

    Args:
        hidden: shape = (n_rows, width).
        product: shape = (n_rows, width).
        absmax: shape = (n_rows,); gets those of the result.
        bias: shape = (width,).
        norm: scale and shift, shape = (width,) each.
        epsilon: as layer normalisation has it.
        normalised: gets the result over its absmax; shape = (n_rows, width).
    """
    scale, shift = norm
    width = np.float32(hidden.shape[1])
    for row in range(len(hidden)):
        states, total = hidden[row], np.float32(0)
        for i in range(len(states)):
            states[i] += product[row, i] * absmax[row] + bias[i]
            total += states[i]
        mean, squares = total / width, np.float32(0)
        for i in range(len(states)):
            squares += (states[i] - mean) * (states[i] - mean)
        factor = np.float32(1) / np.sqrt(squares / width + epsilon)
        for i in range(len(states)):
            normalised[row, i] = (states[i] - mean) * factor * scale[i] + shift[i]
        absmax[row] = _divide_by_absmax(normalised[row])


def activate(inner: NDArray[np.float32], absmax: NDArray[np.float32], bias: NDArray[np.float32]) -> None:
    """Apply GELU to a layer's result, in place and over its absmax; shape = (n_rows, width), (n_rows,), (width,)."""
    share(_activate, inner, absmax, bias)


@compiled(parallel=True)
def _activate(inner: NDArray[np.float32], absmax: NDArray[np.float32], bias: NDArray[np.float32]) -> None:
    for row in prange(len(inner)):
        for i in range(inner.shape[1]):
            inner[row, i] = _gelu_of(inner[row, i] * absmax[row] + bias[i])
        absmax[row] = _divide_by_absmax(inner[row])


@compiled()
def _to_bfloat16(number: np.float32) -> np.uint16:
    """Return the bits of the nearest bfloat16."""
    bits = np.float32(number).view(np.uint32)
    return np.uint16((bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))) >> np.uint32(16))


@compiled()
def _from_bfloat16(bits: np.uint16) -> np.float32:
    """Return the bfloat16 of these bits."""
    number: np.float32 = _from_bits(np.uint32(bits) << np.uint32(16))
    return number


@compiled()
def _from_bits(bits: np.uint32) -> np.float32:
    return np.uint32(bits).view(np.float32)


def gelu(x: Tensor) -> Tensor:
    """Apply the Gaussian error linear unit, by its approximation with tanh, in place; PyTorch takes thrice as long.

    Source: Hendrycks and Gimpel 2016 (arXiv:1606.08415).
    """
    share(_gelu, x.numpy())
    return x


@compiled(parallel=True)
def _gelu(x: NDArray[np.float32]) -> None:
    for row in prange(len(x)):
        for i in range(x.shape[1]):
            x[row, i] = _gelu_of(x[row, i])


@compiled()
def _gelu_of(x: np.float32) -> np.float32:
    # x / 2 * (1 + tanh(y / 2)) is x / (1 + e**-y); of e**y and e**-y the one that cannot overflow.
    y = x * (np.float32(1.5957691216) + np.float32(0.0713548163) * x * x)
    power: np.float32 = exponential(-abs(y))
    return x * (np.float32(1) if y >= 0 else power) / (np.float32(1) + power)


def truncated_probabilities(logits: Tensor, params: Tensor) -> Tensor:
    """Return what `amt.gpt2.sampling.truncated_probabilities` does; NaN in a row that holds NaN, or no token.

    To find the last one kept, thousands of probabilities need not be sorted: a radix selection looks at their bits, the
    leading ones first, and sums up how probable all are together that share them.

    Args:
        logits: shape = (n_rows, n_tokens), float32; -inf where illegal.
        params: temperature, top_p, top_k and min_p of each row; shape = (n_rows, 4), float32.
    """
    probabilities = torch.empty(logits.shape, dtype=torch.float32)
    share(_keep, logits.contiguous().numpy(), params.numpy(), probabilities.numpy())
    return probabilities


@compiled(parallel=True)
def _keep(logits: NDArray[np.float32], params: NDArray[np.float32], probabilities: NDArray[np.float32]) -> None:
    for row in prange(len(logits)):
        temperature, top_p, top_k, min_p = params[row]
        weights = probabilities[row]
        total = _weigh(logits[row], temperature, weights)
        limit = top_p * total if top_p < 1 else np.inf
        least = np.float32(0)
        if top_p < 1 or top_k > 0:
            least = _last_kept(weights, limit, int(top_k) if top_k > 0 else len(weights))
        least = max(least, min_p)  # the largest weight is 1
        for token in range(len(weights)):
            weight = weights[token]
            weights[token] = np.float32(0) if weight < least else weight / total


@compiled(_REORDERED)
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
        while last > 0 and total + sums[last] <= limit and count + counts[last] < max_kept:
            total, count, last = total + sums[last], count + counts[last], last - 1
        found = (found << _DIGIT) | last
    return np.uint32(found).view(np.float32)
