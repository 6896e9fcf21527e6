"""Attend on CPUs to keys and values of eight bits, compiled by numba.

They are rounded to whole numbers, times a scale for each token and head, and are multiplied as the weights of
`cpu.products` are: queries, and the weights of values, are rounded to whole numbers too, of 15 bits. Sums of whole
numbers are exact, and what a row gets depends on nothing but itself, to the bit.

A head's tokens are kept in blocks of `BLOCK_TOKENS`: first their scales, float32, then their numbers, to which `OFFSET`
is added; of keys shape = (head_width / together, BLOCK_TOKENS, together), so that the scores of many tokens are
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
from amt.gpt2.cpu.products import BYTE, LONG, OFFSET, OUTPUTS, STEPS, TOGETHER, WORD, ZEROS

BLOCK_TOKENS: Final = 64

SCALE_BYTES: Final = 4
"""Of a token's scale."""

PARTS: Final = 2 if TOGETHER == 4 else 1
"""How many numbers hold a level: two bytes, the first of which counts 256 times the second, or one of 16 bits."""

KIND: Final = np.int8 if TOGETHER == 4 else np.int16

LEVELS: Final = 127 * 256
"""To how many levels, to either side of zero, queries and weights are rounded: two signed bytes hold them.

Sums of 32 bits hold the products of a query and a key, even if all are as large as they can be, up to a width of 520.
"""

_MAX_SUM: Final = 1 << 23
"""Of the levels of weights: then sums of 32 bits hold their products with 255 steps, however long a row is."""

_SMALLEST: Final = np.float32(1e-30)
"""What counts as the smallest absmax, so that numbers over it, and levels over weights, stay finite."""

VECTORS: Final = BLOCK_TOKENS // OUTPUTS
"""Of scores that are computed side by side."""

_UNROLLED: Final = 4
"""Vectors of sums of values under way at once: each has to wait for its last addition, for four cycles or so."""

_LINE: Final = 64
"""Bytes that a cache fetches at once."""

_exponentials, _divide_by_absmax, _from_bits = kernels.exponentials, kernels.divide_by_absmax, kernels.from_bits


