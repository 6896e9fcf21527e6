"""Round weights to float16, or to eight or four bits, and pack them as `cpu.products` reads them."""

from dataclasses import dataclass
from typing import Any, Final, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from amt.gpt2.cpu import products
from amt.gpt2.cpu.compiling import share
from amt.gpt2.cpu.products import GROUP, INPUTS, OFFSET, OUTPUTS, ROUNDED, STEPS, TOGETHER

MAX_NIBBLE: Final = 15

FITS: Final = 2
"""How often scales are fitted to rounded weights, and weights rounded by them; more gain little."""

_SMALLEST: Final = torch.finfo(torch.float32).tiny


@dataclass(frozen=True)
class Matrix:
    """Hold weights and scales as `product` reads them."""

    weights: NDArray[np.uint8] | NDArray[np.uint16]
    scales: NDArray[np.float32] | NDArray[np.uint16]
    n_outputs: int

    @classmethod
    def of_halves(cls, matrix: Tensor) -> Self:
        """Pack float16 numbers, shape = (inputs, outputs)."""
        padded = F.pad(matrix, (0, -matrix.shape[1] % OUTPUTS))
        weights = padded.view(len(padded), -1, OUTPUTS, 1).transpose(0, 1).contiguous().view(torch.uint16)
        return cls(weights.numpy(), np.ones(weights.shape[::2], np.float32), matrix.shape[1])

    @classmethod
    def of_bytes(cls, whole: Tensor, scales: Tensor, *, together: int = TOGETHER) -> Self:
        """Pack whole numbers from -127 to 127, shape = (inputs, outputs), and scales, shape = (outputs,)."""
        padded = F.pad(whole.to(torch.int16) + OFFSET, (0, -whole.shape[1] % OUTPUTS, 0, -whole.shape[0] % INPUTS))
        weights = padded.to(torch.uint8).view(-1, together, padded.shape[1] // OUTPUTS, OUTPUTS).permute(2, 0, 3, 1)
        shared = F.pad(scales / STEPS, (0, -len(scales) % OUTPUTS)).view(-1, OUTPUTS)
        return cls(weights.contiguous().numpy(), shared.numpy(), len(scales))

    @classmethod
    def of_nibbles(cls, whole: Tensor, scales: Tensor, offsets: Tensor, *, together: int = TOGETHER) -> Self:
        """Pack whole numbers from 0 to 15, shape = (inputs / 32, 32, outputs).

        They are multiplied by scales, and offsets are added: both bfloat16, shape = (inputs / 32, 1, outputs), with
        `STEPS` divided out.
        """
        padding = (0, -whole.shape[2] % OUTPUTS)
        padded = F.pad(whole.to(torch.uint8), padding)
        first, second = padded.view(-1, 2, together, padded.shape[2] // OUTPUTS, OUTPUTS).permute(1, 3, 0, 4, 2)
        both = F.pad(torch.cat([scales, offsets], dim=1), padding).view(len(whole), 2, -1, OUTPUTS).permute(2, 0, 1, 3)
        weights = (first | (second << 4)).contiguous()
        return cls(weights.numpy(), both.contiguous().view(torch.uint16).numpy(), whole.shape[2])

    @property
    def arrays(self) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
        """What `product` takes as kind, weights and scales."""
        return ROUNDED[self.weights.shape[3]], self.weights, self.scales

    @property
    def is_of_bytes(self) -> bool:
        """Whether its weights have eight bits, and each output one scale."""
        return self.weights.dtype == np.uint8 and self.scales.dtype == np.float32

    @property
    def n_bytes(self) -> int:
        """Of memory that it takes."""
        return self.weights.nbytes + self.scales.nbytes

    def multiply(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return shape = (n_rows, outputs) for x of shape = (n_rows, inputs), whose magnitudes are at most 1."""
        product: NDArray[np.float32] = share(products.product, x, *self.arrays, self.n_outputs)
        return product


def rounded_to_halves(matrix: Tensor) -> Matrix:
    """Round to float16; shape = (inputs, outputs)."""
    return Matrix.of_halves(matrix.half())


def rounded_to_bytes(matrix: Tensor) -> Matrix:
    """Round to 127 steps of each output to either side of zero; shape = (inputs, outputs), float32."""
    scales = (torch.maximum(matrix.amax(dim=0), -matrix.amin(dim=0)) / STEPS).clamp_(min=_SMALLEST)
    return Matrix.of_bytes((matrix / scales).round_().to(torch.int8), scales)


def rounded_to_nibbles(matrix: Tensor) -> Matrix:
    """Round to 16 steps of each output and group of inputs; shape = (inputs, outputs), float32."""
    weights = F.pad(matrix / STEPS, (0, 0, 0, -len(matrix) % GROUP)).view(-1, GROUP, matrix.shape[1])
    mean, offsets = weights.mean(dim=1, keepdim=True), weights.amin(dim=1, keepdim=True)
    scales = ((weights.amax(dim=1, keepdim=True) - offsets) / MAX_NIBBLE).clamp_(min=_SMALLEST)
    for _ in range(FITS):
        whole = _nibbles(weights, scales, offsets)
        middle = whole.mean(dim=1, keepdim=True)
        squares = (whole - middle).square().sum(dim=1, keepdim=True)
        fitted = ((whole - middle) * weights).sum(dim=1, keepdim=True) / squares
        scales = torch.where(fitted > 0, fitted, scales)  # where all are the same it is not a number
        offsets = mean - scales * middle
    scales, offsets = scales.clamp_(min=_SMALLEST).bfloat16(), offsets.bfloat16()
    return Matrix.of_nibbles(_nibbles(weights, scales.float(), offsets.float()), scales, offsets)


def _nibbles(weights: Tensor, scales: Tensor, offsets: Tensor) -> Tensor:
    return ((weights - offsets) / scales).round_().clamp_(0, MAX_NIBBLE)
