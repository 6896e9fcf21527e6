"""Multiply rows by weights of sixteen, eight or four bits on CPUs, compiled by numba.

Compiled code is kept for the next start until its file changes; numba looks at no other, so all of this is here.

Weights of sixteen bits are float16, and are multiplied by float32. Others are whole numbers from 0 on, for CPUs
multiply unsigned bytes by signed ones, times a scale and plus an offset: one of each for an output, or for an output's
next 32 inputs; activations are rounded to whole numbers from -127 to 127, and their sums are of 32 bits and exact. What
is not exact is added up in one order, so a row's result is the same to the bit beside whatever rows it is computed.

A step reads one vector of weights, of a few inputs for each of 16 outputs, and multiplies it by the same inputs of up
to `MAX_ROWS` rows: weights come from memory once, and in the order in which they lie there.
"""

from typing import Any, Final

import numpy as np
from llvmlite import ir
from numba import prange, types
from numba.core import cgutils
from numba.core.registry import cpu_target
from numba.extending import intrinsic, overload
from numpy.typing import NDArray

from amt.gpt2.cpu.compiling import compiled

STEPS: Final = 127
"""To how many steps, to either side of zero, activations are rounded."""

OFFSET: Final = 128
"""What is added to weights of eight bits."""

OUTPUTS: Final = 16
"""Outputs that are computed side by side: a vector of AVX-512, or two or four of what other CPUs have."""

INPUTS: Final = 16
"""Of weights of eight bits the number of inputs is a multiple of this: at most so many are read in a turn."""

GROUP: Final = 32
"""Inputs for which weights of four bits have a scale and an offset of their own."""

_UNROLLED: Final = 4
"""Sums under way at least: one has to wait for its last addition."""

_AHEAD: Final = 2_048
"""Bytes of weights that are asked for before they are wanted: CPUs look ahead to the end of a page of memory only."""

_MANY_ROWS: Final = 64
"""From here on threads share the rounding of rows too; for fewer it takes less time than to call the threads."""

_MAGIC: Final = np.float32(3 << 22)
"""Added to a small number it leaves that, rounded to the nearest whole one, in the last bits."""

_MAGIC_BITS: Final = np.int32(_MAGIC.view(np.int32))

BYTE, SHORT, WORD, FLOAT, LONG = ir.IntType(8), ir.IntType(16), ir.IntType(32), ir.FloatType(), ir.IntType(64)
WORDS, FLOATS = ir.VectorType(WORD, OUTPUTS), ir.VectorType(FLOAT, OUTPUTS)
ZEROS: Final = ir.Constant(WORDS, [0] * OUTPUTS)


def _features() -> frozenset[str]:
    """Return what the CPU has, as numba compiles for it; what is kept on disk is for these features alone."""
    _, _, features = cpu_target.target_context.codegen().magic_tuple()
    return frozenset(feature.removeprefix("+") for feature in features.split(",") if feature.startswith("+"))


_FEATURES: Final = _features()

HAS_VNNI: Final = not _FEATURES.isdisjoint({"avx512vnni", "avxvnni"})
"""Whether the CPU adds up four products of bytes in one instruction."""

HAS_WIDE_VNNI: Final = "avx512vnni" in _FEATURES
"""Whether it does so for 16 outputs, not 8."""

HAS_AMX: Final = "amx-int8" in _FEATURES
"""Whether it multiplies tiles of bytes."""

MAX_ROWS: Final = 16 if HAS_WIDE_VNNI else 6
"""Rows that are computed together: their sums have to stay in registers."""

TOGETHER: Final = 4 if HAS_VNNI else 2
"""How many inputs of an output lie together, and are multiplied in one instruction."""

ROUNDED: Final[dict[int, NDArray[Any]]] = {
    4: np.empty(0, np.int8),
    2: np.empty(0, np.int16),
    1: np.empty(0, np.float32),
}
"""Arrays of what activations are rounded to, by how many inputs lie together: of weights of sixteen bits one."""


def _vector(kind: ir.Type, numbers: list[Any]) -> ir.Constant:
    return ir.Constant(ir.VectorType(kind, len(numbers)), numbers)


