"""Multiply by matrices whose weights lie as the device multiplies them fastest."""

from abc import ABC, abstractmethod
from typing import Final

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

INT4: Final[torch.dtype] = torch.int4  # type: ignore[attr-defined]
"""Of it PyTorch has the name alone."""

WHOLE: Final = (torch.int8, INT4)
"""Precisions in which a CPU multiplies whole numbers."""

ALIGNED_TOKENS: Final = 64
"""On CUDA the tokens of an output range are padded to a multiple of this."""


class Linear(ABC):
    """Multiply rows by a matrix and add a bias."""

    bias: Tensor | None
    """Shape = (out,)."""

    n_bytes: int
    """Of memory that the weights take, about."""

    def __call__(self, x: Tensor) -> Tensor:
        """Return shape = (n_rows, out) for x of shape = (n_rows, in)."""
        product = self.multiply(x)
        return product if self.bias is None else product.add_(self.bias)

    @abstractmethod
    def multiply(self, x: Tensor) -> Tensor:
        """Multiply without the bias. Where weights are packed, magnitudes of x must be up to 1."""


def linear(matrix: Tensor, bias: Tensor | None, dtype: torch.dtype, device: torch.device) -> Linear:
    """Return a layer that keeps its weights in a precision.

    On a CPU a lower precision is that of the weights alone, except that int8 and int4 multiply rounded activations;
    what lies between matrices is float32, but for attention. Decoding waits for the weights to come from memory, so
    half the bytes are nearly twice the speed.

    Args:
        matrix: shape = (in, out).
        bias: shape = (out,).
        dtype: of the weights.
        device: for int8 and int4 a CPU.
    """
    arithmetic = arithmetic_dtype(dtype, device)
    bias = None if bias is None else bias.to(device, arithmetic, copy=True)
    if is_reproducible(dtype, device):
        return PackedLinear(matrix.float(), bias, dtype)
    matrix = matrix.to(device, dtype).to(arithmetic)
    if device.type == "cuda":  # a program of `gpu.few_rows` reads the weights of an output
        return PlainLinear(matrix.T.contiguous().T, bias)
    # A CPU multiplies a single row by (in, out) with all threads, and by its transpose with one.
    return PlainLinear(matrix.contiguous(), bias)


class OutputRange:
    """Compute float32 logits of some tokens from hidden states.

    On CUDA the products are summed to float32 and left so: rounded to bfloat16, logits would move probabilities by up
    to 0.8 % and tie at the top. There the matrix is also padded, for tensor cores read aligned rows faster.
    """

    def __init__(self, embeddings: Tensor, dtype: torch.dtype, device: torch.device) -> None:
        """Take the output embeddings of the tokens, shape = (n_tokens, width)."""
        self._n_tokens = len(embeddings)
        self._is_cuda = device.type == "cuda"
        if self._is_cuda:
            padding = -self._n_tokens % ALIGNED_TOKENS
            self._matrix = F.pad(embeddings.to(device, dtype), (0, 0, 0, padding)).T
            self.n_bytes = self._matrix.nbytes
        else:
            self._linear = linear(embeddings.T, None, dtype, device)
            self.n_bytes = self._linear.n_bytes

    def logits(self, hidden: Tensor) -> Tensor:
        """Return shape = (n_rows, n_tokens), float32, for hidden states of shape = (n_rows, width)."""
        if not self._is_cuda:
            return self._linear(hidden).float()
        return torch.mm(hidden, self._matrix, out_dtype=torch.float32)[:, : self._n_tokens]


def arithmetic_dtype(dtype: torch.dtype, device: torch.device) -> torch.dtype:
    """Return the precision of activations and sums: float32 on a CPU, else that of the weights."""
    return torch.float32 if device.type == "cpu" else dtype


def is_reproducible(dtype: torch.dtype, device: torch.device) -> bool:
    """Tell whether a row's result is the same, to the bit, whatever the number of rows and threads."""
    return device.type == "cpu" and dtype is not torch.float32


class PlainLinear(Linear):
    """Multiply as PyTorch does by a matrix of shape = (in, out)."""

    def __init__(self, matrix: Tensor, bias: Tensor | None) -> None:
        self.matrix, self.bias = matrix, bias
        self.n_bytes = matrix.nbytes

    def __call__(self, x: Tensor) -> Tensor:
        """Multiply and add in one."""
        return self.multiply(x) if self.bias is None else torch.addmm(self.bias, x, self.matrix)

    def multiply(self, x: Tensor) -> Tensor:
        """Multiply rows of any magnitude."""
        return x @ self.matrix


class PackedLinear(Linear):
    """Multiply on a CPU by weights of float16, or rounded to 255 steps an output, or to 16 a group.

    Activations are rounded to 255 steps a row, but for float16. The kernel takes rows of magnitudes up to 1: each is
    divided by its absolute maximum before, and multiplied by it after.
    """

    def __init__(self, matrix: Tensor, bias: Tensor | None, dtype: torch.dtype) -> None:
        from amt.gpt2.cpu import packing

        if dtype is torch.bfloat16:  # what that keeps, float16 keeps too, unless it is very large or small
            matrix = matrix.bfloat16()
        rounded = {INT4: packing.rounded_to_nibbles, torch.int8: packing.rounded_to_bytes}
        self.matrix = rounded.get(dtype, packing.rounded_to_halves)(matrix)
        self.bias = bias
        self.n_bytes = self.matrix.n_bytes

    def __call__(self, x: Tensor) -> Tensor:
        """Multiply rows of any magnitude."""
        from amt.gpt2.cpu import kernels
        from amt.gpt2.cpu.compiling import share

        x = x.contiguous()
        normalised, absmax = torch.empty_like(x), torch.empty(len(x))
        share(kernels.divide, x.numpy(), absmax.numpy(), normalised.numpy())
        product, factors = self.multiply(normalised), absmax[:, None]
        return product.mul_(factors) if self.bias is None else torch.addcmul(self.bias, product, factors)

    def multiply(self, x: Tensor) -> Tensor:
        """Multiply rows of magnitudes up to 1."""
        from amt.gpt2.cpu import many_rows

        x = x.contiguous()
        if many_rows.suits(len(x), self.matrix):
            return many_rows.multiply(x, self.matrix)
        return torch.from_numpy(self.matrix.multiply(x.numpy()))
