"""Multiply whole windows by int8 weights on CPUs with AMX, by oneDNN.

Sums of whole numbers are exact, so the results are to the bit those of `cpu.products`, which is faster where there is
no AMX. The weights stay as they lie there, for the few rows of a step; to many rows the time that a copy in plain order
takes is little.

Compiled code is kept until this file changes.
"""

from typing import Final

import numpy as np
import torch
from numba import prange
from numpy.typing import NDArray
from torch import Tensor

from amt.gpt2.cpu.compiling import compiled, share
from amt.gpt2.cpu.packing import Matrix
from amt.gpt2.cpu.products import HAS_AMX, STEPS

MIN_ROWS: Final = 256
"""With fewer rows the copy takes longer than is gained."""

_TO_WHOLE: Final = np.float32(3 << 22)
"""Added to a small number, and taken off again, it leaves that rounded to the nearest whole one."""


def suits(n_rows: int, matrix: Matrix) -> bool:
    """Tell whether `multiply` is faster than `matrix.multiply`; it has no way to read weights of four bits."""
    return HAS_AMX and n_rows >= MIN_ROWS and matrix.is_of_bytes


def multiply(x: Tensor, matrix: Matrix) -> Tensor:
    """Do what `matrix.multiply` does."""
    n_panels, n_steps, n_outputs, n_inputs = matrix.weights.shape
    rounded = torch.empty(x.shape, dtype=torch.int8)
    share(_round, x.numpy(), np.float32(STEPS), rounded.numpy())
    padded = np.empty((n_steps * n_inputs, n_panels * n_outputs), np.int8)
    share(_unpack, matrix.weights.view(np.uint32)[..., 0], padded)
    weights = torch.from_numpy(padded)[: x.shape[1], : matrix.n_outputs].contiguous().to_mkldnn()
    scales = torch.from_numpy(matrix.scales.reshape(-1)[: matrix.n_outputs])
    zeros = torch.zeros(len(scales), dtype=torch.int64)
    product: Tensor = torch.ops.onednn.qlinear_pointwise(
        rounded, 1.0, 0, weights, scales, zeros, None, 1.0, 0, torch.float32, "none", [], ""
    )
    return product


@compiled(parallel=True)
def _round(x: NDArray[np.float32], steps: np.float32, rounded: NDArray[np.int8]) -> None:
    for row in prange(len(x)):
        for i in range(x.shape[1]):
            rounded[row, i] = np.int32(x[row, i] * steps + _TO_WHOLE - _TO_WHOLE)


@compiled(parallel=True)
def _unpack(words: NDArray[np.uint32], weights: NDArray[np.int8]) -> None:
    """Take the offset off weights of 4 inputs a word, shape = (out / 16, in / 4, 16), to shape = (in, out)."""
    n_panels, n_steps, n_outputs = words.shape
    for step in prange(n_steps):
        for each in range(4):
            row, shift = weights[4 * step + each], np.uint32(8 * each)
            for panel in range(n_panels):
                for output in range(n_outputs):
                    byte = np.uint8((words[panel, step, output] >> shift) & np.uint32(0xFF))
                    row[n_outputs * panel + output] = np.int8(byte ^ np.uint8(0x80))