def address(context: Any, builder: ir.IRBuilder, kind: Any, array: ir.Value, index: ir.Value) -> ir.Value:
    """Emit the address of a number in an array, counted from its first one."""
    return builder.gep(context.make_array(kind)(context, builder, array).data, [index])


def splat(builder: ir.IRBuilder, number: ir.Value) -> ir.Value:
    """Emit a vector of 16 times the same number."""
    empty = _vector(number.type, [ir.Undefined] * OUTPUTS)
    return builder.shuffle_vector(builder.insert_element(empty, number, WORD(0)), empty, _vector(WORD, [0] * OUTPUTS))


def reduce_max(builder: ir.IRBuilder, numbers: ir.Value) -> ir.Value:
    """Emit the largest of 16 whole numbers."""
    name = f"llvm.vector.reduce.smax.v{OUTPUTS}i32"
    function = cgutils.get_or_insert_function(builder.module, ir.FunctionType(WORD, [WORDS]), name)  # type: ignore[no-untyped-call]
    return builder.call(function, [numbers])


def prefetch(builder: ir.IRBuilder, address: ir.Value, index: ir.Value) -> None:
    """Emit that a line of memory is fetched, for reading; the index is of bytes.

    It is fetched to the second cache: on the way to the first one fewer lines can be under way.
    """
    kind = ir.FunctionType(ir.VoidType(), [BYTE.as_pointer(), WORD, WORD, WORD])
    function = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")  # type: ignore[no-untyped-call]
    builder.call(function, [builder.gep(address, [index]), WORD(0), WORD(2), WORD(1)])


def _transposed(builder: ir.IRBuilder, rows: list[ir.Value]) -> list[ir.Value]:
    """Emit 16 vectors of 16 words, of which the first has the first words of 16 such vectors, and so on."""
    distance = OUTPUTS // 2
    while distance:
        is_far = [lane & distance > 0 for lane in range(OUTPUTS)]
        low = [OUTPUTS + lane - distance if far else lane for lane, far in enumerate(is_far)]
        high = [OUTPUTS + lane if far else lane + distance for lane, far in enumerate(is_far)]
        rows = [
            builder.shuffle_vector(rows[i & ~distance], rows[i | distance], _vector(WORD, high if far else low))
            for i, far in enumerate(is_far)
        ]
        distance //= 2
    return rows


