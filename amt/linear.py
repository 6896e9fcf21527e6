"""A linear layer whose weights lie as the device multiplies them fastest."""

from typing import Any, Final

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

HAS_HALF_KERNEL: Final = "fbgemm" in torch.backends.quantized.supported_engines
"""Whether this CPU can multiply float32 by float16; any x86 with AVX2 can."""

FEWEST_ROWS: Final = 3
"""With fewer the kernel adds up in another order: the last digits of a row would depend on how many there are."""

# The operator itself: what Python would check before, for tracing, takes as long as a small multiplication.
_multiply: Any = torch.ops.quantized.linear_dynamic_fp16.default._op
_pack: Any = torch.ops.quantized.linear_prepack_fp16.default


class Linear:
    """X times a matrix, plus a bias; x has shape = (n_rows, in), the result (n_rows, out).

    On a CPU a half precision is that of the weights alone; the arithmetic stays float32. Decoding waits for the
    weights to come from memory, so half the bytes are nearly twice the speed. The result of a row is then the same, to
    the bit, however many others there are; in other precisions and on other devices their last digits may differ.
    """

    def __init__(self, matrix: Tensor, bias: Tensor | None, dtype: torch.dtype, device: torch.device) -> None:
        """`matrix`: shape = (in, out); `dtype`: the weights' precision."""
        arithmetic = arithmetic_dtype(dtype, device)
        self._bias = None if bias is None else bias.to(device, arithmetic, copy=True)
        self._packed = None
        if dtype is torch.bfloat16 and device.type == "cpu":
            matrix = matrix.bfloat16()
        if dtype is not torch.float32 and device.type == "cpu" and HAS_HALF_KERNEL:
            # One temporary matrix at a time: more of them leave holes in the heap that stay.
            self._packed = _pack(torch.empty(matrix.T.shape).copy_(matrix.T), self._bias)
        else:
            # (in, out): a CPU multiplies a single row by it with all threads, and by its transpose with one.
            self._matrix = matrix.to(device, dtype).to(arithmetic).contiguous()

    def __call__(self, x: Tensor) -> Tensor:
        """Shape = (n_rows, out)."""
        if self._packed is not None:
            n_rows = x.shape[0]
            if n_rows < FEWEST_ROWS:
                x = x.expand(FEWEST_ROWS, -1) if n_rows == 1 else F.pad(x, (0, 0, 0, FEWEST_ROWS - n_rows))
            return _multiply(x, self._packed)[:n_rows]  # type: ignore[no-any-return]
        if self._bias is None:
            return x @ self._matrix
        return torch.addmm(self._bias, x, self._matrix)


def arithmetic_dtype(dtype: torch.dtype, device: torch.device) -> torch.dtype:
    """What activations and the cache are kept in: float32 on a CPU, else as the weights."""
    return torch.float32 if device.type == "cpu" else dtype
