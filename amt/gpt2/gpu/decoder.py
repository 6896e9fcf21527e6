"""Decode one token a row on a GPU, in few kernels: a step of few rows has nothing else to wait for.

Hidden states stay float32 between blocks. Many rows are multiplied by tensor cores where there are some, and what lies
between matrices is one kernel each; few rows are multiplied by kernels that do all of that, too.
"""

import logging
import os
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from functools import cache
from typing import Final, cast

import torch
from torch import Tensor

from amt.gpt2.linear import PlainLinear
from amt.gpt2.weights import BlockWeights, Norm

logger = logging.getLogger("anticipatory")

FEW_ROWS: Final = 2
"""One takes half of the time that as many rows as tensor cores want would take, four take more."""

_TRIED_TOKENS: Final = 16


class GpuDecoder:
    """Run a model from tokens to the norm behind its blocks."""

    def __init__(
        self,
        embeddings: tuple[Tensor, Tensor],
        blocks: Sequence[BlockWeights],
        final_norm: Norm,
        scales: Sequence[float],
        epsilon: float,
        activation: Callable[[Tensor], Tensor] | None,
    ) -> None:
        """Take the weights.

        Args:
            embeddings: of tokens and positions, shape = (any, width).
            blocks: whose layers are of kind `PlainLinear`.
            final_norm: behind them.
            scales: of each block's attention.
            epsilon: of the norms.
            activation: None for the approximate GELU.
        """
        from amt.gpt2.gpu import attention, few_rows, kernels, many_rows  # which need Triton

        self._attention, self._kernels = attention, kernels
        self._few_rows, self._many_rows = few_rows, many_rows
        self._embeddings, self._blocks, self._scales, self._epsilon = embeddings, blocks, scales, epsilon
        self._activation = activation
        self._final_norm = final_norm
        self._next_norms = [*(block.norm1 for block in blocks[1:]), final_norm]

    def decode(self, tokens: Tensor, cache_lengths: Tensor, cached: Tensor) -> Tensor:
        """Feed one token to each of the first rows of a cache.

        Args:
            tokens: shape = (n_rows,), int64.
            cache_lengths: where each belongs, likewise.
            cached: shape = (n_layers, 2, at least n_rows, n_heads, context_tokens, head_width); written.

        Returns:
            final hidden states, shape = (n_rows, width).
        """
        hidden = self._kernels.embed(tokens, cache_lengths, *self._embeddings)
        is_few = len(tokens) <= FEW_ROWS and cached.shape[-1].bit_count() == 1  # few rows' heads must fit a tile
        return (self._run_few if is_few else self._run_many)(hidden, cache_lengths, cached)

    def can_decode(self, n_heads: int, head_width: int) -> bool:
        """Try it with one row, and with as many as a program takes; if that is impossible, say why.

        A kernel that cannot be compiled, or wants more of a GPU than there is, would be met by a request otherwise.
        """
        embeddings, _ = self._embeddings
        device = embeddings.device
        try:
            for n_rows in (1, self._many_rows.MOST_ROWS):
                shape = len(self._blocks), 2, n_rows, n_heads, _TRIED_TOKENS, head_width
                zeros = torch.zeros(n_rows, dtype=torch.int64, device=device)
                with torch.cuda.device(device) if device.type == "cuda" else nullcontext():
                    self.decode(zeros, zeros, torch.zeros(shape, dtype=embeddings.dtype, device=device))
        except (torch.OutOfMemoryError, torch.AcceleratorError):  # which say nothing of the kernels
            raise
        except Exception as error:  # whatever a compiler or a driver may come up with
            logger.warning("steps run without kernels of our own, and slower: %s", error)
            return False
        return True

    def _run_many(self, hidden: Tensor, cache_lengths: Tensor, cached: Tensor) -> Tensor:
        kernels, products, epsilon, activation = self._kernels, self._many_rows, self._epsilon, self._activation
        x: Tensor = kernels.normalise(hidden, self._blocks[0].norm1, epsilon)
        layers = zip(self._blocks, self._scales, self._next_norms, strict=True)
        for index, (block, scale, next_norm) in enumerate(layers):
            qkv, attention_out, mlp_in, mlp_out = (cast(PlainLinear, layer) for layer in block.layers)
            attended = self._attention.attend(products.multiply(x, qkv), cached[index], cache_lengths, scale)
            x = kernels.add_norm(hidden, products.multiply_in_parts(attended, attention_out), block.norm2, epsilon)
            inner = products.multiply(x, mlp_in, is_activated=activation is None)
            inner = activation(inner) if activation else inner
            x = kernels.add_norm(hidden, products.multiply_in_parts(inner, mlp_out), next_norm, epsilon)
        return x

    def _run_few(self, hidden: Tensor, cache_lengths: Tensor, cached: Tensor) -> Tensor:
        products, epsilon, activation = self._few_rows, self._epsilon, self._activation
        for index, (block, scale) in enumerate(zip(self._blocks, self._scales, strict=True)):
            qkv, attention_out, mlp_in, mlp_out = (cast(PlainLinear, layer) for layer in block.layers)
            projected = products.project(hidden, block.norm1, epsilon, qkv, is_activated=False)
            parts = self._attention.attend_in_parts(projected, cached[index], cache_lengths, scale)
            products.add_attended(hidden, *parts, cache_lengths, attention_out)
            inner = products.project(hidden, block.norm2, epsilon, mlp_in, is_activated=activation is None)
            products.add(hidden, activation(inner) if activation else inner, mlp_out)
        normalised: Tensor = self._kernels.normalise(hidden, self._final_norm, epsilon)
        return normalised


def has_triton(device: torch.device) -> bool:
    """Tell whether Triton's kernels run on a device: where it can compile for a GPU, or is to interpret on a CPU."""
    if device.type == "cuda":
        return _can_compile(device)
    return device.type == "cpu" and os.environ.get("TRITON_INTERPRET") == "1"


@cache
def _can_compile(device: torch.device) -> bool:
    """Try it with the draw of a token, which needs a C compiler; if it cannot, say why, once."""
    try:
        from amt.gpt2.gpu import choice

        logits = torch.tensor([[0.0, 30.0]], device=device)
        one = logits.new_ones(1)
        with torch.cuda.device(device):
            return int(choice.choose(logits, (one, one, 0 * one, 0 * one), one / 2)) == 1
    except torch.OutOfMemoryError:  # says nothing of the compiler, and may be over the next time
        raise
    except Exception as error:  # whatever an import, a compiler or a driver may come up with
        logger.warning("steps run without Triton's kernels, and slower: %s", error)
        return False
