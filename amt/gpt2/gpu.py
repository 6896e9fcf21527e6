"""Decode one token a row on a GPU: PyTorch multiplies matrices, and what lies between is one kernel each.

Hidden states stay float32 between blocks; what is multiplied has the weights' precision.
"""

import logging
import os
from collections.abc import Callable, Sequence
from functools import cache

import torch
from torch import Tensor

from amt.gpt2.weights import BlockWeights, Norm

logger = logging.getLogger("anticipatory")


class GpuDecoder:
    """Run all blocks of a model, and the norm behind them."""

    def __init__(
        self,
        blocks: Sequence[BlockWeights],
        final_norm: Norm,
        scales: Sequence[float],
        epsilon: float,
        activation: Callable[[Tensor], Tensor] | None,
    ) -> None:
        """`scales`: of each block's attention; `activation`: None for the approximate GELU."""
        from amt.gpt2 import gpu_kernels  # which is for GPUs alone

        self._kernels = gpu_kernels
        self._blocks, self._scales, self._epsilon = blocks, scales, epsilon
        self._activate: Callable[[Tensor], Tensor] = activation or gpu_kernels.activate
        self._first_norm = blocks[0].norm1
        self._next_norms = [*(block.norm1 for block in blocks[1:]), final_norm]

    def decode(self, embedded: Tensor, cache_lengths: Tensor, cached: Tensor) -> Tensor:
        """Feed one token to each of the first rows of a cache.

        Args:
            embedded: the tokens, shape = (n_rows, width).
            cache_lengths: where each belongs, shape = (n_rows,), int64.
            cached: shape = (n_layers, 2, at least n_rows, n_heads, context_tokens, head_width); written.

        Returns:
            final hidden states, shape = (n_rows, width).
        """
        kernels, epsilon = self._kernels, self._epsilon
        hidden = torch.zeros_like(embedded, dtype=torch.float32)
        x: Tensor = kernels.add_norm(hidden, embedded, self._first_norm, epsilon)
        layers = zip(self._blocks, self._scales, self._next_norms, strict=True)
        for index, (block, scale, next_norm) in enumerate(layers):
            attended = kernels.attend(block.qkv(x), cached[index], cache_lengths, scale)
            x = kernels.add_norm(hidden, block.attention_out(attended), block.norm2, epsilon)
            inner = self._activate(block.mlp_in(x))
            x = kernels.add_norm(hidden, block.mlp_out(inner), next_norm, epsilon)
        return x


def has_triton(device: torch.device) -> bool:
    """Tell whether Triton's kernels run on a device: where it can compile for a GPU, or is to interpret on a CPU."""
    if device.type == "cuda":
        return _can_compile(device)
    return device.type == "cpu" and os.environ.get("TRITON_INTERPRET") == "1"


@cache
def _can_compile(device: torch.device) -> bool:
    """Try it, which needs a C compiler; if it cannot, say why, once."""
    try:
        from amt.gpt2 import gpu_kernels

        logits = torch.tensor([[0.0, 30.0]], device=device)
        one = logits.new_ones(1)
        with torch.cuda.device(device):
            return int(gpu_kernels.choose(logits, (one, one, 0 * one, 0 * one), one / 2)) == 1
    except torch.OutOfMemoryError:  # says nothing of the compiler, and may be over the next time
        raise
    except Exception as error:  # whatever an import, a compiler or a driver may come up with
        logger.warning("steps run without Triton's kernels, and slower: %s", error)
        return False
