"""Multiply activations of eight bits by weights of eight bits on CPUs, compiled by numba.

Compiled code is kept for the next start until its file changes; numba looks at no other, so all of this is here.

Both are rounded to whole numbers from -127 to 127. CPUs multiply unsigned bytes by signed ones, so 128 is added to the
weights, and 128 times a row's sum taken off again: from there its sums begin. They are of 32 bits and exact, so a row's
result is the same in whatever order and beside whatever rows it is computed.

A step reads one vector of weights, of a few inputs for each of 16 outputs, and multiplies it by the same inputs of up
to `MAX_ROWS` rows: weights come from memory once, and in the order in which they lie there.
"""

from dataclasses import dataclass
from typing import Any, Final, Self

import numpy as np
from llvmlite import ir
from numba import prange, types
from numba.core import cgutils
from numba.core.registry import cpu_target
from numba.extending import intrinsic
from numpy.typing import NDArray

from amt.gpt2.compiling import compiled, share

STEPS: Final = 127
"""To how many steps, to either side of zero, weights and activations are rounded."""

_OFFSET: Final = 128
"""What is added to weights."""

_OUTPUTS: Final = 16
"""Outputs that are computed side by side: a vector of AVX-512, or two or four of what other CPUs have."""

_INPUTS: Final = 16
"""The number of inputs is rounded up to a multiple of this: so many are read in one turn of the loop, at most."""

_UNROLLED: Final = 4
"""Sums under way at least: one has to wait for its last addition."""

_AHEAD: Final = 2_048
"""Bytes of weights that are asked for before they are wanted: CPUs look ahead to the end of a page of memory only."""

_MANY_ROWS: Final = 64
"""From here on threads share the rounding of rows too; for fewer it takes less time than to call the threads."""

_MAGIC: Final = np.float32(3 << 22)
"""Added to a small number it leaves that, rounded to the nearest whole one, in the last bits."""

_MAGIC_BITS: Final = np.int32(_MAGIC.view(np.int32))

_BYTE, _SHORT, _WORD, _FLOAT, _LONG = ir.IntType(8), ir.IntType(16), ir.IntType(32), ir.FloatType(), ir.IntType(64)


def _features() -> frozenset[str]:
    """Return what the CPU has, as numba compiles for it; what is kept on disk is for these features alone."""
    _, _, features = cpu_target.target_context.codegen().magic_tuple()
    return frozenset(feature.removeprefix("+") for feature in features.split(",") if feature.startswith("+"))


_FEATURES: Final = _features()

HAS_VNNI: Final = not _FEATURES.isdisjoint({"avx512vnni", "avxvnni"})
"""Whether the CPU adds up four products of bytes in one instruction."""

HAS_WIDE_VNNI: Final = "avx512vnni" in _FEATURES
"""Whether it does so for 16 outputs, not 8."""

HAS_BFLOAT16: Final = "avx512bf16" in _FEATURES
"""Whether it multiplies bfloat16; what has AMX does, too."""

MAX_ROWS: Final = 16 if "avx512f" in _FEATURES else 4
"""Rows that are computed together: their sums have to stay in registers."""


