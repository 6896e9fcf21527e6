"""Attend within whole windows on CPUs, compiled by numba: to each key and value with several queries at once.

The numbers are those of `cpu.attention`, of which this takes what is the same for one query and for several.
"""

from typing import Any, Final

import numpy as np
from llvmlite import ir
from numba import prange, types
from numba.core import cgutils
from numba.extending import intrinsic
from numpy.typing import NDArray

from amt.gpt2.cpu import attention, kernels, products
from amt.gpt2.cpu.attention import BLOCK_TOKENS, KIND, LEVELS, PARTS, SCALE_BYTES, VECTORS, joined, sums_of
from amt.gpt2.cpu.compiling import compiled, digest
from amt.gpt2.cpu.kernels import REORDERED
from amt.gpt2.cpu.products import BYTE, HAS_VNNI, HAS_WIDE_VNNI, LONG, OFFSET, OUTPUTS, TOGETHER, WORD, ZEROS

QUERIES: Final = 8 if HAS_WIDE_VNNI else 2 if HAS_VNNI else 4
"""Queries at once: their sums have to stay in registers."""

_WORDS: Final = BLOCK_TOKENS // TOGETHER

_exponentials, _divide_by_absmax = kernels.exponentials, kernels.divide_by_absmax
_keep, _place, _weigh = attention.keep, attention.place, attention.weigh


def _add_to_all(
    builder: ir.IRBuilder, totals: list[list[ir.Value]], numbers: ir.Value, at: ir.Value, levels: ir.Value,
    words: list[list[ir.Value]],
) -> None:  # fmt: skip
    """Emit the addition of a vector of numbers times each query's words, one a part, to its sums."""
    kind = ir.VectorType(BYTE, OUTPUTS * TOGETHER)
    vector = builder.load(builder.bitcast(builder.gep(numbers, [at]), kind.as_pointer()), align=1)
    for of_query, places in zip(totals, words, strict=True):
        for total, place in zip(of_query, places, strict=True):
            word = builder.load(builder.gep(levels, [place]))
            builder.store(products.add_products(builder, builder.load(total), vector, word), total)


