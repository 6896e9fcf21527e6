"""Attend on CPUs to keys and values of eight bits, compiled by numba.

They are rounded to whole numbers, times a scale for each token and head, and are multiplied as the weights of
`cpu.products` are: queries are rounded to whole numbers too, and so is what values are weighted by, for each block of
tokens times a scale of its own. Sums of whole numbers are exact, what is not is added up block by block, and what a row
gets depends on nothing but itself, to the bit.

A head's tokens are kept in blocks of `BLOCK_TOKENS`: first their scales, float32, then their numbers; of keys, to which
`OFFSET` is added, shape = (head_width / together, BLOCK_TOKENS, together), so that the scores of many tokens are
computed side by side, and of values (BLOCK_TOKENS / together, head_width, together), for sums over tokens. `together`
is `TOGETHER` of `cpu.products`, and head_width is rounded up to a multiple of 16.
"""

from typing import Any, Final

import numpy as np
from llvmlite import ir
from numba import prange, types
from numba.core import cgutils
from numba.extending import intrinsic
from numpy.typing import NDArray

from amt.gpt2.cpu import kernels, products
from amt.gpt2.cpu.compiling import compiled, digest
from amt.gpt2.cpu.kernels import REORDERED
from amt.gpt2.cpu.products import BYTE, FLOATS, LONG, OFFSET, OUTPUTS, STEPS, TOGETHER, WORD, ZEROS

BLOCK_TOKENS: Final = 64

SCALE_BYTES: Final = 4
"""Of a token's scale."""

KIND: Final = np.int8 if TOGETHER == 4 else np.int16
"""Of the levels of queries; `TOGETHER` of them are a word."""

LEVELS: Final = 255
"""To how many levels what values are weighted by is rounded: it is not negative.

Each token is rounded up from another place between two levels, for many that are weighted alike, and little, would all
vanish if they were rounded to the nearest."""

_UP_FROM: Final = [(0.5 + token * (5**0.5 - 1) / 2) % 1 for token in range(BLOCK_TOKENS)]
"""What is added to a level before the fraction is dropped: spread evenly, whichever step apart the tokens are."""

VECTORS: Final = BLOCK_TOKENS // OUTPUTS
"""Of scores that are computed side by side."""

_SMALLEST: Final = np.float32(1e-30)
"""What counts as the smallest absmax, so that numbers over it stay finite."""

FACTOR: Final = np.float32(1.44269504 / STEPS)
"""Of scores of a query's levels: weights are powers of two."""

_UNROLLED: Final = 4
"""Vectors of sums of values under way at once: each has to wait for its last addition, for four cycles or so."""

_LINE: Final = 64
"""Bytes that a cache fetches at once."""

_divide_by_absmax, _powers_of_two = kernels.divide_by_absmax, kernels.powers_of_two