def _interleave_intrinsic(_: Any, numbers: Any, apart: Any, n_words: Any, target: Any, first: Any, stride: Any) -> Any:
    """Write the first words of 16 rows of numbers side by side, then the second ones, `stride` bytes behind, and so on.

    Rows begin `apart` words after another, a multiple of 16; the first word goes to `target[first]`.
    """

    def emit(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        _, apart, n_words, _, first, stride = arguments
        source = builder.bitcast(address(context, builder, signature.args[0], arguments[0], LONG(0)), WORD.as_pointer())
        target = address(context, builder, signature.args[3], arguments[3], first)
        target = builder.bitcast(target, BYTE.as_pointer())
        with cgutils.for_range_slice(builder, LONG(0), n_words, LONG(OUTPUTS), inc=True) as (begin, _):
            starts = [builder.add(begin, builder.mul(LONG(row), apart)) for row in range(OUTPUTS)]
            rows = [builder.bitcast(builder.gep(source, [start]), WORDS.as_pointer()) for start in starts]
            loaded = [builder.load(row, align=1) for row in rows]
            for index, vector in enumerate(_transposed(builder, loaded)):
                step = builder.add(begin, LONG(index))
                with builder.if_then(builder.icmp_signed("<", step, n_words)):
                    place = builder.gep(target, [builder.mul(step, stride)])
                    builder.store(vector, builder.bitcast(place, WORDS.as_pointer()), align=1)
        return context.get_dummy_value()

    number = types.int64
    return types.void(numbers, number, number, target, number, number), emit


interleave: Any = intrinsic(_interleave_intrinsic)


def _read_weights(
    builder: ir.IRBuilder, weights: ir.Value, index: ir.Value, size: int, number: ir.Type = BYTE
) -> ir.Value:
    """Emit a vector of numbers, and that memory gets others ready; the index is of bytes."""
    prefetch(builder, weights, builder.add(index, LONG(_AHEAD)))
    address = builder.bitcast(builder.gep(weights, [index]), ir.VectorType(number, size).as_pointer())
    return builder.load(address, align=1)


def add_products(
    builder: ir.IRBuilder, sums: ir.Value, weights: ir.Value, word: ir.Value, *, is_signed: bool = False
) -> ir.Value:
    """Emit 16 sums plus products of weights and of the activations in a word, which are 4 in 8 bits or 2 in 16.

    Weights have no sign and activations have, unless `is_signed`: then it is the other way round.
    """
    halves = ir.VectorType(SHORT, 2 * OUTPUTS)
    if weights.type.count == 4 * OUTPUTS:
        vectors = builder.bitcast(weights, sums.type), splat(builder, word)
        return _add_with_vnni(builder, sums, *(reversed(vectors) if is_signed else vectors))
    # LLVM knows this: one instruction on x86 multiplies numbers of 16 bits and adds up pairs.
    wide = ir.VectorType(WORD, 2 * OUTPUTS)
    activations = builder.sext(builder.bitcast(splat(builder, word), halves), wide)
    extended = builder.sext(weights, halves) if is_signed else builder.zext(weights, halves)
    products = builder.mul(builder.sext(extended, wide), activations)
    even, odd = (
        builder.shuffle_vector(products, products, _vector(WORD, list(range(first, 2 * OUTPUTS, 2))))
        for first in (0, 1)
    )
    return builder.add(sums, builder.add(even, odd))


def _add_with_vnni(builder: ir.IRBuilder, *vectors: ir.Value) -> ir.Value:
    """Emit 16 sums plus products of four unsigned bytes and four signed ones each."""
    lanes = OUTPUTS if HAS_WIDE_VNNI else OUTPUTS // 2
    kind = ir.VectorType(WORD, lanes)
    name = f"llvm.x86.avx512.vpdpbusd.{32 * lanes}"
    function = cgutils.get_or_insert_function(builder.module, ir.FunctionType(kind, [kind] * 3), name)  # type: ignore[no-untyped-call]
    if HAS_WIDE_VNNI:
        return builder.call(function, vectors)
    low, high = (
        builder.call(function, [builder.shuffle_vector(each, each, _vector(WORD, lane)) for each in vectors])
        for lane in (list(range(lanes)), list(range(lanes, OUTPUTS)))
    )
    return builder.shuffle_vector(low, high, _vector(WORD, list(range(OUTPUTS))))


def _multiply_rows_intrinsic(
    _: Any, n_rows: Any, rounded: Any, first: Any, sums: Any, group: Any, weights: Any, panel: Any, n_steps: Any,
    scales: Any, output: Any, product: Any, to: Any, n_columns: Any,
) -> Any:  # fmt: skip
    """Multiply the rows from `rounded[first]` on by the weights from `weights[panel]` on.

    Each row gets 16 numbers, the first `product[to]`, the next `n_columns` behind, and so on.
    """

    def emit(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        def at(array: int) -> ir.Value:
            return address(context, builder, signature.args[array], arguments[array], arguments[array + 1])

        activations = builder.bitcast(at(1), WORD.as_pointer())
        sums, weights, scales, product = (at(array) for array in (3, 5, 8, 10))
        weights = builder.bitcast(weights, BYTE.as_pointer())
        sum_up = _sum_up_halves if rounded.dtype == types.float32 else _sum_up
        if signature.args[8].dtype != types.float32:
            sum_up = _sum_up_groups
        end = builder.append_basic_block("end")
        switch = builder.switch(arguments[0], end)
        for n_rows in range(1, MAX_ROWS + 1):
            with builder.goto_block(builder.append_basic_block(f"rows{n_rows}")):
                switch.add_case(LONG(n_rows), builder.block)
                bits = rounded.dtype.bitwidth
                results = sum_up(builder, n_rows, activations, sums, weights, scales, arguments[7], bits)
                for row, each in enumerate(results):
                    to = builder.gep(product, [builder.mul(LONG(row), arguments[12])])
                    builder.store(each, builder.bitcast(to, FLOATS.as_pointer()), align=4)
                builder.branch(end)
        builder.position_at_end(end)
        return context.get_dummy_value()

    number = types.int64
    return types.void(
        number, rounded, number, sums, number, weights, number, number, scales, number, product, number, number
    ), emit


def _sum_up(
    builder: ir.IRBuilder, n_rows: int, activations: ir.Value, sums: ir.Value, weights: ir.Value, scales: ir.Value,
    n_steps: ir.Value, bits: int,
) -> list[ir.Value]:  # fmt: skip
    """Emit the loop over all steps with weights of eight bits, and return 16 results for each row."""
    size = OUTPUTS * 32 // bits
    offsets = [builder.mul(builder.load(builder.gep(sums, [LONG(row)])), WORD(-OFFSET)) for row in range(n_rows)]
    n_turns = -(-_UNROLLED // n_rows)
    begun = [splat(builder, offset) for offset in offsets] + [ZEROS] * (n_rows * n_turns - n_rows)
    totals = [cgutils.alloca_once_value(builder, start) for start in begun]  # type: ignore[no-untyped-call]
    with cgutils.for_range_slice(builder, LONG(0), n_steps, LONG(n_turns), inc=True) as (first, _):
        for turn in range(n_turns):
            step = builder.add(first, LONG(turn))
            vector = _read_weights(builder, weights, builder.mul(step, LONG(size)), size)
            words = builder.gep(activations, [builder.mul(step, LONG(n_rows))])
            _add_to_each(builder, totals[turn * n_rows :][:n_rows], vector, words)
    loaded = [builder.load(each) for each in totals]
    for index in range(n_rows, len(loaded)):
        loaded[index % n_rows] = builder.add(loaded[index % n_rows], loaded[index])
    factors = builder.load(builder.bitcast(scales, FLOATS.as_pointer()), align=4)
    return [builder.fmul(builder.sitofp(each, FLOATS), factors) for each in loaded[:n_rows]]


def _sum_up_groups(
    builder: ir.IRBuilder, n_rows: int, activations: ir.Value, sums: ir.Value, weights: ir.Value, scales: ir.Value,
    n_steps: ir.Value, bits: int,
) -> list[ir.Value]:  # fmt: skip
    """Emit the loop over all groups of weights of four bits, and return 16 results for each row."""
    size, n_pairs = OUTPUTS * 32 // bits, GROUP * bits // 64
    totals = [cgutils.alloca_once_value(builder, _vector(FLOAT, [0.0] * OUTPUTS)) for _ in range(n_rows)]  # type: ignore[no-untyped-call]
    mask, shift = (_vector(BYTE, [number] * size) for number in (15, 4))
    with cgutils.for_range(builder, builder.udiv(n_steps, LONG(2 * n_pairs))) as loop:
        partial = [cgutils.alloca_once_value(builder, ZEROS) for _ in range(n_rows)]  # type: ignore[no-untyped-call]
        first = builder.mul(loop.index, LONG(n_pairs))
        with cgutils.for_range(builder, LONG(n_pairs)) as inner:
            pair = builder.add(first, inner.index)
            vector = _read_weights(builder, weights, builder.mul(pair, LONG(size)), size)
            words = builder.gep(activations, [builder.mul(pair, LONG(2 * n_rows))])
            _add_to_each(builder, partial, builder.and_(vector, mask), words)
            _add_to_each(builder, partial, builder.lshr(vector, shift), builder.gep(words, [LONG(n_rows)]))
        factors, offsets = (
            _read_bfloat16(builder, scales, builder.add(builder.mul(loop.index, LONG(2 * OUTPUTS)), LONG(at)))
            for at in (0, OUTPUTS)
        )
        for row, (total, whole) in enumerate(zip(totals, partial, strict=True)):
            index = builder.add(builder.mul(loop.index, LONG(n_rows)), LONG(row))
            activation = builder.sitofp(splat(builder, builder.load(builder.gep(sums, [index]))), FLOATS)
            scaled = fuse(builder, builder.sitofp(builder.load(whole), FLOATS), factors, builder.load(total))
            builder.store(fuse(builder, activation, offsets, scaled), total)
    return [builder.load(total) for total in totals]


def _sum_up_halves(
    builder: ir.IRBuilder, n_rows: int, activations: ir.Value, sums: ir.Value, weights: ir.Value, scales: ir.Value,
    n_steps: ir.Value, bits: int,
) -> list[ir.Value]:  # fmt: skip
    """Emit the loop over all inputs with weights of sixteen bits, and return 16 results for each row."""
    totals = [cgutils.alloca_once_value(builder, _vector(FLOAT, [0.0] * OUTPUTS)) for _ in range(n_rows)]  # type: ignore[no-untyped-call]
    with cgutils.for_range(builder, n_steps) as loop:
        halves = _read_weights(builder, weights, builder.mul(loop.index, LONG(2 * OUTPUTS)), OUTPUTS, ir.HalfType())
        vector = builder.fpext(halves, FLOATS)
        words = builder.gep(activations, [builder.mul(loop.index, LONG(n_rows))])
        for row, total in enumerate(totals):
            activation = splat(builder, builder.load(builder.gep(words, [LONG(row)])))
            fused = fuse(builder, builder.bitcast(activation, FLOATS), vector, builder.load(total))
            builder.store(fused, total)
    factors = builder.load(builder.bitcast(scales, FLOATS.as_pointer()), align=4)
    return [builder.fmul(builder.load(total), factors) for total in totals]


def _add_to_each(builder: ir.IRBuilder, totals: list[ir.Value], weights: ir.Value, words: ir.Value) -> None:
    """Emit the addition to each row's sums of weights times that row's word."""
    for row, total in enumerate(totals):
        word = builder.load(builder.gep(words, [LONG(row)]))
        builder.store(add_products(builder, builder.load(total), weights, word), total)


def _read_bfloat16(builder: ir.IRBuilder, numbers: ir.Value, index: ir.Value) -> ir.Value:
    """Emit a vector of floats, the leading bits of which are stored."""
    halves = ir.VectorType(SHORT, OUTPUTS)
    loaded = builder.load(builder.bitcast(builder.gep(numbers, [index]), halves.as_pointer()), align=2)
    return builder.bitcast(builder.shl(builder.zext(loaded, WORDS), _vector(WORD, [16] * OUTPUTS)), FLOATS)


def fuse(builder: ir.IRBuilder, *vectors: ir.Value) -> ir.Value:
    """Emit a product plus a third vector, rounded once where the CPU can."""
    name = f"llvm.fmuladd.v{OUTPUTS}f32"
    function = cgutils.get_or_insert_function(builder.module, ir.FunctionType(FLOATS, [FLOATS] * 3), name)  # type: ignore[no-untyped-call]
    return builder.call(function, vectors)


_multiply_rows: Any = intrinsic(_multiply_rows_intrinsic)


@compiled(parallel=True)
def product(
    x: NDArray[np.float32],
    kind: NDArray[np.int8] | NDArray[np.int16] | NDArray[np.float32],
    weights: NDArray[np.uint8] | NDArray[np.uint16],
    scales: NDArray[np.float32] | NDArray[np.uint16],
    n_outputs: int,
) -> NDArray[np.float32]:
    """Return the products of rows and a matrix, shape = (n_rows, n_outputs).

    Args:
        x: magnitudes up to 1, shape = (n_rows, inputs).
        kind: that of `ROUNDED` for these weights.
        weights: shape = (outputs / 16, inputs / together, 16, together), rounded up; `together` is 4 with VNNI, else 2,
            and for weights of sixteen bits, which are float16's, 1. Of four bits two steps share a byte, the first in
            its low half.
        scales: for weights of sixteen bits shape = (outputs / 16, 16); for those of eight bits likewise, with `STEPS`
            divided out; for those of four bits of bfloat16, shape = (outputs / 16, inputs / 32, 2, 16), scales and
            offsets.
        n_outputs: how many there are.
    """
    n_rows, n_groups = len(x), 1 if scales.ndim == 2 else scales.shape[1]
    n_inputs = weights.shape[1] * weights.shape[3] if scales.ndim == 2 else n_groups * GROUP
    rounded, sums = np.empty(n_rows * n_inputs, kind.dtype), np.empty(n_rows * n_groups, np.int32)
    result = np.empty((n_rows, n_outputs), np.float32)
    n_tiles = -(-n_rows // MAX_ROWS)
    if n_rows < _MANY_ROWS:
        for tile in range(n_tiles):
            _round(x, tile * MAX_ROWS, rounded, sums)
    else:
        for tile in prange(n_tiles):
            _round(x, tile * MAX_ROWS, rounded, sums)
    n_whole = n_outputs // OUTPUTS
    for panel in prange(n_whole):
        _multiply_panel(rounded, sums, weights, scales, panel, result, panel * OUTPUTS)
    if n_whole * OUTPUTS < n_outputs:  # what lies behind these outputs belongs to the next row
        rest = np.empty((n_rows, OUTPUTS), np.float32)
        _multiply_panel(rounded, sums, weights, scales, n_whole, rest, 0)
        result[:, n_whole * OUTPUTS :] = rest[:, : n_outputs - n_whole * OUTPUTS]
    return result


def _place(numbers: Any, i: int, x: np.float32) -> None:
    """Write a number as the array's kind has it."""


@overload(_place)
def _place_overload(numbers: Any, i: Any, x: Any) -> Any:
    def place(numbers: Any, i: Any, x: Any) -> None:
        numbers[i] = x

    def place_rounded(numbers: Any, i: Any, x: Any) -> None:
        numbers[i] = np.float32(x * np.float32(STEPS) + _MAGIC).view(np.int32) - _MAGIC_BITS

    return place if numbers.dtype == types.float32 else place_rounded


@compiled()
def _round(
    x: NDArray[np.float32],
    first: int,
    rounded: NDArray[np.int8] | NDArray[np.int16] | NDArray[np.float32],
    sums: NDArray[np.int32],
) -> None:
    """Write the numbers of rows that are multiplied together side by side, and the sums of their groups."""
    n_rows, n_inputs = x.shape
    together, n_groups, n_numbers = min(MAX_ROWS, n_rows - first), len(sums) // n_rows, len(rounded) // n_rows
    n_words, in_word = n_numbers * rounded.itemsize // 4, 4 // rounded.itemsize
    apart = -(-n_words // OUTPUTS) * OUTPUTS
    numbers = np.zeros((together, apart * in_word), rounded.dtype)
    for row in range(together):
        own = numbers[row]
        for i in range(n_inputs):
            _place(own, i, x[first + row, i])
        groups = own[:n_numbers].reshape(n_groups, -1)
        for group in range(n_groups):
            total = np.int32(0)
            for i in range(groups.shape[1]):
                total += np.int32(groups[group, i])
            sums[first * n_groups + group * together + row] = total
    if together == OUTPUTS:
        interleave(numbers, apart, n_words, rounded, first * n_numbers, OUTPUTS * 4)
        return
    source, words = numbers.view(np.int32), rounded.view(np.int32)[first * n_words :]
    for step in range(n_words):
        for row in range(together):
            words[step * together + row] = source[row, step]


@compiled()
def _multiply_panel(
    rounded: NDArray[np.int8] | NDArray[np.int16] | NDArray[np.float32],
    sums: NDArray[np.int32],
    weights: NDArray[np.uint8] | NDArray[np.uint16],
    scales: NDArray[np.float32] | NDArray[np.uint16],
    panel: int,
    product: NDArray[np.float32],
    to: int,
) -> None:
    """Multiply all rows by the weights of 16 outputs, and write that to a product's columns from `to` on."""
    n_rows, n_columns = product.shape
    n_inputs, n_groups = len(rounded) // n_rows, len(sums) // n_rows
    n_steps = n_inputs * rounded.itemsize // 4
    first_weight, first_scale = panel * (weights.size // len(weights)), panel * (scales.size // len(scales))
    for row in range(0, n_rows, MAX_ROWS):
        _multiply_rows(
            min(MAX_ROWS, n_rows - row), rounded, row * n_inputs, sums, row * n_groups, weights, first_weight, n_steps,
            scales, first_scale, product, row * n_columns + to, n_columns,
        )  # fmt: skip