def block_bytes(head_width: int) -> int:
    """Return the size of a block."""
    return BLOCK_TOKENS * (-(-head_width // OUTPUTS) * OUTPUTS + SCALE_BYTES)


def _words(builder: ir.IRBuilder, address: ir.Value, index: ir.Value, n: ir.Value) -> list[ir.Value]:
    """Emit words of `TOGETHER` levels: those at an index, one of each part; a part has `n` words."""
    words = builder.bitcast(address, WORD.as_pointer())
    places = [builder.add(index, builder.mul(LONG(part), n)) for part in range(PARTS)]
    return [builder.load(builder.gep(words, [place])) for place in places]


def _add_products(
    builder: ir.IRBuilder, totals: list[ir.Value], numbers: ir.Value, index: ir.Value, words: list[ir.Value]
) -> None:
    """Emit the addition to sums, one vector a part, of 16 times `TOGETHER` numbers times that part of levels."""
    kind = ir.VectorType(BYTE, OUTPUTS * TOGETHER)
    vector = builder.load(builder.bitcast(builder.gep(numbers, [index]), kind.as_pointer()), align=1)
    for total, word in zip(totals, words, strict=True):
        builder.store(products.add_products(builder, builder.load(total), vector, word), total)


def sums_of(builder: ir.IRBuilder, n: int) -> list[list[ir.Value]]:
    """Emit sums to begin with, `n` times one for each part."""
    return [[cgutils.alloca_once_value(builder, ZEROS) for _ in range(PARTS)] for _ in range(n)]  # type: ignore[no-untyped-call]


def joined(builder: ir.IRBuilder, totals: list[ir.Value]) -> ir.Value:
    """Emit the sum of the parts, the first of which counts 256 times the second."""
    high, *low = (builder.load(total) for total in totals)
    if not low:
        return high
    return builder.add(builder.shl(high, ir.Constant(high.type, [8] * OUTPUTS)), low[0])


def _score_intrinsic(
    _: Any, levels: Any, n_steps: Any, offset: Any, factor: Any, bits: Any, keys: Any, ahead: Any, scales: Any,
    scale: Any, scores: Any, first: Any,
) -> Any:  # fmt: skip
    """Write a query's scores of a block of keys, from `bits[keys]` on, to `scores[first]` and on.

    They are the sums of products, plus `offset`, times `factor` and the keys' scales, from `scales[scale]` on.
    Meanwhile the block at `bits[ahead]` is fetched.
    """

    def emit(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        _, n_steps, offset, factor, *_ = arguments
        levels, numbers, ahead, scales, scores = (
            products.address(context, builder, signature.args[array], arguments[array], index)
            for array, index in (
                (0, LONG(0)), (4, arguments[5]), (4, arguments[6]), (7, arguments[8]), (9, arguments[10])
            )
        )  # fmt: skip
        for at in range(0, BLOCK_TOKENS * SCALE_BYTES, _LINE):
            products.prefetch(builder, ahead, LONG(at))
        ahead = builder.gep(ahead, [LONG(BLOCK_TOKENS * SCALE_BYTES)])
        totals, size = sums_of(builder, VECTORS), OUTPUTS * TOGETHER
        with cgutils.for_range(builder, n_steps) as loop:
            words, start = _words(builder, levels, loop.index, n_steps), builder.mul(loop.index, LONG(VECTORS * size))
            for vector, total in enumerate(totals):
                at = builder.add(start, LONG(vector * size))
                if vector * size % _LINE == 0:
                    products.prefetch(builder, ahead, at)
                _add_products(builder, total, numbers, at, words)
        begin, factors = products.splat(builder, offset), products.splat(builder, factor)
        for vector, total in enumerate(totals):
            whole = builder.sitofp(builder.add(joined(builder, total), begin), factors.type)
            places = [builder.bitcast(each, factors.type.as_pointer()) for each in (scales, scores)]
            source, target = (builder.gep(place, [LONG(vector)]) for place in places)
            scaled = builder.fmul(whole, builder.fmul(builder.load(source, align=4), factors))
            builder.store(scaled, target, align=4)
        return context.get_dummy_value()

    number = types.int64
    return types.void(
        levels, number, types.int32, types.float32, bits, number, number, scales, number, scores, number
    ), emit


def _add_values_intrinsic(
    _: Any, levels: Any, first: Any, n_steps: Any, n: Any, bits: Any, values: Any, stride: Any, ahead: Any, sums: Any,
    to: Any,
) -> Any:  # fmt: skip
    """Add to 16 sums, from `sums[to]` on, the products of values and their weights.

    The levels of weights are steps of `TOGETHER` tokens; those from `first` on, `n_steps` of them, the parts `n` apart,
    belong to the values from `bits[values]` on, `stride` apart. Meanwhile as much is fetched from `bits[ahead]` on.
    """

    def emit(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        _, first, n_steps, n, _, _, stride, *_ = arguments
        levels, numbers, ahead, sums = (
            products.address(context, builder, signature.args[array], arguments[array], index)
            for array, index in ((0, LONG(0)), (4, arguments[5]), (4, arguments[7]), (8, arguments[9]))
        )
        totals = sums_of(builder, _UNROLLED)

        def add(total: list[ir.Value], step: ir.Value) -> None:
            at = builder.mul(step, stride)
            products.prefetch(builder, ahead, at)
            _add_products(builder, total, numbers, at, _words(builder, levels, builder.add(first, step), n))

        unrolled = builder.and_(n_steps, LONG(-_UNROLLED))
        with cgutils.for_range_slice(builder, LONG(0), unrolled, LONG(_UNROLLED), inc=True) as (step, _):
            for each, total in enumerate(totals):
                add(total, builder.add(step, LONG(each)))
        with cgutils.for_range_slice(builder, unrolled, n_steps, LONG(1), inc=True) as (step, _):
            add(totals[0], step)
        address = builder.bitcast(sums, ZEROS.type.as_pointer())
        result = builder.load(address, align=4)
        for total in totals:
            result = builder.add(result, joined(builder, total))
        builder.store(result, address, align=4)
        return context.get_dummy_value()

    number = types.int64
    return types.void(levels, number, number, number, bits, number, number, number, sums, number), emit


_score: Any = intrinsic(_score_intrinsic)
_add_values: Any = intrinsic(_add_values_intrinsic)


@compiled(is_part=True)
def place(levels: NDArray[Any], at: int, apart: int, level: int) -> None:
    """Write a level as its parts, so far apart."""
    if PARTS == 1:
        levels[at] = level
    else:
        high = (level + np.int32(128)) >> np.int32(8)
        levels[at], levels[at + apart] = high, level - (high << np.int32(8))


@compiled(is_part=True)
def keep(
    numbers: NDArray[np.float32], absmax: np.float32, bits: NDArray[np.uint8], scales: NDArray[np.float32], block: int,
    lane: int, is_key: bool,
) -> None:  # fmt: skip
    """Write a token's key or value, which is over its absmax, to its place in a block."""
    scales[block // SCALE_BYTES + lane] = (_SMALLEST if absmax < _SMALLEST else absmax) / np.float32(STEPS)
    first, step, stride = block + BLOCK_TOKENS * SCALE_BYTES, BLOCK_TOKENS * TOGETHER, 1
    if is_key:
        first += lane * TOGETHER
    else:
        first += lane // TOGETHER * (len(numbers) * TOGETHER) + lane % TOGETHER
        step, stride = TOGETHER * TOGETHER, TOGETHER
    for i in range(len(numbers)):
        at = first + i // TOGETHER * step + i % TOGETHER * stride
        bits[at] = np.int32(np.rint(numbers[i] * np.float32(STEPS))) + OFFSET


@compiled(REORDERED, is_part=True)
def _scores(
    query: NDArray[np.float32], scale: np.float32, bits: NDArray[np.uint8], scales: NDArray[np.float32], keys: int,
    values: int, n_blocks: int, n_bytes: int,
) -> NDArray[np.float32]:  # fmt: skip
    """Return the scores of blocks of keys for a query, which is over its absmax; `scale` is that too.

    Meanwhile the values are fetched.
    """
    levels, whole = np.empty(PARTS * len(query), dtype=KIND), np.int32(0)
    for i in range(len(query)):
        level = np.int32(np.rint(query[i] * np.float32(LEVELS)))
        whole += level
        place(levels, i, len(query), level)
    offset, factor = np.int32(whole * -OFFSET), scale / np.float32(LEVELS)
    scores = np.empty(n_blocks * BLOCK_TOKENS, dtype=np.float32)
    for block in range(n_blocks):
        at = keys + block * n_bytes
        _score(
            levels, len(query) // TOGETHER, offset, factor, bits, at + BLOCK_TOKENS * SCALE_BYTES,
            values + block * n_bytes, scales, at // SCALE_BYTES, scores, block * BLOCK_TOKENS,
        )  # fmt: skip
    return scores


@compiled(REORDERED, is_part=True)
def weigh(
    weights: NDArray[np.float32], n_tokens: int, scales: NDArray[np.float32], first: int, stride: int,
    levels: NDArray[Any], query: int, n_queries: int,
) -> tuple[np.float32, np.int32]:  # fmt: skip
    """Write the levels of weights times their values' scales; return how many levels make 1, and the sum of all.

    The weights are those of whole blocks; behind `n_tokens` they count nothing. Levels are of shape = (n_blocks,
    n_queries, parts, BLOCK_TOKENS), all in one.
    """
    for block in range(len(weights) // BLOCK_TOKENS):
        ours = weights[block * BLOCK_TOKENS : (block + 1) * BLOCK_TOKENS]
        theirs = scales[first + block * stride : first + block * stride + BLOCK_TOKENS]
        for token in range(BLOCK_TOKENS):
            ours[token] *= theirs[token]
    weights[n_tokens:] = 0
    bits, largest, total = weights.view(np.int32), np.int32(0), np.float32(0)
    for token in range(len(weights)):
        largest = max(largest, bits[token])  # none is negative, so their bits have the same order
        total += weights[token]
    most = _from_bits(np.int32(largest).view(np.uint32))
    factor, whole = min(np.float32(LEVELS) / most, np.float32(_MAX_SUM) / total), np.int32(0)
    for block in range(len(weights) // BLOCK_TOKENS):
        ours, at = weights[block * BLOCK_TOKENS : (block + 1) * BLOCK_TOKENS], (block * n_queries + query) * PARTS
        theirs = levels[at * BLOCK_TOKENS : (at + PARTS) * BLOCK_TOKENS]
        for token in range(BLOCK_TOKENS):
            level = np.int32(ours[token] * factor + np.float32(0.5))
            whole += level
            place(theirs, token, BLOCK_TOKENS, level)
    return factor, whole


@compiled(is_part=True)
def _add_up(
    levels: NDArray[Any], n_tokens: int, bits: NDArray[np.uint8], values: int, ahead: int, n_bytes: int,
    sums: NDArray[np.int32],
) -> None:  # fmt: skip
    """Add the products of values and the levels of their weights to sums, shape = (head_width,), rounded up.

    Meanwhile as many blocks are fetched from `ahead` on.
    """
    stride, words = len(sums) * TOGETHER, BLOCK_TOKENS // TOGETHER
    for block in range(len(levels) // (PARTS * BLOCK_TOKENS)):
        at, first = block * n_bytes + BLOCK_TOKENS * SCALE_BYTES, block * PARTS * words
        n = min(BLOCK_TOKENS, n_tokens - block * BLOCK_TOKENS + TOGETHER - 1) // TOGETHER
        for to in range(0, len(sums), OUTPUTS):
            there = at + to * TOGETHER
            _add_values(levels, first, n, words, bits, values + there, stride, ahead + there, sums, to)


@compiled(REORDERED, is_part=True)
def _attend(
    query: NDArray[np.float32], scale: np.float32, bits: NDArray[np.uint8], scales: NDArray[np.float32], keys: int,
    values: int, n_tokens: int, n_bytes: int, ahead: int,
) -> None:  # fmt: skip
    """Write what a query, which is over its absmax, gets of a head's first tokens, in its place."""
    weights = _scores(query, scale, bits, scales, keys, values, -(-n_tokens // BLOCK_TOKENS), n_bytes)
    total, levels = _exponentials(weights[:n_tokens]), np.empty(PARTS * len(weights), dtype=KIND)
    factor, whole = weigh(weights, n_tokens, scales, values // SCALE_BYTES, n_bytes // SCALE_BYTES, levels, 0, 1)
    sums = np.full(len(query), whole * -OFFSET, dtype=np.int32)
    _add_up(levels, n_tokens, bits, values, ahead, n_bytes, sums)
    for i in range(len(query)):
        query[i] = np.float32(sums[i]) / (factor * total)


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
            _attend(numbers, largest * scale, bits, scales, keys, values, last + 1, n_bytes, ahead)
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
