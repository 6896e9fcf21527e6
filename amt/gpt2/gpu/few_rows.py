"""Multiply few rows by matrices on GPUs, compiled by Triton, together with all that lies before and after.

A step of few rows waits for launches and for memory: each program reads some outputs' weights, all at once, and makes
its own inputs, which are few, while these are under way. Sums are of float32.
"""

from typing import Final

import torch
import triton
import triton.language as tl
from torch import Tensor

from amt.gpt2.gpu.attention import PART_TOKENS
from amt.gpt2.gpu.kernels import gelu, normalised_row
from amt.gpt2.gpu.overlap import overlap, wait
from amt.gpt2.linear import PlainLinear
from amt.gpt2.weights import Norm

_WEIGHTS: Final = 8_192
"""Numbers that a program multiplies by."""

_WARPS: Final = 4


def project(hidden: Tensor, norm: Norm, epsilon: float, layer: PlainLinear, *, is_activated: bool) -> Tensor:
    """Return the product of normalised hidden states, behind the approximate GELU if asked for.

    Args:
        hidden: float32, shape = (n_rows, n_in).
        norm: of these.
        epsilon: of the norm.
        layer: n_in to n_out.
        is_activated: whether the activation function follows.

    Returns:
        in the weights' precision, shape = (n_rows, n_out).
    """
    n_in, n_out = layer.matrix.shape
    product = torch.empty((len(hidden), n_out), dtype=layer.matrix.dtype, device=hidden.device)
    n_together, sizes = _sizes(n_in)
    _project[triton.cdiv(n_out, n_together),](
        hidden, *norm, layer.matrix, layer.bias, product, n_in, n_out, *layer.matrix.stride(), epsilon,
        len(hidden), *sizes, is_activated, num_warps=_WARPS, **overlap(hidden.device),
    )  # fmt: skip
    return product


@triton.jit
def _project(
    hidden, scale, shift, matrix, bias, product, n_in, n_out, in_stride, out_stride, epsilon,
    n_rows: tl.constexpr, size_in: tl.constexpr, size_out: tl.constexpr, is_activated: tl.constexpr,
    is_overlapped: tl.constexpr,
):  # fmt: skip
    at, outputs = tl.arange(0, size_in), tl.program_id(0) * size_out + tl.arange(0, size_out)
    inside, wanted = at < n_in, outputs < n_out
    weights = _weights(matrix, at, outputs, inside, wanted, in_stride, out_stride)
    biases = tl.load(bias + outputs, wanted, 0.0).to(tl.float32)
    scales, shifts = tl.load(scale + at, inside, 0.0).to(tl.float32), tl.load(shift + at, inside, 0.0).to(tl.float32)
    wait(is_overlapped)
    for row in tl.static_range(n_rows):
        x = tl.load(hidden + row * n_in + at, inside, 0.0)
        x = normalised_row(x, inside, scales, shifts, n_in, epsilon)
        result = biases + tl.sum(weights * x[None, :], 1)
        if is_activated:
            result = gelu(result)
        tl.store(product + row * n_out + outputs, result.to(product.dtype.element_ty), wanted)


def add(hidden: Tensor, x: Tensor, layer: PlainLinear) -> None:
    """Add a product to hidden states, in place.

    Args:
        hidden: float32, shape = (n_rows, n_out).
        x: shape = (n_rows, n_in).
        layer: n_in to n_out.
    """
    n_in, n_out = layer.matrix.shape
    n_together, sizes = _sizes(n_in)
    _add_product[triton.cdiv(n_out, n_together),](
        hidden, x, layer.matrix, layer.bias, n_in, n_out, *layer.matrix.stride(),
        len(hidden), *sizes, num_warps=_WARPS, **overlap(hidden.device),
    )  # fmt: skip


