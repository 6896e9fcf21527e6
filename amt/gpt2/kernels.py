"""Compute on CPUs, compiled by numba, what PyTorch does slowly: what lies between matrices.

Compiled code is kept for the next start until its file changes; numba looks at no other, so all of this is here.
"""

from typing import Any, Final

import numpy as np
from llvmlite import ir
from numba import prange, types
from numba.core import cgutils
from numba.extending import intrinsic
from numpy.typing import NDArray

from amt.gpt2.cache import KEYS_TOGETHER
from amt.gpt2.compiling import compiled

_SMALLEST: Final = np.finfo(np.float32).tiny.view(np.uint32)
"""The bits of the smallest normal number, by which one may divide."""

_TWO_TO: Final = tuple(
    np.polynomial.Chebyshev.interpolate(np.exp2, 6, (0, 1)).convert(kind=np.polynomial.Polynomial).coef[::-1].tolist()
)
"""A polynomial that is 2**x from 0 to 1, highest power first."""

_FLOAT, _WORD, _LONG = ir.FloatType(), ir.IntType(32), ir.IntType(64)

_LANES: Final = 16
"""Numbers that are computed side by side: a vector of AVX-512, or two or four of what other CPUs have."""

_PAIRS: Final = 2 * _LANES
"""Numbers of bfloat16 that are read at once: as words, the halves of which are floats but for their last bits."""

_UNROLLED: Final = KEYS_TOGETHER // _PAIRS
"""Pairs of vectors of sums under way at once: one has to wait for its last addition, for four cycles or so."""

_VALUES_TOGETHER: Final = 64
"""Tokens whose values are read for one part of a head, then for the next: few enough to stay in the first cache."""

REORDERED: Final = frozenset({"reassoc", "contract"})
"""Sums may be taken in whatever order suits vectors: it depends on a row's length and nothing else."""


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


def _vector(kind: ir.Type, number: Any) -> ir.Constant:
    return ir.Constant(ir.VectorType(kind, _LANES), [number] * _LANES)


def _pointer(context: Any, builder: ir.IRBuilder, kind: Any, array: ir.Value, index: ir.Value) -> ir.Value:
    """Emit the address of a number in an array of one dimension."""
    return builder.gep(context.make_array(kind)(context, builder, array).data, [index])


def _prefetch(builder: ir.IRBuilder, numbers: ir.Value, index: ir.Value) -> None:
    """Emit that a line of memory is fetched, for reading, to the nearest cache."""
    kind = ir.FunctionType(ir.VoidType(), [ir.IntType(8).as_pointer(), _WORD, _WORD, _WORD])
    function = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")  # type: ignore[no-untyped-call]
    address = builder.bitcast(builder.gep(numbers, [index]), ir.IntType(8).as_pointer())
    builder.call(function, [address, _WORD(0), _WORD(3), _WORD(1)])


def _zeros(builder: ir.IRBuilder) -> list[list[ir.Value]]:
    """Emit pairs of vectors to sum up in."""
    return [
        [cgutils.alloca_once_value(builder, _vector(_FLOAT, 0.0)) for _ in range(2)]  # type: ignore[no-untyped-call]
        for _ in range(_UNROLLED)
    ]


def _add_product(
    builder: ir.IRBuilder, totals: list[ir.Value], factor: ir.Value, numbers: ir.Value, index: ir.Value
) -> None:
    """Emit the addition to a pair of vectors of a factor times bfloat16 numbers: the even ones, and the odd ones.

    Their bits are the leading ones of floats. To widen them one by one, in their order, takes twice as long.
    """
    words, floats = (ir.VectorType(kind, _LANES) for kind in (_WORD, _FLOAT))
    loaded = builder.load(builder.bitcast(builder.gep(numbers, [index]), words.as_pointer()), align=2)
    single = builder.insert_element(_vector(_FLOAT, ir.Undefined), factor, _WORD(0))
    factors = builder.shuffle_vector(single, _vector(_FLOAT, ir.Undefined), _vector(_WORD, 0))
    halves = builder.shl(loaded, _vector(_WORD, 16)), builder.and_(loaded, _vector(_WORD, 0xFFFF0000))
    for total, half in zip(totals, halves, strict=True):
        product = builder.fmul(factors, builder.bitcast(half, floats), flags=("contract",))
        builder.store(builder.fadd(builder.load(total), product, flags=("contract",)), total)


