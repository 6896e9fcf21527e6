"""Multiply many rows by matrices on GPUs, compiled by Triton, together with the activation function behind.

A program multiplies up to 64 rows by the weights of 32 outputs. Where these are too few for all of a GPU, each program
takes a part of the inputs, and who reads the product adds the parts up. Sums are of float32. Without tensor cores for
the weights' precision PyTorch multiplies.
"""

from functools import cache
from typing import Final

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from amt.gpt2.gpu.kernels import gelu
from amt.gpt2.gpu.overlap import overlap, wait
from amt.gpt2.linear import PlainLinear

_OUTPUTS: Final = 32
_LEAST_ROWS: Final = 16  # that tensor cores multiply

MOST_ROWS: Final = 64
"""That one program multiplies."""

_CHUNK_BYTES: Final = 256
"""Of a row, and of an output's weights, that are multiplied at once."""

_PROGRAMS: Final = 192
"""How many may be made of a matrix by taking it in parts."""

_PART_INPUTS: Final = 256
"""At least, for a part."""

_WARPS: Final = 4

_SPARE_BYTES: Final = 2_048
"""Of shared memory, for what a kernel takes beside its chunks."""

_AMPERE: Final = 8, 0


def multiply(x: Tensor, layer: PlainLinear, *, is_activated: bool = False) -> Tensor:
    """Return a product with its bias, behind the approximate GELU if asked for.

    Args:
        x: shape = (n_rows, n_in), in the weights' precision.
        layer: n_in to n_out.
        is_activated: whether the activation function follows.

    Returns:
        in the weights' precision, shape = (n_rows, n_out).
    """
    if not _has_tensor_cores(x.device, x.dtype):
        return F.gelu(layer(x), approximate="tanh") if is_activated else layer(x)
    product = torch.empty((1, len(x), layer.matrix.shape[1]), dtype=x.dtype, device=x.device)
    _launch(x, layer, product, is_activated=is_activated)
    return product[0]


def multiply_in_parts(x: Tensor, layer: PlainLinear) -> Tensor:
    """Return parts of a product with its bias, to be added up; float32, shape = (n_parts, n_rows, n_out).

    Args:
        x: shape = (n_rows, n_in), in the weights' precision.
        layer: n_in to n_out.
    """
    if not _has_tensor_cores(x.device, x.dtype):
        return layer(x).float()[None]
    n_in, n_out = layer.matrix.shape
    n_parts = max(1, min(_PROGRAMS // triton.cdiv(n_out, _OUTPUTS), n_in // _PART_INPUTS))
    parts = torch.empty((n_parts, len(x), n_out), dtype=torch.float32, device=x.device)
    _launch(x, layer, parts, is_activated=False)
    return parts


def _launch(x: Tensor, layer: PlainLinear, parts: Tensor, *, is_activated: bool) -> None:
    n_in, n_out = layer.matrix.shape
    n_parts, n_rows, _ = parts.shape
    rows = min(MOST_ROWS, max(_LEAST_ROWS, triton.next_power_of_2(n_rows)))
    chunk = _CHUNK_BYTES // x.itemsize
    n_chunks = triton.cdiv(triton.cdiv(n_in, chunk), n_parts)
    _multiply[triton.cdiv(n_out, _OUTPUTS), n_parts, triton.cdiv(n_rows, rows)](
        x, layer.matrix, layer.bias, parts, n_rows, n_in, n_out, *layer.matrix.stride(),
        rows, chunk, n_chunks, _OUTPUTS, _stages(x.device), is_activated, num_warps=_WARPS, **overlap(x.device),
    )  # fmt: skip


@triton.jit(do_not_specialize=["n_rows"])  # which would compile it again and again
def _multiply(
    x, matrix, bias, parts, n_rows, n_in, n_out, in_stride, out_stride,
    rows: tl.constexpr, chunk: tl.constexpr, n_chunks: tl.constexpr, size_out: tl.constexpr, stages: tl.constexpr,
    is_activated: tl.constexpr, is_overlapped: tl.constexpr,
):  # fmt: skip
    output, row = tl.program_id(0) * size_out + tl.arange(0, size_out), tl.program_id(2) * rows + tl.arange(0, rows)
    part, wanted, there = tl.program_id(1), output < n_out, row < n_rows
    biases = tl.where(part == 0, tl.load(bias + output, wanted, 0.0).to(tl.float32), 0.0)
    wait(is_overlapped)
    total = tl.zeros([rows, size_out], tl.float32)
    for index in tl.range(n_chunks, num_stages=stages):
        at = (part * n_chunks + index) * chunk + tl.arange(0, chunk)
        inside = at < n_in
        some = tl.load(x + row[:, None] * n_in + at[None, :], there[:, None] & inside[None, :], 0.0)
        place = output[None, :].to(tl.int64) * out_stride + at[:, None] * in_stride
        weights = tl.load(matrix + place, wanted[None, :] & inside[:, None], 0.0)
        total = tl.dot(some, weights, total, input_precision="ieee")  # of float32 that is interpreted
    total += biases[None, :]
    if is_activated:
        total = gelu(total)
    place = (part * n_rows + row[:, None]) * n_out + output[None, :]
    tl.store(parts + place, total.to(parts.dtype.element_ty), there[:, None] & wanted[None, :])


@cache
def _has_tensor_cores(device: torch.device, dtype: torch.dtype) -> bool:
    """Tell whether Triton multiplies by tensor cores, as it does from Ampere on; on a CPU it is interpreted."""
    if device.type == "cpu":
        return True
    is_ampere = torch.version.hip is not None or torch.cuda.get_device_capability(device) >= _AMPERE
    return is_ampere and dtype is not torch.float32


@cache
def _stages(device: torch.device) -> int:
    """Return how many chunks are under way: four, or two where there is not the memory."""
    if device.type != "cuda":
        return 1
    properties = torch.cuda.get_device_properties(device)
    there = getattr(properties, "shared_memory_per_block_optin", properties.shared_memory_per_block)
    return 4 if there >= 4 * _CHUNK_BYTES * (MOST_ROWS + _OUTPUTS) + _SPARE_BYTES else 2