@triton.jit
def _add_product(
    hidden, x, matrix, bias, n_in, n_out, in_stride, out_stride,
    n_rows: tl.constexpr, size_in: tl.constexpr, size_out: tl.constexpr, is_overlapped: tl.constexpr,
):  # fmt: skip
    at, outputs = tl.arange(0, size_in), tl.program_id(0) * size_out + tl.arange(0, size_out)
    inside, wanted = at < n_in, outputs < n_out
    weights = _weights(matrix, at, outputs, inside, wanted, in_stride, out_stride)
    biases = tl.load(bias + outputs, wanted, 0.0).to(tl.float32)
    wait(is_overlapped)
    for row in tl.static_range(n_rows):
        of_row = tl.load(x + row * n_in + at, inside, 0.0).to(tl.float32)
        place = hidden + row * n_out + outputs
        tl.store(place, tl.load(place, wanted, 0.0) + biases + tl.sum(weights * of_row[None, :], 1), wanted)


def add_attended(hidden: Tensor, parts: Tensor, sums: Tensor, cache_lengths: Tensor, layer: PlainLinear) -> None:
    """Add to hidden states, in place, the product of what `attend_in_parts` has returned for these lengths."""
    n_in, n_out = layer.matrix.shape
    n_together, sizes = _sizes(n_in)
    n_parts, n_heads = sums.shape[1:]
    _add_attended[triton.cdiv(n_out, n_together),](
        hidden, parts, sums, cache_lengths, layer.matrix, layer.bias, n_in, n_out, n_heads, *layer.matrix.stride(),
        len(hidden), *sizes, n_parts, PART_TOKENS, n_in // n_heads, num_warps=_WARPS, **overlap(hidden.device),
    )  # fmt: skip


@triton.jit
def _add_attended(
    hidden, parts, sums, cache_lengths, matrix, bias, n_in, n_out, n_heads, in_stride, out_stride,
    n_rows: tl.constexpr, size_in: tl.constexpr, size_out: tl.constexpr, n_parts: tl.constexpr,
    part_tokens: tl.constexpr, head_width: tl.constexpr, is_overlapped: tl.constexpr,
):  # fmt: skip
    at, outputs = tl.arange(0, size_in), tl.program_id(0) * size_out + tl.arange(0, size_out)
    wanted = outputs < n_out
    weights = _weights(matrix, at, outputs, at < n_in, wanted, in_stride, out_stride)
    biases = tl.load(bias + outputs, wanted, 0.0).to(tl.float32)
    wait(is_overlapped)
    heads, inner = tl.arange(0, size_in // head_width), tl.arange(0, head_width)
    there = heads < n_heads
    for row in tl.static_range(n_rows):
        length = tl.load(cache_lengths + row)
        largest = tl.full([size_in // head_width], float("-inf"), tl.float32)
        for part in tl.static_range(n_parts):
            is_filled = there & ((part == 0) | (part * part_tokens < length))
            largest = tl.maximum(
                largest, tl.load(sums + (row * n_parts + part) * n_heads + heads, is_filled, float("-inf"))
            )
        largest, total = tl.where(there, largest, 0.0), tl.where(there, 0.0, 1.0)  # so that nothing is divided by 0
        attended = tl.zeros([size_in // head_width, head_width], tl.float32)
        for part in tl.static_range(n_parts):
            is_filled = there & ((part == 0) | (part * part_tokens < length))
            own = tl.load(sums + (row * n_parts + part) * n_heads + heads, is_filled, float("-inf"))
            factor = tl.exp(own - largest)
            total += factor
            place = (row * n_parts + part) * n_in + heads[:, None] * head_width + inner[None, :]
            attended += factor[:, None] * tl.load(parts + place, is_filled[:, None], 0.0)
        attended = tl.reshape(attended / total[:, None], [size_in])
        place = hidden + row * n_out + outputs
        tl.store(place, tl.load(place, wanted, 0.0) + biases + tl.sum(weights * attended[None, :], 1), wanted)


@triton.jit
def _weights(matrix, at, outputs, inside, wanted, in_stride, out_stride):
    """Return the weights of some outputs; shape = (size_out, size_in)."""
    place = outputs[:, None].to(tl.int64) * out_stride + at[None, :] * in_stride
    return tl.load(matrix + place, wanted[:, None] & inside[None, :], 0.0).to(tl.float32)


def _sizes(n_in: int) -> tuple[int, tuple[int, int]]:
    """Return how many outputs a program computes, and the shape of its weights, (in, out)."""
    size_in = triton.next_power_of_2(n_in)
    size_out = max(1, _WEIGHTS // size_in)
    return size_out, (size_in, size_out)