def _in_order(builder: ir.IRBuilder, even: ir.Value, odd: ir.Value) -> list[ir.Value]:
    """Emit two vectors of the numbers of a pair, which alternate."""
    order = [place for pair in zip(range(_LANES), range(_LANES, _PAIRS), strict=True) for place in pair]
    return [
        builder.shuffle_vector(even, odd, ir.Constant(ir.VectorType(_WORD, _LANES), part))
        for part in (order[:_LANES], order[_LANES:])
    ]


def _score_intrinsic(
    _: Any, query: Any, head_width: Any, bits: Any, keys: Any, scores: Any, first: Any, ahead: Any
) -> Any:
    """Write the products of a query and of keys that lie together: from `bits[keys]` on to `scores[first]` and on.

    Meanwhile as much is fetched from `bits[ahead]` on.
    """

    def emit(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        query, bits, scores, ahead = (
            _pointer(context, builder, signature.args[array], arguments[array], index)
            for array, index in ((0, _LONG(0)), (2, arguments[3]), (4, arguments[5]), (2, arguments[6]))
        )
        totals = _zeros(builder)
        with cgutils.for_range(builder, arguments[1]) as loop:
            factor = builder.load(builder.gep(query, [loop.index]))
            start = builder.mul(loop.index, _LONG(KEYS_TOGETHER))
            for part, pair in enumerate(totals):
                at = builder.add(start, _LONG(part * _PAIRS))
                _prefetch(builder, ahead, at)
                _add_product(builder, pair, factor, bits, at)
        for part, pair in enumerate(totals):
            for half, vector in enumerate(_in_order(builder, *map(builder.load, pair))):
                address = builder.gep(scores, [_LONG(part * _PAIRS + half * _LANES)])
                builder.store(vector, builder.bitcast(address, vector.type.as_pointer()), align=4)
        return context.get_dummy_value()

    number = types.int64
    return types.void(query, number, bits, number, scores, number, number), emit


def _add_values_intrinsic(
    _: Any, weights: Any, first: Any, end: Any, bits: Any, values: Any, width: Any, seen: Any, to: Any, ahead: Any
) -> Any:
    """Add to some of `seen`, from `to` on, the weighted values of tokens from `first` to `end`, `width` apart.

    Meanwhile as much is fetched from `bits[ahead]` on.
    """

    def emit(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        _, first, end, _, values, width, _, to, ahead = arguments
        weights, bits, seen, ahead = (
            _pointer(context, builder, signature.args[array], arguments[array], index)
            for array, index in ((0, _LONG(0)), (3, values), (6, to), (3, ahead))
        )
        totals = _zeros(builder)

        def add(pair: list[ir.Value], token: ir.Value) -> None:
            at = builder.mul(token, width)
            _prefetch(builder, ahead, at)
            _add_product(builder, pair, builder.load(builder.gep(weights, [token])), bits, at)

        unrolled = builder.sub(end, builder.srem(builder.sub(end, first), _LONG(_UNROLLED)))
        with cgutils.for_range_slice(builder, first, unrolled, _LONG(_UNROLLED), inc=True) as (token, _):
            for each, pair in enumerate(totals):
                add(pair, builder.add(token, _LONG(each)))
        with cgutils.for_range_slice(builder, unrolled, end, _LONG(1), inc=True) as (token, _):
            add(totals[0], token)
        even, odd = (builder.fadd(*map(builder.load, same)) for same in zip(*totals, strict=True))
        for half, vector in enumerate(_in_order(builder, even, odd)):
            address = builder.bitcast(builder.gep(seen, [_LONG(half * _LANES)]), vector.type.as_pointer())
            builder.store(builder.fadd(builder.load(address, align=4), vector), address, align=4)
        return context.get_dummy_value()

    number = types.int64
    return types.void(weights, number, number, bits, number, number, seen, number, number), emit


_score: Any = intrinsic(_score_intrinsic)
_add_values: Any = intrinsic(_add_values_intrinsic)


@compiled(REORDERED, parallel=True)
def attend(
    product: NDArray[np.float32],
    absmax: NDArray[np.float32],
    bias: NDArray[np.float32],
    cached: NDArray[np.uint16],
    cache_lengths: NDArray[np.int64],
    scale: np.float32,
    attended: NDArray[np.float32],
) -> None:
    """Put a token's keys and values into the cache, and attend to them and to all before them.

    PyTorch multiplies bfloat16 on a CPU at a tenth of the memory's speed. This reads it as fast as it comes, each row
    as far as it goes, and what a row gets depends on nothing but itself, to the bit.

    Args:
        product: with absmax and bias, see `amt.gpt2.cpu`, queries, keys and values; shape = (n_rows, 3 * width).
        absmax: shape = (n_rows,); gets those of the result.
        bias: shape = (3 * width,).
        cached: bits of keys, which lie together as `Cache` says, and of values; shape = (2, at least n_rows, n_heads,
            context_tokens, head_width).
        cache_lengths: where each row's token belongs, shape = (n_rows,).
        scale: of the products of queries and keys.
        attended: gets the result over its absmax; shape = (n_rows, width).
    """
    n_rows, width = attended.shape
    _, max_rows, n_heads, context_tokens, head_width = cached.shape
    bits, head_size = cached.ravel(), context_tokens * head_width  # views of a row's keys would be counted, by locks
    for index in prange(n_rows * n_heads):
        head, row = index // n_rows, index % n_rows  # so that each thread gets some heads of all rows, long or short
        last, first = cache_lengths[row], head * head_width
        keys = (row * n_heads + head) * head_size
        values = keys + max_rows * n_heads * head_size
        lane = last % KEYS_TOGETHER
        key, value = keys + (last - lane) * head_width + lane, values + last * head_width
        query, seen = np.empty(head_width, dtype=np.float32), attended[row, first : first + head_width]
        for i in range(head_width):
            at = first + i
            query[i] = (product[row, at] * absmax[row] + bias[at]) * scale
            bits[key + i * KEYS_TOGETHER] = _to_bfloat16(product[row, width + at] * absmax[row] + bias[width + at])
            bits[value + i] = _to_bfloat16(product[row, 2 * width + at] * absmax[row] + bias[2 * width + at])
        scores = np.empty(last - lane + KEYS_TOGETHER, dtype=np.float32)
        for token in range(0, len(scores), KEYS_TOGETHER):
            _score(query, head_width, bits, keys + token * head_width, scores, token, values + token * head_width)
        next_head, next_row = (index + 1) // n_rows, (index + 1) % n_rows
        _add_up(_weigh(scores[: last + 1]), bits, values, seen, (next_row * n_heads + next_head) * head_size)
    for row in range(n_rows):
        absmax[row] = _divide_by_absmax(attended[row])


@compiled(REORDERED)
def _weigh(scores: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return scores as weights, the sum of which is 1, in their place."""
    largest, total = scores[0], np.float32(0)
    for token in range(len(scores)):
        largest = max(largest, scores[token])
    for token in range(len(scores)):
        scores[token] = exponential(scores[token] - largest)
        total += scores[token]
    for token in range(len(scores)):
        scores[token] /= total
    return scores


@compiled(REORDERED)
def _add_up(
    weights: NDArray[np.float32], bits: NDArray[np.uint16], values: int, seen: NDArray[np.float32], ahead: int
) -> None:
    """Write the weighted sum of the values, shape = (head_width,), which begin somewhere; and fetch what lies ahead."""
    head_width = len(seen)
    n_vectorised = head_width // _PAIRS * _PAIRS
    seen[:] = 0
    for token in range(0, len(weights), _VALUES_TOGETHER):  # all parts of some values while they are near
        end = min(token + _VALUES_TOGETHER, len(weights))
        for i in range(0, n_vectorised, _PAIRS):
            _add_values(weights, token, end, bits, values + i, head_width, seen, i, ahead + i)
        for i in range(n_vectorised, head_width):
            for each in range(token, end):
                seen[i] += weights[each] * _from_bfloat16(bits[values + each * head_width + i])


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


@compiled(REORDERED)
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
    for row in range(len(hidden)):
        absmax[row] = _add_row(hidden[row], product[row], absmax[row], bias, norm, epsilon, normalised[row])


@compiled(REORDERED, parallel=True)
def add_many(
    hidden: NDArray[np.float32],
    product: NDArray[np.float32],
    absmax: NDArray[np.float32],
    bias: NDArray[np.float32],
    norm: tuple[NDArray[np.float32], NDArray[np.float32]],
    epsilon: np.float32,
    normalised: NDArray[np.float32],
) -> None:
    """Do what `add` does, for so many rows that threads are worth calling."""
    for row in prange(len(hidden)):
        absmax[row] = _add_row(hidden[row], product[row], absmax[row], bias, norm, epsilon, normalised[row])


@compiled(REORDERED)
def _add_row(
    states: NDArray[np.float32],
    product: NDArray[np.float32],
    absmax: np.float32,
    bias: NDArray[np.float32],
    norm: tuple[NDArray[np.float32], NDArray[np.float32]],
    epsilon: np.float32,
    normalised: NDArray[np.float32],
) -> np.float32:
    """Do it for one row, and return the absmax of the result."""
    (scale, shift), width, total = norm, np.float32(len(states)), np.float32(0)
    for i in range(len(states)):
        states[i] += product[i] * absmax + bias[i]
        total += states[i]
    mean, squares = total / width, np.float32(0)
    for i in range(len(states)):
        squares += (states[i] - mean) * (states[i] - mean)
    factor = np.float32(1) / np.sqrt(squares / width + epsilon)
    for i in range(len(states)):
        normalised[i] = (states[i] - mean) * factor * scale[i] + shift[i]
    result: np.float32 = _divide_by_absmax(normalised)
    return result


@compiled(parallel=True)
def divide(numbers: NDArray[np.float32], absmax: NDArray[np.float32], normalised: NDArray[np.float32]) -> None:
    """Divide rows by their absmax, and write both; shape = (n_rows, width), (n_rows,), (n_rows, width)."""
    for row in prange(len(numbers)):
        normalised[row] = numbers[row]
        absmax[row] = _divide_by_absmax(normalised[row])


@compiled(parallel=True)
def activate(inner: NDArray[np.float32], absmax: NDArray[np.float32], bias: NDArray[np.float32]) -> None:
    """Apply GELU to a layer's result, in place and over its absmax; shape = (n_rows, width), (n_rows,), (width,)."""
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


@compiled()
def _gelu_of(x: np.float32) -> np.float32:
    """Apply the Gaussian error linear unit, by its approximation with tanh; PyTorch takes thrice as long.

    Source: Hendrycks and Gimpel 2016 (arXiv:1606.08415).
    """
    # x / 2 * (1 + tanh(y / 2)) is x / (1 + e**-y); of e**y and e**-y the one that cannot overflow.
    y = x * (np.float32(1.5957691216) + np.float32(0.0713548163) * x * x)
    power: np.float32 = exponential(-abs(y))
    return x * (np.float32(1) if y >= 0 else power) / (np.float32(1) + power)