def _score_intrinsic(
    _: Any, levels: Any, n_steps: Any, offsets: Any, factors: Any, bits: Any, keys: Any, scales: Any, scale: Any,
    scores: Any, first: Any, stride: Any,
) -> Any:  # fmt: skip
    """Write the scores of a block of keys, from `bits[keys]` on: each query's `stride` behind those of the last."""

    def emit(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        n_steps, stride = arguments[1], arguments[10]
        levels, offsets, factors, numbers, scales, scores = (
            products.address(context, builder, signature.args[array], arguments[array], index)
            for array, index in (
                (0, LONG(0)), (2, LONG(0)), (3, LONG(0)), (4, arguments[5]), (6, arguments[7]), (8, arguments[9])
            )
        )  # fmt: skip
        levels, size = builder.bitcast(levels, WORD.as_pointer()), OUTPUTS * TOGETHER
        for vector in range(VECTORS):
            totals = sums_of(builder, QUERIES)
            with cgutils.for_range(builder, n_steps) as loop:
                at = builder.add(builder.mul(loop.index, LONG(VECTORS * size)), LONG(vector * size))
                start = builder.mul(loop.index, LONG(QUERIES * PARTS))
                words = [
                    [builder.add(start, LONG(query * PARTS + part)) for part in range(PARTS)]
                    for query in range(QUERIES)
                ]
                _add_to_all(builder, totals, numbers, at, levels, words)
            kind = ir.VectorType(ir.FloatType(), OUTPUTS)
            own = builder.load(builder.gep(builder.bitcast(scales, kind.as_pointer()), [LONG(vector)]), align=4)
            for query, total in enumerate(totals):
                offset = builder.load(builder.gep(offsets, [LONG(query)]))
                factor = builder.load(builder.gep(factors, [LONG(query)]))
                whole = builder.add(joined(builder, total), products.splat(builder, offset))
                scaled = builder.fmul(builder.sitofp(whole, kind), builder.fmul(own, products.splat(builder, factor)))
                place = builder.gep(scores, [builder.add(builder.mul(LONG(query), stride), LONG(vector * OUTPUTS))])
                builder.store(scaled, builder.bitcast(place, kind.as_pointer()), align=4)
        return context.get_dummy_value()

    number = types.int64
    return types.void(levels, number, offsets, factors, bits, number, scales, number, scores, number, number), emit


def _add_values_intrinsic(
    _: Any, levels: Any, first: Any, n_steps: Any, bits: Any, values: Any, stride: Any, sums: Any, to: Any, apart: Any,
) -> Any:  # fmt: skip
    """Add to 16 sums of each query, `apart` from those of the last, the products of a block of values."""

    def emit(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        n_steps, stride, apart = arguments[2], arguments[5], arguments[8]
        levels, numbers, sums = (
            products.address(context, builder, signature.args[array], arguments[array], index)
            for array, index in ((0, arguments[1]), (3, arguments[4]), (6, arguments[7]))
        )
        levels, totals = builder.bitcast(levels, WORD.as_pointer()), sums_of(builder, QUERIES)
        with cgutils.for_range(builder, n_steps) as loop:
            words = [
                [builder.add(loop.index, LONG((query * PARTS + part) * _WORDS)) for part in range(PARTS)]
                for query in range(QUERIES)
            ]
            _add_to_all(builder, totals, numbers, builder.mul(loop.index, stride), levels, words)
        for query, total in enumerate(totals):
            place = builder.bitcast(builder.gep(sums, [builder.mul(LONG(query), apart)]), ZEROS.type.as_pointer())
            builder.store(builder.add(builder.load(place, align=4), joined(builder, total)), place, align=4)
        return context.get_dummy_value()

    number = types.int64
    return types.void(levels, number, number, bits, number, number, sums, number, number), emit


_score: Any = intrinsic(_score_intrinsic)
_add_values: Any = intrinsic(_add_values_intrinsic)


@compiled(REORDERED, is_part=True)
def _attend(
    queries: NDArray[np.float32], factors: NDArray[np.float32], bits: NDArray[np.uint8], scales: NDArray[np.float32],
    keys: int, values: int, first: int, n_bytes: int,
) -> None:  # fmt: skip
    """Write what queries, each over its absmax, get of all tokens up to their own, the first of which is `first`.

    They are in one block. `factors` are their absmax times the scale of attention, and overwritten.
    """
    n_queries, width = queries.shape
    levels, offsets = np.empty(PARTS * n_queries * width, dtype=KIND), np.empty(n_queries, dtype=np.int32)
    for query in range(n_queries):
        whole = np.int32(0)
        for i in range(width):
            level = np.int32(np.rint(queries[query, i] * np.float32(LEVELS)))
            whole += level
            at = ((i // TOGETHER * n_queries + query) * PARTS) * TOGETHER + i % TOGETHER
            _place(levels, at, TOGETHER, level)
        offsets[query] = whole * -OFFSET
        factors[query] /= np.float32(LEVELS)
    n_blocks = first // BLOCK_TOKENS + 1
    n_tokens = n_blocks * BLOCK_TOKENS
    scores = np.empty((n_queries, n_tokens), dtype=np.float32)
    for block in range(n_blocks):
        at = keys + block * n_bytes
        _score(
            levels, width // TOGETHER, offsets, factors, bits, at + BLOCK_TOKENS * SCALE_BYTES, scales,
            at // SCALE_BYTES, scores, block * BLOCK_TOKENS, n_tokens,
        )  # fmt: skip
    levels, sums = np.empty(n_queries * PARTS * n_tokens, dtype=KIND), np.empty((n_queries, width), dtype=np.int32)
    for query in range(n_queries):
        n_own = first + query + 1
        total = _exponentials(scores[query, :n_own])
        factor, whole = _weigh(
            scores[query], n_own, scales, values // SCALE_BYTES, n_bytes // SCALE_BYTES, levels, query, n_queries
        )
        sums[query] = whole * -OFFSET
        factors[query] = factor * total
    for block in range(n_blocks):
        at, of_block = values + block * n_bytes + BLOCK_TOKENS * SCALE_BYTES, block * n_queries * PARTS * BLOCK_TOKENS
        for to in range(0, width, OUTPUTS):
            _add_values(levels, of_block, _WORDS, bits, at + to * TOGETHER, width * TOGETHER, sums, to, width)
    for query in range(n_queries):
        for i in range(width):
            queries[query, i] = np.float32(sums[query, i]) / factors[query]


def _compile_attend(sources: str) -> Any:
    """Return `attend`; compiled code is kept until this file or `sources` changes."""

    @compiled(REORDERED, parallel=True)
    def attend(
        qkv: NDArray[np.float32], n_tokens: int, n_heads: int, scale: np.float32, attended: NDArray[np.float32]
    ) -> None:
        """Attend in windows of so many tokens, from each of them to those before it and to itself.

        Args:
            qkv: queries, keys and values, shape = (n, 3 * width).
            n_tokens: of a window; n is a multiple.
            n_heads: of which width is a multiple.
            scale: of the products of queries and keys.
            attended: gets the result, shape = (n, width).
        """
        sources  # noqa: B018
        n, width = attended.shape
        head_width = width // n_heads
        padded = -(-head_width // OUTPUTS) * OUTPUTS
        n_bytes, n_blocks = BLOCK_TOKENS * (padded + SCALE_BYTES), -(-n_tokens // BLOCK_TOKENS)
        for index in prange(n // n_tokens * n_heads):
            start, column = index // n_heads * n_tokens, index % n_heads * head_width
            bits, values = np.empty(2 * n_blocks * n_bytes, dtype=np.uint8), n_blocks * n_bytes
            scales, numbers = bits.view(np.float32), np.zeros(padded, dtype=np.float32)
            for token in range(n_tokens):
                block, lane = token // BLOCK_TOKENS * n_bytes, token % BLOCK_TOKENS
                for which in (1, 2):
                    begin = which * width + column
                    numbers[:head_width] = qkv[start + token, begin : begin + head_width]
                    numbers[head_width:] = 0
                    largest = _divide_by_absmax(numbers)
                    _keep(numbers, largest, bits, scales, block + (values if which == 2 else 0), lane, which == 1)
            queries, factors = np.zeros((QUERIES, padded), dtype=np.float32), np.zeros(QUERIES, dtype=np.float32)
            for first in range(0, n_tokens, QUERIES):
                n_queries = min(QUERIES, n_tokens - first)
                for query in range(n_queries):
                    queries[query, :head_width] = qkv[start + first + query, column : column + head_width]
                    queries[query, head_width:] = 0
                    factors[query] = _divide_by_absmax(queries[query]) * scale
                _attend(queries, factors, bits, scales, 0, values, first, n_bytes)
                for query in range(n_queries):
                    attended[start + first + query, column : column + head_width] = queries[query, :head_width]

    return attend


attend: Final = _compile_attend(digest(attention, kernels, products))
