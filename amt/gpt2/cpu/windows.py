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
from amt.gpt2.cpu.attention import BLOCK_TOKENS, FACTOR, KIND, SCALE_BYTES, VECTORS
from amt.gpt2.cpu.compiling import compiled, digest
from amt.gpt2.cpu.kernels import REORDERED
from amt.gpt2.cpu.products import HAS_WIDE_VNNI, LONG, OFFSET, OUTPUTS, STEPS, TOGETHER, WORD

QUERIES: Final = 8 if HAS_WIDE_VNNI else 4
"""Queries at once: a block has a multiple of it."""

_AT_ONCE: Final = 2 if HAS_WIDE_VNNI else 1
"""Vectors of scores for each query, whose sums have to stay in registers."""

_divide_by_absmax, _powers_of_two = kernels.divide_by_absmax, kernels.powers_of_two
_keep_one, _round_query, _scale_of = attention.keep, attention.round_query, attention.scale_of
_interleave, _weigh = products.interleave, attention.weigh


def _score_intrinsic(
    _: Any, levels: Any, n_steps: Any, offsets: Any, bits: Any, keys: Any, scales: Any, scale: Any, scores: Any,
    first: Any, stride: Any,
) -> Any:  # fmt: skip
    """Write what `attention` does for one query, each query's scores `stride` behind those of the last."""

    def emit(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        _, n_steps, *_, stride = arguments
        levels, offsets, numbers, scales, scores = (
            products.address(context, builder, signature.args[array], arguments[array], index)
            for array, index in (
                (0, LONG(0)), (2, LONG(0)), (3, arguments[4]), (5, arguments[6]), (7, arguments[8])
            )
        )  # fmt: skip
        words, size = builder.bitcast(levels, WORD.as_pointer()), OUTPUTS * TOGETHER
        for first in range(0, VECTORS, _AT_ONCE):
            vectors = range(first, first + _AT_ONCE)
            begun = [products.splat(builder, builder.load(builder.gep(offsets, [LONG(i)]))) for i in range(QUERIES)]
            totals = [attention.sums_of(builder, _AT_ONCE, offset) for offset in begun]
            with cgutils.for_range(builder, n_steps) as loop:
                at, word = builder.mul(loop.index, LONG(VECTORS * size)), builder.mul(loop.index, LONG(QUERIES))
                keys = [attention.load_numbers(builder, numbers, builder.add(at, LONG(i * size))) for i in vectors]
                for query, of_query in enumerate(totals):
                    for total, each in zip(of_query, keys, strict=True):
                        attention.accumulate(
                            builder, total, each, words, builder.add(word, LONG(query)), is_signed=False
                        )
            for query, of_query in enumerate(totals):
                for vector, total in zip(vectors, of_query, strict=True):
                    index = LONG(vector * OUTPUTS)
                    to = builder.add(builder.mul(LONG(query), stride), index)
                    attention.store_scores(builder, total, builder.gep(scales, [index]), scores, to)
        return context.get_dummy_value()

    number = types.int64
    return types.void(levels, number, offsets, bits, number, scales, number, scores, number, number), emit


def _add_values_intrinsic(
    _: Any, levels: Any, factors: Any, bits: Any, values: Any, stride: Any, sums: Any, to: Any, apart: Any,
) -> Any:  # fmt: skip
    """Add what `attention` does for one query to 16 sums of each, which are `apart`."""

    def emit(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        stride, apart, n_words = arguments[4], arguments[7], BLOCK_TOKENS // TOGETHER
        levels, factors, numbers, sums = (
            products.address(context, builder, signature.args[array], arguments[array], index)
            for array, index in ((0, LONG(0)), (1, LONG(0)), (2, arguments[3]), (5, arguments[6]))
        )
        words, totals = builder.bitcast(levels, WORD.as_pointer()), attention.sums_of(builder, QUERIES)
        with cgutils.for_range(builder, LONG(n_words)) as loop:
            values = attention.load_numbers(builder, numbers, builder.mul(loop.index, stride))
            for query, total in enumerate(totals):
                at = builder.add(loop.index, LONG(query * n_words))
                attention.accumulate(builder, total, values, words, at, is_signed=True)
        for query, total in enumerate(totals):
            factor = builder.load(builder.gep(factors, [LONG(query)]))
            attention.add_scaled(builder, builder.load(total), factor, sums, builder.mul(LONG(query), apart))
        return context.get_dummy_value()

    number = types.int64
    return types.void(levels, factors, bits, number, number, sums, number, number), emit


_score: Any = intrinsic(_score_intrinsic)
_add_values: Any = intrinsic(_add_values_intrinsic)


@compiled(is_part=True)
def _keep(
    numbers: NDArray[np.float32], bits: NDArray[np.uint8], scales: NDArray[np.float32], block: int, lane: int,
    is_key: bool,
) -> None:  # fmt: skip
    """Write up to 16 tokens' keys or values to their place in a block, as `attention.keep` does; overwrite them."""
    n_tokens, width = numbers.shape
    if TOGETHER != 4:
        for token in range(n_tokens):
            largest = _divide_by_absmax(numbers[token])
            _keep_one(numbers[token], largest, bits, scales, block, lane + token, is_key)
        return
    n_words, first = width // TOGETHER, block + BLOCK_TOKENS * SCALE_BYTES
    apart = -(-n_words // OUTPUTS) * OUTPUTS
    levels, offset = np.zeros((OUTPUTS, apart * TOGETHER), np.uint8), OFFSET if is_key else 0
    for token in range(n_tokens):
        scales[block // SCALE_BYTES + lane + token] = _scale_of(_divide_by_absmax(numbers[token]))
        for i in range(width):
            levels[token, i] = np.int32(np.rint(numbers[token, i] * np.float32(STEPS))) + offset
    if is_key:
        _interleave(levels, apart, n_words, bits, first + lane * TOGETHER, BLOCK_TOKENS * TOGETHER)
        return
    words = bits.view(np.uint32)[(first + lane * width) // TOGETHER :]
    for group in range(OUTPUTS // TOGETHER):
        own = levels[TOGETHER * group :]
        one, two, three, four = own[0], own[1], own[2], own[3]
        for i in range(width):
            low, high = np.uint32(one[i]) | np.uint32(two[i]) << 8, np.uint32(three[i]) | np.uint32(four[i]) << 8
            words[group * width + i] = low | high << 16


@compiled(REORDERED, is_part=True)
def _attend(
    queries: NDArray[np.float32], factors: NDArray[np.float32], bits: NDArray[np.uint8], scales: NDArray[np.float32],
    keys: int, values: int, first: int, n_bytes: int,
) -> None:  # fmt: skip
    """Write what queries, each over its absmax, get of all tokens up to their own, the first of which is `first`.

    They are in one block. `factors`: of their scores.
    """
    n_queries, width = queries.shape
    n_blocks = first // BLOCK_TOKENS + 1
    n_tokens = n_blocks * BLOCK_TOKENS
    levels, offsets = np.empty(n_queries * width, KIND), np.empty(n_queries, np.int32)
    for query in range(n_queries):
        offsets[query] = _round_query(queries[query], levels, query, n_queries)
    weights = np.empty((n_queries, n_tokens), np.float32)
    flat = weights.ravel()
    for block in range(n_blocks):
        at = keys + block * n_bytes
        _score(
            levels, width // TOGETHER, offsets, bits, at + BLOCK_TOKENS * SCALE_BYTES, scales, at // SCALE_BYTES,
            weights, block * BLOCK_TOKENS, n_tokens,
        )  # fmt: skip
    totals, steps = np.empty(n_queries, np.float32), np.empty(n_queries, np.float32)
    for query in range(n_queries):
        n_own = first + query + 1
        totals[query] = _powers_of_two(weights[query, :n_own], factors[query])
        weights[query, n_own:] = 0
    levels, queries[:] = np.empty(n_queries * BLOCK_TOKENS, KIND), 0
    for block in range(n_blocks):
        at = values + block * n_bytes
        for query in range(n_queries):
            start = query * n_tokens + block * BLOCK_TOKENS
            steps[query] = _weigh(flat, start, scales, at // SCALE_BYTES, levels, query * BLOCK_TOKENS)
        for to in range(0, width, OUTPUTS):
            there = at + BLOCK_TOKENS * SCALE_BYTES + to * TOGETHER
            _add_values(levels, steps, bits, there, width * TOGETHER, queries, to, width)
    for query in range(n_queries):
        for i in range(width):
            queries[query, i] /= totals[query]


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
            scales, numbers = bits.view(np.float32), np.zeros((OUTPUTS, padded), dtype=np.float32)
            for first in range(0, n_tokens, OUTPUTS):
                n_own, block = min(OUTPUTS, n_tokens - first), first // BLOCK_TOKENS * n_bytes
                for which in (1, 2):
                    begin, to = which * width + column, block + (values if which == 2 else 0)
                    for token in range(n_own):
                        numbers[token, :head_width] = qkv[start + first + token, begin : begin + head_width]
                        numbers[token, head_width:] = 0
                    _keep(numbers[:n_own], bits, scales, to, first % BLOCK_TOKENS, which == 1)
            queries, factors = np.zeros((QUERIES, padded), dtype=np.float32), np.zeros(QUERIES, dtype=np.float32)
            for first in range(0, n_tokens, QUERIES):
                n_queries = min(QUERIES, n_tokens - first)
                for query in range(n_queries):
                    queries[query, :head_width] = qkv[start + first + query, column : column + head_width]
                    queries[query, head_width:] = 0
                    factors[query] = _divide_by_absmax(queries[query]) * scale * FACTOR
                _attend(queries, factors, bits, scales, 0, values, first, n_bytes)
                for query in range(n_queries):
                    attended[start + first + query, column : column + head_width] = queries[query, :head_width]

    return attend


attend: Final = _compile_attend(digest(attention, kernels, products))