def block_bytes(head_width: int) -> int:
    """Return the size of a block."""
    return BLOCK_TOKENS * (-(-head_width // OUTPUTS) * OUTPUTS + SCALE_BYTES)


def load_numbers(builder: ir.IRBuilder, numbers: ir.Value, index: ir.Value) -> ir.Value:
    """Emit `TOGETHER` numbers for each of 16 sums; the index is of bytes."""
    kind = ir.VectorType(BYTE, OUTPUTS * TOGETHER)
    return builder.load(builder.bitcast(builder.gep(numbers, [index]), kind.as_pointer()), align=1)


def accumulate(
    builder: ir.IRBuilder, total: ir.Value, numbers: ir.Value, words: ir.Value, index: ir.Value, *, is_signed: bool
) -> None:
    """Emit the addition to sums of numbers, which are signed or have an offset, times the word at an index."""
    word = builder.load(builder.gep(words, [index]))
    added = products.add_products(builder, builder.load(total), numbers, word, is_signed=is_signed)
    builder.store(added, total)


def store_scores(builder: ir.IRBuilder, total: ir.Value, scales: ir.Value, scores: ir.Value, index: ir.Value) -> None:
    """Emit 16 scores: sums times what comes next of scales, written to an index."""
    scale = builder.load(builder.bitcast(scales, FLOATS.as_pointer()), align=4)
    scaled = builder.fmul(builder.sitofp(builder.load(total), FLOATS), scale)
    builder.store(scaled, builder.bitcast(builder.gep(scores, [index]), FLOATS.as_pointer()), align=4)


def add_scaled(builder: ir.IRBuilder, whole: ir.Value, scale: ir.Value, sums: ir.Value, index: ir.Value) -> None:
    """Emit the addition of whole numbers times a scale to 16 sums from an index on."""
    place = builder.bitcast(builder.gep(sums, [index]), FLOATS.as_pointer())
    numbers, factors = builder.sitofp(whole, FLOATS), products.splat(builder, scale)
    builder.store(products.fuse(builder, numbers, factors, builder.load(place, align=4)), place, align=4)


def sums_of(builder: ir.IRBuilder, n: int, start: ir.Value = ZEROS) -> list[ir.Value]:
    """Emit sums to begin with, `n` times 16."""
    return [cgutils.alloca_once_value(builder, start) for _ in range(n)]  # type: ignore[no-untyped-call]


def _score_intrinsic(
    _: Any, levels: Any, n_steps: Any, offset: Any, bits: Any, keys: Any, ahead: Any, scales: Any, scale: Any,
    scores: Any, first: Any,
) -> Any:  # fmt: skip
    """Write a query's scores of a block of keys, from `bits[keys]` on, to `scores[first]` and on.

    They are `offset` plus the sums of products, times the keys' scales, from `scales[scale]` on. Meanwhile the block at
    `bits[ahead]` is fetched.
    """

    def emit(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        _, n_steps, offset, *_ = arguments
        levels, numbers, ahead, scales, scores = (
            products.address(context, builder, signature.args[array], arguments[array], index)
            for array, index in (
                (0, LONG(0)), (3, arguments[4]), (3, arguments[5]), (6, arguments[7]), (8, arguments[9])
            )
        )  # fmt: skip
        for at in range(0, BLOCK_TOKENS * SCALE_BYTES, _LINE):
            products.prefetch(builder, ahead, LONG(at))
        ahead = builder.gep(ahead, [LONG(BLOCK_TOKENS * SCALE_BYTES)])
        words, size = builder.bitcast(levels, WORD.as_pointer()), OUTPUTS * TOGETHER
        totals = sums_of(builder, VECTORS, products.splat(builder, offset))
        with cgutils.for_range(builder, n_steps) as loop:
            start = builder.mul(loop.index, LONG(VECTORS * size))
            for vector, total in enumerate(totals):
                at = builder.add(start, LONG(vector * size))
                if vector * size % _LINE == 0:
                    products.prefetch(builder, ahead, at)
                accumulate(builder, total, load_numbers(builder, numbers, at), words, loop.index, is_signed=False)
        for vector, total in enumerate(totals):
            index = LONG(vector * OUTPUTS)
            store_scores(builder, total, builder.gep(scales, [index]), scores, index)
        return context.get_dummy_value()

    number = types.int64
    return types.void(levels, number, types.int32, bits, number, number, scales, number, scores, number), emit


def _add_values_intrinsic(
    _: Any, levels: Any, n_steps: Any, scale: Any, bits: Any, values: Any, stride: Any, ahead: Any, sums: Any, to: Any,
) -> Any:  # fmt: skip
    """Add to 16 sums, from `sums[to]` on, what a block of values gives: the sums of products times `scale`.

    The levels of `TOGETHER` tokens make a step; `n_steps` of them belong to the values from `bits[values]` on, `stride`
    apart. Meanwhile as much is fetched from `bits[ahead]` on.
    """

    def emit(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        _, n_steps, scale, _, _, stride, *_ = arguments
        levels, numbers, ahead, sums = (
            products.address(context, builder, signature.args[array], arguments[array], index)
            for array, index in ((0, LONG(0)), (3, arguments[4]), (3, arguments[6]), (7, arguments[8]))
        )
        words, totals = builder.bitcast(levels, WORD.as_pointer()), sums_of(builder, _UNROLLED)

        def add(total: ir.Value, step: ir.Value) -> None:
            at = builder.mul(step, stride)
            products.prefetch(builder, ahead, at)
            accumulate(builder, total, load_numbers(builder, numbers, at), words, step, is_signed=True)

        unrolled = builder.and_(n_steps, LONG(-_UNROLLED))
        with cgutils.for_range_slice(builder, LONG(0), unrolled, LONG(_UNROLLED), inc=True) as (step, _):
            for each, total in enumerate(totals):
                add(total, builder.add(step, LONG(each)))
        with cgutils.for_range_slice(builder, unrolled, n_steps, LONG(1), inc=True) as (step, _):
            add(totals[0], step)
        whole, *others = (builder.load(total) for total in totals)
        for other in others:
            whole = builder.add(whole, other)
        add_scaled(builder, whole, scale, sums, LONG(0))
        return context.get_dummy_value()

    number = types.int64
    return types.void(levels, number, types.float32, bits, number, number, number, sums, number), emit


def _weigh_intrinsic(_: Any, weights: Any, first: Any, scales: Any, scale: Any, levels: Any, to: Any) -> Any:
    """Write the levels of what a block of values is weighted by to `levels[to]` and on; return what a level counts.

    It is weighted by numbers from `weights[first]` on times the values' scales, from `scales[scale]` on. A weight of
    zero is that of a token that does not count, whose scale may be anything.
    """

    def emit(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        weights, scales, levels = (
            products.address(context, builder, signature.args[array], arguments[array], arguments[array + 1])
            for array in (0, 2, 4)
        )
        zeros = ir.Constant(FLOATS, [0.0] * OUTPUTS)
        scaled = []
        for vector in range(VECTORS):
            weight, scale = (
                builder.load(builder.bitcast(builder.gep(each, [LONG(vector * OUTPUTS)]), FLOATS.as_pointer()), align=4)
                for each in (weights, scales)
            )
            counts = builder.fcmp_unordered("!=", weight, zeros)
            scaled.append(builder.select(counts, builder.fmul(weight, scale), zeros))
        # None is negative, so their bits have the same order, with NaN behind all.
        most = ZEROS
        for each in scaled:
            bits = builder.bitcast(each, most.type)
            most = builder.select(builder.icmp_signed(">", bits, most), bits, most)
        largest = products.reduce_max(builder, most)
        smallest = WORD(int(_SMALLEST.view(np.int32)))
        largest = builder.select(builder.icmp_signed(">", largest, smallest), largest, smallest)
        step = builder.fdiv(builder.bitcast(largest, ir.FloatType()), ir.FloatType()(float(LEVELS)))
        steps = products.splat(builder, builder.fdiv(ir.FloatType()(1.0), step))
        number = ir.IntType(32 // TOGETHER)
        for vector, each in enumerate(scaled):
            added = ir.Constant(FLOATS, _UP_FROM[vector * OUTPUTS : (vector + 1) * OUTPUTS])
            whole = builder.fptosi(products.fuse(builder, each, steps, added), most.type)
            place = builder.gep(levels, [LONG(vector * OUTPUTS)])
            kind = ir.VectorType(number, OUTPUTS)
            builder.store(builder.trunc(whole, kind), builder.bitcast(place, kind.as_pointer()), align=1)
        return step

    number = types.int64
    return types.float32(weights, number, scales, number, levels, number), emit


_score: Any = intrinsic(_score_intrinsic)
_add_values: Any = intrinsic(_add_values_intrinsic)
weigh: Any = intrinsic(_weigh_intrinsic)


@compiled(is_part=True)
def round_query(numbers: NDArray[np.float32], levels: NDArray[Any], query: int, n_queries: int) -> np.int32:
    """Write the levels of a query, which is over its absmax; return what takes off the offset of the keys.

    Levels are of shape = (head_width / together, n_queries, together).
    """
    whole = np.int32(0)
    for i in range(len(numbers)):
        level = np.int32(np.rint(numbers[i] * np.float32(STEPS)))
        whole += level
        levels[(i // TOGETHER * n_queries + query) * TOGETHER + i % TOGETHER] = level
    return np.int32(whole * -OFFSET)


@compiled(is_part=True)
def scale_of(absmax: np.float32) -> np.float32:
    """Return what a level counts of numbers with an absolute maximum."""
    result: np.float32 = (_SMALLEST if absmax < _SMALLEST else absmax) / np.float32(STEPS)
    return result


@compiled(is_part=True)
def keep(
    numbers: NDArray[np.float32], absmax: np.float32, bits: NDArray[np.uint8], scales: NDArray[np.float32], block: int,
    lane: int, is_key: bool,
) -> None:  # fmt: skip
    """Write a token's key or value, which is over its absmax, to its place in a block."""
    scales[block // SCALE_BYTES + lane] = scale_of(absmax)
    first, step, stride, offset = block + BLOCK_TOKENS * SCALE_BYTES, BLOCK_TOKENS * TOGETHER, 1, OFFSET
    if is_key:
        first += lane * TOGETHER
    else:
        first += lane // TOGETHER * (len(numbers) * TOGETHER) + lane % TOGETHER
        step, stride, offset = TOGETHER * TOGETHER, TOGETHER, 0
    for i in range(len(numbers)):
        at = first + i // TOGETHER * step + i % TOGETHER * stride
        bits[at] = np.int32(np.rint(numbers[i] * np.float32(STEPS))) + offset


@compiled(REORDERED, is_part=True)
def _attend(
    query: NDArray[np.float32], factor: np.float32, bits: NDArray[np.uint8], scales: NDArray[np.float32], keys: int,
    values: int, n_tokens: int, n_bytes: int, ahead: int,
) -> None:  # fmt: skip
    """Write what a query, which is over its absmax, gets of a head's first tokens, in its place.

    `factor`: of scores. Meanwhile as many blocks are fetched from `ahead` on.
    """
    width, n_blocks = len(query), -(-n_tokens // BLOCK_TOKENS)
    levels, weights = np.empty(width, KIND), np.empty(n_blocks * BLOCK_TOKENS, np.float32)
    offset = round_query(query, levels, 0, 1)
    for block in range(n_blocks):
        at = keys + block * n_bytes
        _score(
            levels, width // TOGETHER, offset, bits, at + BLOCK_TOKENS * SCALE_BYTES, values + block * n_bytes, scales,
            at // SCALE_BYTES, weights, block * BLOCK_TOKENS,
        )  # fmt: skip
    total = _powers_of_two(weights[:n_tokens], factor)
    weights[n_tokens:] = 0
    levels, query[:] = np.empty(BLOCK_TOKENS, KIND), 0
    for block in range(n_blocks):
        first, at = block * BLOCK_TOKENS, values + block * n_bytes
        step = weigh(weights, first, scales, at // SCALE_BYTES, levels, 0)
        n_steps = (min(BLOCK_TOKENS, n_tokens - first) + TOGETHER - 1) // TOGETHER
        for to in range(0, width, OUTPUTS):
            there = BLOCK_TOKENS * SCALE_BYTES + to * TOGETHER
            _add_values(
                levels, n_steps, step, bits, at + there, width * TOGETHER, ahead + block * n_bytes + there, query, to
            )
    for i in range(width):
        query[i] /= total


def _compile_attend(sources: str) -> Any:
    """Return `attend`; compiled code is kept until this file or `sources` changes."""

    @compiled(REORDERED, parallel=True)
    def attend(
        product: NDArray[np.float32],
        absmax: NDArray[np.float32],
        bias: NDArray[np.float32],
        cached: NDArray[np.uint8],
        cache_lengths: NDArray[np.int64],
        scale: np.float32,
        attended: NDArray[np.float32],
    ) -> None:
        """Put a token's keys and values into the cache, and attend to them and to all before them.

        Args:
            product: with absmax and bias, see `cpu.decoder`, queries, keys and values; shape = (n_rows, 3 * width).
            absmax: shape = (n_rows,); gets those of the result.
            bias: shape = (3 * width,).
            cached: blocks of keys and of values; shape = (2, at least n_rows, n_heads, n_blocks, block_bytes).
            cache_lengths: where each row's token belongs, shape = (n_rows,).
            scale: of the products of queries and keys.
            attended: gets the result over its absmax; shape = (n_rows, width).
        """
        sources  # noqa: B018
        n_rows, width = attended.shape
        _, max_rows, n_heads, n_blocks, n_bytes = cached.shape
        head_width, head_bytes = width // n_heads, n_blocks * n_bytes
        bits = cached.ravel()  # views of a row's keys would be counted, by locks
        scales = bits.view(np.float32)
        for index in prange(n_rows * n_heads):
            # So that each thread gets some heads of all rows, long or short.
            head, row = index // n_rows, index % n_rows
            last, first = cache_lengths[row], head * head_width
            keys = (row * n_heads + head) * head_bytes
            values = keys + max_rows * n_heads * head_bytes
            numbers, largest = np.zeros(n_bytes // BLOCK_TOKENS - SCALE_BYTES, dtype=np.float32), np.float32(0)
            for which in (1, 2, 0):  # the key, the value, and at last the query
                for i in range(head_width):
                    at = which * width + first + i
                    numbers[i] = product[row, at] * absmax[row] + bias[at]
                numbers[head_width:] = 0
                largest = _divide_by_absmax(numbers)
                if which > 0:
                    block = (keys if which == 1 else values) + last // BLOCK_TOKENS * n_bytes
                    keep(numbers, largest, bits, scales, block, last % BLOCK_TOKENS, which == 1)
            next_head, next_row = (index + 1) // n_rows, (index + 1) % n_rows
            ahead = (next_row * n_heads + next_head) * head_bytes
            _attend(
                numbers,
                largest * scale * FACTOR,
                bits,
                scales,
                keys,
                values,
                last + 1,
                n_bytes,
                ahead,
            )
            attended[row, first : first + head_width] = numbers[:head_width]
        for row in range(n_rows):
            absmax[row] = _divide_by_absmax(attended[row])

    return attend


def _compile_store(sources: str) -> Any:
    """Return `store`, kept likewise."""

    @compiled(parallel=True)
    def store(keys_and_values: NDArray[np.float32], rows: NDArray[np.int64], cached: NDArray[np.uint8]) -> None:
        """Put the first tokens of some rows into the cache.

        Args:
            keys_and_values: shape = (n, n_tokens, 2, n_heads, head_width).
            rows: where they belong, shape = (n,).
            cached: as `attend` has it.
        """
        sources  # noqa: B018
        n, n_tokens, _, n_heads, head_width = keys_and_values.shape
        _, max_rows, _, n_blocks, n_bytes = cached.shape
        bits, head_bytes = cached.ravel(), n_blocks * n_bytes
        scales = bits.view(np.float32)
        for index in prange(n * n_heads):
            source, head = index // n_heads, index % n_heads
            keys = (rows[source] * n_heads + head) * head_bytes
            values = keys + max_rows * n_heads * head_bytes
            numbers = np.zeros(n_bytes // BLOCK_TOKENS - SCALE_BYTES, dtype=np.float32)
            for token in range(n_tokens):
                block, lane = token // BLOCK_TOKENS * n_bytes, token % BLOCK_TOKENS
                for which in range(2):
                    numbers[:head_width] = keys_and_values[source, token, which, head]
                    numbers[head_width:] = 0
                    largest = _divide_by_absmax(numbers)
                    keep(numbers, largest, bits, scales, (values if which else keys) + block, lane, which == 0)

    return store


_SOURCES: Final = digest(kernels, products)

attend, store = _compile_attend(_SOURCES), _compile_store(_SOURCES)
