"""Decode one token a row on a CPU: what lies between the matrices is compiled.

A row of a few hundred numbers takes PyTorch less time to compute than to call: the twenty operations between the four
matrices of a block are four here.

What is to be multiplied is first divided by its row's absolute maximum (`absmax`), for int8 takes rows of
magnitudes up to 1. So a layer's result is product * absmax + bias, and what comes next puts that together as it reads
it.
"""

from collections.abc import Callable, Sequence
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from amt.gpt2 import kernels
from amt.gpt2.products import HAS_BFLOAT16
from amt.gpt2.weights import BlockWeights, Norm

Floats = NDArray[np.float32]

_Attend = Callable[[int, Floats, Floats, Floats], None]
"""Takes a layer's index, a product that is queries to values, its absmax, and what gets the result over its own."""

_WINDOW_DTYPE: Final = torch.bfloat16 if HAS_BFLOAT16 else torch.float32
"""In which whole windows are attended to."""


class CpuDecoder:
    """Run all blocks of a model, and the norm behind them.

    A row's result is the same to the bit beside any others, if that is so of the layers' products.
    """

    def __init__(
        self,
        blocks: Sequence[BlockWeights],
        final_norm: Norm,
        scales: Sequence[float],
        epsilon: float,
        activation: Callable[[Tensor], Tensor] | None,
    ) -> None:
        """`scales`: of each block's attention; `activation`: None for the approximate GELU."""
        self._blocks, self._scales, self._activation = blocks, scales, activation
        self._biases = [
            [_numbers(part.bias) for part in (block.qkv, block.attention_out, block.mlp_in, block.mlp_out)]
            for block in blocks
        ]
        norms = [norm for block in blocks for norm in (block.norm1, block.norm2)]
        self._norms = [(_numbers(scale), _numbers(shift)) for scale, shift in (*norms, final_norm)]
        self._epsilon = np.float32(epsilon)

    def decode(self, embedded: Tensor, cache_lengths: NDArray[np.int64], cached: NDArray[np.uint16]) -> Tensor:
        """Feed one token to each of the first rows of a cache.

        Args:
            embedded: the tokens, shape = (n_rows, width).
            cache_lengths: where each belongs, shape = (n_rows,).
            cached: bits of bfloat16, shape = (n_layers, 2, at least n_rows, n_heads, context_tokens,
                head_width); written.

        Returns:
            final hidden states, shape = (n_rows, width).
        """

        def attend(layer: int, product: Floats, absmax: Floats, attended: Floats) -> None:
            bias, scale = self._biases[layer][0], self._scales[layer]
            kernels.attend(product, absmax, bias, cached[layer], cache_lengths, scale, attended)

        _, normalised = self._run(embedded, len(self._blocks), attend, kernels.add)
        return normalised

    def encode(self, embedded: Tensor, n_blocks: int, attend: Callable[[int, Tensor], Tensor]) -> Tensor:
        """Run whole windows through the first blocks.

        Args:
            embedded: their tokens, shape = (n, width).
            n_blocks: how many.
            attend: takes a layer's index, and queries, keys and values, shape = (n, 3 * width), in bfloat16 if the CPU
                multiplies that; returns shape = (n, width).

        Returns:
            hidden states, shape = (n, width).
        """

        def attend_in_windows(layer: int, product: Floats, absmax: Floats, attended: Floats) -> None:
            bias, factors = torch.from_numpy(self._biases[layer][0]), torch.from_numpy(absmax)[:, None]
            qkv = torch.addcmul(bias, torch.from_numpy(product), factors).to(_WINDOW_DTYPE)
            kernels.divide(attend(layer, qkv).numpy(), absmax, attended)

        hidden, _ = self._run(embedded, n_blocks, attend_in_windows, kernels.add_many)
        return hidden

    def _run(
        self, embedded: Tensor, n_blocks: int, attend: _Attend, add_rows: Callable[..., None]
    ) -> tuple[Tensor, Tensor]:
        """Return hidden states after the first blocks, and normalised for what comes next."""
        x, hidden = torch.empty_like(embedded), torch.zeros_like(embedded)
        numbers, absmax, norms = x.numpy(), np.ones(len(x), np.float32), iter(self._norms)

        def add(product: Tensor, bias: Floats) -> None:
            add_rows(hidden.numpy(), product.numpy(), absmax, bias, next(norms), self._epsilon, numbers)

        add(embedded, np.zeros(x.shape[1], np.float32))
        for layer, (block, biases) in enumerate(zip(self._blocks[:n_blocks], self._biases, strict=False)):
            attend(layer, block.qkv.multiply(x).numpy(), absmax, numbers)
            add(block.attention_out.multiply(x), biases[1])
            inner = block.mlp_in.multiply(x)
            self._activate(inner, absmax, biases[2])
            add(block.mlp_out.multiply(inner), biases[3])
        return hidden, x.mul_(torch.from_numpy(absmax)[:, None])

    def _activate(self, inner: Tensor, absmax: Floats, bias: Floats) -> None:
        """Apply the activation function in place."""
        if self._activation is None:
            kernels.activate(inner.numpy(), absmax, bias)
            return
        factors = torch.from_numpy(absmax)[:, None]
        activated = self._activation(torch.addcmul(torch.from_numpy(bias), inner, factors))
        torch.amax(activated.abs(), dim=1, keepdim=True, out=factors)
        factors.clamp_(min=torch.finfo(torch.float32).tiny)
        torch.div(activated, factors, out=inner)


def _numbers(tensor: Tensor | None) -> Floats:
    assert tensor is not None, "of a block every layer has a bias"
    return tensor.numpy()
