"""Attention of one query in each row over a cache of bfloat16 on a CPU, compiled by numba."""

import numpy as np
from numba import prange
from numpy.typing import NDArray

from amt.compiled import alone, compiled
from amt.elementwise import exponential


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
    with alone:
        return _attend(qkv, cached, ends, scale)  # type: ignore[no-any-return]


@compiled(parallel=True, reorders=True)
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
            scores[token] = exponential(scores[token] - largest)
        total = scores.sum()
        for token in range(end + 1):
            weight = scores[token] / total
            for i in range(head_width):
                attended[row, head, i] += weight * _widened(values[token, i])
    return attended


@compiled()
def _narrowed(number: np.float32) -> np.uint16:
    """The bits of the nearest bfloat16."""
    bits = np.float32(number).view(np.uint32)
    return np.uint16((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16)


@compiled()
def _widened(bits: np.uint16) -> np.float32:
    """The bfloat16 of these bits."""
    return np.uint32(np.uint32(bits) << np.uint32(16)).view(np.float32)