@dataclass(frozen=True)
class Matrix:
    """Hold weights as the kernel reads them.

    Attributes:
        weights: shape = (outputs / 16, inputs / together, 16, together), rounded up; `together` is 4 with VNNI, else 2.
        scales: of each output, shape = (outputs,), with zeros behind.
        n_outputs: how many there are.
    """

    weights: NDArray[np.uint8]
    scales: NDArray[np.float32]
    n_outputs: int

    @classmethod
    def packed(cls, whole: NDArray[np.int8], scales: NDArray[np.float32], *, vnni: bool = HAS_VNNI) -> Self:
        """Pack whole numbers, shape = (inputs, outputs), that times `scales`, shape = (outputs,), are the weights."""
        n_inputs, n_outputs = whole.shape
        together = 4 if vnni else 2
        padding = -n_inputs % _INPUTS, -n_outputs % _OUTPUTS
        weights = np.full((n_inputs + padding[0], n_outputs + padding[1]), _OFFSET, np.uint8)
        np.add(whole, _OFFSET, out=weights[:n_inputs, :n_outputs], dtype=np.int16, casting="unsafe")
        split = weights.reshape(-1, together, weights.shape[1] // _OUTPUTS, _OUTPUTS)
        return cls(np.ascontiguousarray(split.transpose(2, 0, 3, 1)), np.pad(scales, (0, padding[1])), n_outputs)

    @property
    def n_bytes(self) -> int:
        """Of memory that it takes."""
        return self.weights.nbytes + self.scales.nbytes

    def multiply(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return shape = (n_rows, outputs) for x of shape = (n_rows, inputs), whose magnitudes are at most 1."""
        _, n_steps, _, together = self.weights.shape
        rounded = np.empty(len(x) * n_steps * together, np.int8 if together == 4 else np.int16)
        product = np.empty((len(x), self.n_outputs), np.float32)
        share(_multiply, x, rounded, self.weights, self.scales, product)
        return product


def _vector(kind: ir.Type, numbers: list[Any]) -> ir.Constant:
    return ir.Constant(ir.VectorType(kind, len(numbers)), numbers)


def _address(context: Any, builder: ir.IRBuilder, kind: Any, array: ir.Value, index: ir.Value) -> ir.Value:
    """Emit the address of a number in an array, counted from its first one."""
    return builder.gep(context.make_array(kind)(context, builder, array).data, [index])


def _splat(builder: ir.IRBuilder, number: ir.Value) -> ir.Value:
    """Emit a vector of 16 times the same number."""
    empty = _vector(number.type, [ir.Undefined] * _OUTPUTS)
    return builder.shuffle_vector(
        builder.insert_element(empty, number, _WORD(0)), empty, _vector(_WORD, [0] * _OUTPUTS)
    )


def _read_weights(builder: ir.IRBuilder, weights: ir.Value, index: ir.Value, size: int) -> ir.Value:
    """Emit a vector of bytes, and that memory gets others ready."""
    kind = ir.FunctionType(ir.VoidType(), [_BYTE.as_pointer(), _WORD, _WORD, _WORD])
    prefetch = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")  # type: ignore[no-untyped-call]
    ahead = builder.gep(weights, [builder.add(index, _LONG(_AHEAD))])
    builder.call(prefetch, [ahead, _WORD(0), _WORD(3), _WORD(1)])  # for reading, to the nearest cache, of data
    address = builder.bitcast(builder.gep(weights, [index]), ir.VectorType(_BYTE, size).as_pointer())
    return builder.load(address, align=1)


def _add_products(builder: ir.IRBuilder, sums: ir.Value, weights: ir.Value, word: ir.Value) -> ir.Value:
    """Emit 16 sums plus products of weights and of the activations in a word, which are 4 in 8 bits or 2 in 16."""
    halves = ir.VectorType(_SHORT, 2 * _OUTPUTS)
    if weights.type.count == 4 * _OUTPUTS:
        return _add_with_vnni(builder, sums, builder.bitcast(weights, sums.type), _splat(builder, word))
    # LLVM knows this: one instruction on x86 multiplies numbers of 16 bits and adds up pairs.
    wide = ir.VectorType(_WORD, 2 * _OUTPUTS)
    activations = builder.sext(builder.bitcast(_splat(builder, word), halves), wide)
    products = builder.mul(builder.sext(builder.zext(weights, halves), wide), activations)
    even, odd = (
        builder.shuffle_vector(products, products, _vector(_WORD, list(range(first, 2 * _OUTPUTS, 2))))
        for first in (0, 1)
    )
    return builder.add(sums, builder.add(even, odd))


def _add_with_vnni(builder: ir.IRBuilder, *vectors: ir.Value) -> ir.Value:
    """Emit 16 sums plus products of four unsigned bytes and four signed ones each."""
    lanes = _OUTPUTS if HAS_WIDE_VNNI else _OUTPUTS // 2
    kind = ir.VectorType(_WORD, lanes)
    name = f"llvm.x86.avx512.vpdpbusd.{32 * lanes}"
    function = cgutils.get_or_insert_function(builder.module, ir.FunctionType(kind, [kind] * 3), name)  # type: ignore[no-untyped-call]
    if HAS_WIDE_VNNI:
        return builder.call(function, vectors)
    low, high = (
        builder.call(function, [builder.shuffle_vector(each, each, _vector(_WORD, lane)) for each in vectors])
        for lane in (list(range(lanes)), list(range(lanes, _OUTPUTS)))
    )
    return builder.shuffle_vector(low, high, _vector(_WORD, list(range(_OUTPUTS))))


def _multiply_rows_intrinsic(
    _: Any, n_rows: Any, rounded: Any, first: Any, starts: Any, row: Any, weights: Any, panel: Any, n_steps: Any,
    scales: Any, output: Any, product: Any, to: Any, n_columns: Any,
) -> Any:  # fmt: skip
    """Multiply the rows from `rounded[first]` on by the weights from `weights[panel]` on.

    Each row gets 16 numbers, the first `product[to]`, the next `n_columns` behind, and so on.
    """

    def emit(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        def address(array: int) -> ir.Value:
            return _address(context, builder, signature.args[array], arguments[array], arguments[array + 1])

        activations = builder.bitcast(address(1), _WORD.as_pointer())
        starts, weights, scales, product = (address(array) for array in (3, 5, 8, 10))
        end = builder.append_basic_block("end")
        switch = builder.switch(arguments[0], end)
        for n_rows in range(1, MAX_ROWS + 1):
            with builder.goto_block(builder.append_basic_block(f"rows{n_rows}")):
                switch.add_case(_LONG(n_rows), builder.block)
                sums = _sum_up(builder, n_rows, activations, starts, weights, arguments[7], rounded.dtype.bitwidth)
                _store(builder, sums, scales, product, arguments[12])
                builder.branch(end)
        builder.position_at_end(end)
        return context.get_dummy_value()

    number = types.int64
    return types.void(
        number, rounded, number, starts, number, weights, number, number, scales, number, product, number, number
    ), emit


def _sum_up(
    builder: ir.IRBuilder, n_rows: int, activations: ir.Value, starts: ir.Value, weights: ir.Value, n_steps: ir.Value,
    bits: int,
) -> list[ir.Value]:  # fmt: skip
    """Emit the loop over all steps, and return 16 sums for each row."""
    size = _OUTPUTS * 32 // bits
    begun = [_splat(builder, builder.load(builder.gep(starts, [_LONG(row)]))) for row in range(n_rows)]
    n_turns = -(-_UNROLLED // n_rows)
    begun += [_vector(_WORD, [0] * _OUTPUTS)] * (n_rows * n_turns - n_rows)
    sums = [cgutils.alloca_once_value(builder, start) for start in begun]  # type: ignore[no-untyped-call]
    with cgutils.for_range_slice(builder, _LONG(0), n_steps, _LONG(n_turns), inc=True) as (first, _):
        for turn in range(n_turns):
            step = builder.add(first, _LONG(turn))
            vector = _read_weights(builder, weights, builder.mul(step, _LONG(size)), size)
            words = builder.gep(activations, [builder.mul(step, _LONG(n_rows))])
            for row in range(n_rows):
                each = sums[turn * n_rows + row]
                word = builder.load(builder.gep(words, [_LONG(row)]))
                builder.store(_add_products(builder, builder.load(each), vector, word), each)
    loaded = [builder.load(each) for each in sums]
    for index in range(n_rows, len(loaded)):
        loaded[index % n_rows] = builder.add(loaded[index % n_rows], loaded[index])
    return loaded[:n_rows]


def _store(
    builder: ir.IRBuilder, sums: list[ir.Value], scales: ir.Value, product: ir.Value, n_columns: ir.Value
) -> None:
    """Emit the writing of each row's sums times the outputs' scales."""
    kind = ir.VectorType(_FLOAT, _OUTPUTS)
    factors = builder.load(builder.bitcast(scales, kind.as_pointer()), align=4)
    for row, each in enumerate(sums):
        address = builder.gep(product, [builder.mul(_LONG(row), n_columns)])
        numbers = builder.fmul(builder.sitofp(each, kind), factors)
        builder.store(numbers, builder.bitcast(address, kind.as_pointer()), align=4)


_multiply_rows: Any = intrinsic(_multiply_rows_intrinsic)


@compiled(parallel=True)
def _multiply(
    x: NDArray[np.float32],
    rounded: NDArray[np.int8] | NDArray[np.int16],
    weights: NDArray[np.uint8],
    scales: NDArray[np.float32],
    product: NDArray[np.float32],
) -> None:
    n_rows, n_outputs = product.shape
    starts = np.empty(n_rows, np.int32)
    if n_rows < _MANY_ROWS:
        for row in range(n_rows):
            _round(x, row, rounded, starts)
    else:
        for row in prange(n_rows):
            _round(x, row, rounded, starts)
    n_whole = n_outputs // _OUTPUTS
    for panel in prange(n_whole):
        _multiply_panel(rounded, starts, weights, scales, panel, product, panel * _OUTPUTS)
    if n_whole * _OUTPUTS < n_outputs:  # what lies behind these outputs belongs to the next row
        rest = np.empty((n_rows, _OUTPUTS), np.float32)
        _multiply_panel(rounded, starts, weights, scales, n_whole, rest, 0)
        product[:, n_whole * _OUTPUTS :] = rest[:, : n_outputs - n_whole * _OUTPUTS]


@compiled()
def _round(
    x: NDArray[np.float32], row: int, rounded: NDArray[np.int8] | NDArray[np.int16], starts: NDArray[np.int32]
) -> None:
    """Write a row's whole numbers beside those of the rows with which it is multiplied, and where its sums start."""
    n_rows, n_inputs = x.shape
    numbers, total = np.zeros(len(rounded) // n_rows, rounded.dtype), np.int32(0)
    for i in range(n_inputs):
        number = np.float32(x[row, i] * np.float32(STEPS) + _MAGIC).view(np.int32) - _MAGIC_BITS
        numbers[i] = number
        total += number
    starts[row] = np.int32(-_OFFSET) * total
    words, shared = numbers.view(np.int32), rounded.view(np.int32)
    first = row - row % MAX_ROWS
    together = min(MAX_ROWS, n_rows - first)
    for i in range(len(words)):
        shared[first * len(words) + i * together + row - first] = words[i]


@compiled()
def _multiply_panel(
    rounded: NDArray[np.int8] | NDArray[np.int16],
    starts: NDArray[np.int32],
    weights: NDArray[np.uint8],
    scales: NDArray[np.float32],
    panel: int,
    product: NDArray[np.float32],
    to: int,
) -> None:
    """Multiply all rows by the weights of 16 outputs, and write that to a product's columns from `to` on."""
    n_rows, n_columns = product.shape
    n_inputs, n_steps = len(rounded) // n_rows, weights.shape[1]
    for row in range(0, n_rows, MAX_ROWS):
        _multiply_rows(
            min(MAX_ROWS, n_rows - row), rounded, row * n_inputs, starts, row, weights, panel * n_inputs * _OUTPUTS,
            n_steps, scales, panel * _OUTPUTS, product, row * n_columns + to, n_columns,
        )  # fmt: skip
