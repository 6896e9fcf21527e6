"""Multiply by matrices whose weights lie as the device multiplies them fastest."""

import warnings
from abc import ABC, abstractmethod
from functools import cache
from typing import Any, Final

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

HAS_HALF_KERNEL: Final = "fbgemm" in torch.backends.quantized.supported_engines
"""Whether this CPU can multiply float32 by float16 weights; any x86 with AVX2 can."""

HAS_INT8_KERNEL: Final = HAS_HALF_KERNEL and hasattr(torch, "quantize_per_channel")
"""Whether it can multiply int8 by int8: PyTorch means to drop the type in which it takes the weights."""

MIN_ROWS: Final = 3
"""With fewer rows the float16 kernel adds up in another order, and last digits would depend on their number."""

INT8_MAX: Final = 127

ALIGNED_TOKENS: Final = 64
"""On CUDA the tokens of an output range are padded to a multiple of this."""

# The operators themselves: what Python would check before, for tracing, takes as long as a small multiplication.
_multiply_half: Any = torch.ops.quantized.linear_dynamic_fp16.default._op
_multiply_int8: Any = torch.ops.quantized.linear_with_input_q_dq_qweight_dq_output_fp32.default._op
_SMALLEST: Final = torch.finfo(torch.float32).tiny


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
        """Multiply without the bias. If the weights are int8, the absolute maximum of each row of x must be 1."""


def linear(matrix: Tensor, bias: Tensor | None, dtype: torch.dtype, device: torch.device) -> Linear:
    """Return a layer that keeps its weights in a precision.

    On a CPU a lower precision is that of the weights alone, except that int8 multiplies rounded activations;
    all other arithmetic stays float32. Decoding waits for the weights to come from memory, so half the bytes are nearly
    twice the speed.

    Args:
        matrix: shape = (in, out).
        bias: shape = (out,).
        dtype: of the weights.
        device: for int8 a CPU that has the kernel.
    """
    arithmetic = arithmetic_dtype(dtype, device)
    bias = None if bias is None else bias.to(device, arithmetic, copy=True)
    if dtype is torch.int8:
        return _Int8(matrix.float(), bias, activation_steps())
    if is_reproducible(dtype, device):
        return _Half(matrix.bfloat16() if dtype is torch.bfloat16 else matrix, bias)
    # (in, out): a CPU multiplies a single row by it with all threads, and by its transpose with one.
    return _Plain(matrix.to(device, dtype).to(arithmetic).contiguous(), bias)


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
    return device.type == "cpu" and dtype is not torch.float32 and HAS_HALF_KERNEL


@cache
def activation_steps() -> int:
    """Return to how many steps, to either side of zero, activations are rounded before int8 multiplies them.

    CPUs without VNNI add up pairs of products in 16 bits, which more than 63 steps overflow; a product of the largest
    possible values shows it.
    """
    ones = torch.ones(64, 64)
    product = _Int8(ones, None, INT8_MAX).multiply(ones)
    return INT8_MAX if torch.allclose(product, ones @ ones) else INT8_MAX // 2


class _Plain(Linear):
    """Multiply as PyTorch does."""

    def __init__(self, matrix: Tensor, bias: Tensor | None) -> None:
        self._matrix, self.bias = matrix, bias
        self.n_bytes = matrix.nbytes

    def __call__(self, x: Tensor) -> Tensor:
        return self.multiply(x) if self.bias is None else torch.addmm(self.bias, x, self._matrix)

    def multiply(self, x: Tensor) -> Tensor:
        return x @ self._matrix


class _Half(Linear):
    """Multiply float32 activations by float16 weights."""

    def __init__(self, matrix: Tensor, bias: Tensor | None) -> None:
        # One temporary matrix at a time: more of them leave holes in the heap that stay.
        transposed = torch.empty(matrix.T.shape).copy_(matrix.T)
        self._packed = torch.ops.quantized.linear_prepack_fp16(transposed, None)
        self.bias = bias
        self.n_bytes = 2 * matrix.numel()

    def multiply(self, x: Tensor) -> Tensor:
        n_rows = x.shape[0]
        if n_rows < MIN_ROWS:
            x = x.expand(MIN_ROWS, -1) if n_rows == 1 else F.pad(x, (0, 0, 0, MIN_ROWS - n_rows))
        return _multiply_half(x, self._packed)[:n_rows]  # type: ignore[no-any-return]


class _Int8(Linear):
    """Multiply activations rounded to `activation_steps` a row by weights rounded to 255 steps an output.

    The sums are of whole numbers, so their order does not matter. The kernel takes one scale for all rows: each is
    divided by its absolute maximum before, and multiplied by it after.
    """

    def __init__(self, matrix: Tensor, bias: Tensor | None, steps: int) -> None:
        """`steps`: of activations, to either side of zero."""
        weights = matrix.T.contiguous()
        scales = weights.abs().amax(dim=1).clamp_(min=_SMALLEST).double() / INT8_MAX
        zeros = torch.zeros(len(scales), dtype=torch.int64)
        with warnings.catch_warnings(action="ignore"):  # see HAS_INT8_KERNEL
            quantized = torch.quantize_per_channel(weights, scales, zeros, axis=0, dtype=torch.qint8)
        torch.backends.quantized.engine = "fbgemm"  # what others pack is not for this kernel
        self._packed = torch.ops.quantized.linear_prepack(quantized, None)
        self.bias, self._steps = bias, steps
        self.n_bytes = matrix.numel()

    def __call__(self, x: Tensor) -> Tensor:
        absmax = x.abs().amax(dim=1, keepdim=True).clamp_(min=_SMALLEST)
        product = self.multiply(x / absmax)
        return product.mul_(absmax) if self.bias is None else torch.addcmul(self.bias, product, absmax)

    def multiply(self, x: Tensor) -> Tensor:
        return _multiply_int8(x, 1 / self._steps, self._steps + 1, self._packed)  # type: ignore[no-any-return]
