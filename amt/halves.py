"""Attention of one query in each row over a cache of bfloat16 on a CPU, compiled by numba."""

from collections.abc import Callable
from functools import partial
from threading import Lock
from typing import Any, Final

import numba
import numpy as np
from numba import njit, prange
from numpy.typing import NDArray

_TWO_TO: Final = tuple(
    np.polynomial.Chebyshev.interpolate(np.exp2, 6, (0, 1)).convert(kind=np.polynomial.Polynomial).coef[::-1].tolist()
)
"""A polynomial that is 2**x from 0 to 1, highest power first."""

_alone: Final = Lock()
"""Where there is no libgomp, numba's threads serve one caller at a time, and end the process if there are two."""

_MOST_THREADS: Final[int] = numba.get_num_threads()


def _compiled(**options: bool) -> Callable[[Callable[..., Any]], Any]:
    # Sums may be taken in whatever order suits vectors: it depends on a row's length and nothing else.
    compiled = partial(njit, nogil=True, fastmath={"reassoc", "contract"}, **options)

    def compile_once(function: Callable[..., Any]) -> Any:
        try:
            return compiled(cache=True)(function)
        except RuntimeError:  # neither this folder nor the user's can be written to: four seconds at each start
            return compiled()(function)

    return compile_once


def use_threads(number: int) -> None:
    """Attend with so many from now on, or with as many as there are cores."""
    numba.set_num_threads(min(number, _MOST_THREADS))


def attend(
    qkv: NDArray[np.float32], cached: NDArray[np.uint16], ends: NDArray[np.int64], scale: float
) -> NDArray[np.float32]:
    """Put a token's keys and values into the cache, and attend to them and to all before them.

    PyTorch multiplies bfloat16 on a CPU at a tenth of the memory's speed. This reads it as fast as it comes, each row
    as far as it goes, and what a row gets depends on nothing but itself, to the bit.

    Args:
        qkv: queries, keys and values; shape = (n_rows, 3, n_heads, head_width).
        cached: bits of keys and values; shape = (2, at least n_rows, n_heads, 1,024, head_width).
        ends: where each row's token belongs, shape = (n_rows,).
        scale: of the products.

    Returns:
        shape = (n_rows, n_heads, head_width).
    """
    with _alone:
        return _attend(qkv, cached, ends, scale)  # type: ignore[no-any-return]


@_compiled(parallel=True)
def _attend(
    qkv: NDArray[np.float32], cached: NDArray[np.uint16], ends: NDArray[np.int64], scale: float
) -> NDArray[np.float32]:
    n_rows, _, n_heads, head_width = qkv.shape
    attended = np.zeros((n_rows, n_heads, head_width), dtype=np.float32)
    for index in prange(n_rows * n_heads):
        head, row = index // n_rows, index % n_rows  # so that each thread gets some heads of all rows, long or short
        query, keys, values = qkv[row, 0, head], cached[0, row, head], cached[1, row, head]
        end = ends[row]
        for i in range(head_width):
            keys[end, i] = _narrowed(qkv[row, 1, head, i])
            values[end, i] = _narrowed(qkv[row, 2, head, i])
        scores = np.empty(end + 1, dtype=np.float32)
        for token in range(end + 1):
            product = np.float32(0)
            for i in range(head_width):
                product += query[i] * _widened(keys[token, i])
            scores[token] = product * np.float32(scale)
        largest = scores.max()
        for token in range(end + 1):
            scores[token] = _exponential(scores[token] - largest)
        total = scores.sum()
        for token in range(end + 1):
            weight = scores[token] / total
            for i in range(head_width):
                attended[row, head, i] += weight * _widened(values[token, i])
    return attended


@_compiled()
def _exponential(x: np.float32) -> np.float32:
    """Of a number that is not positive, to 4e-6 of the result; unlike NumPy's, for several numbers at once.

    It is 2**(x * log2 e): two to the whole part, by its bits, times two to the rest, by a polynomial; at least 2**-126.
    """
    power = max(np.float32(x) * np.float32(1.44269504), np.float32(-126))
    whole = np.floor(power)
    rest = power - whole
    two = np.float32(_TWO_TO[0])
    for coefficient in _TWO_TO[1:]:
        two = two * rest + np.float32(coefficient)
    return np.int32((np.int32(whole) + 127) << 23).view(np.float32) * two


@_compiled()
def _narrowed(number: np.float32) -> np.uint16:
    """The bits of the nearest bfloat16."""
    bits = np.float32(number).view(np.uint32)
    return np.uint16((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16)


@_compiled()
def _widened(bits: np.uint16) -> np.float32:
    """The bfloat16 of these bits."""
    return np.uint32(np.uint32(bits) << np.uint32(16)).view(np.float32)
