"""Decode one token a row on a CPU, block by block, each in one compiled call.

A row of a few hundred numbers takes PyTorch less time to compute than to call. Windows are computed matrix by matrix,
with a compiled call for what lies between; so are rows if the activation function is not the approximate GELU.

What is to be multiplied is first divided by its row's absolute maximum (`absmax`), for int8 takes rows of
magnitudes up to 1. So a layer's result is product * absmax + bias, and what comes next puts that together as it reads
it.
"""

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from amt.gpt2.cpu import attention, block, kernels, windows
from amt.gpt2.cpu.compiling import share
from amt.gpt2.linear import Linear, PackedLinear
from amt.gpt2.weights import BlockWeights, Norm

Floats = NDArray[np.float32]

_Attend = Callable[[int, Floats, Floats, Floats], None]
"""Takes a layer's index, a product that is queries to values, its absmax, and what gets the result over its own."""


class CpuDecoder:
    """Run all blocks of a model, and the norm behind them.

    A row's result is the same to the bit beside any others, if that is so of the layers' products.
    """

    def __init__(
        self,
        blocks: Sequence[BlockWeights],
        final_norm: Norm,
        n_heads: int,
        scales: Sequence[float],
        epsilon: float,
        activation: Callable[[Tensor], Tensor] | None,
    ) -> None:
        """`scales`: of each block's attention; `activation`: None for the approximate GELU."""
        self._blocks, self._n_heads, self._activation = blocks, n_heads, activation
        self._scales, self._epsilon = [np.float32(scale) for scale in scales], np.float32(epsilon)
        self._biases = [[_numbers(layer.bias) for layer in each.layers] for each in blocks]
        norms = [norm for each in blocks for norm in (each.norm1, each.norm2)]
        self._norms = [(_numbers(scale), _numbers(shift)) for scale, shift in (*norms, final_norm)]
        self._layers = [tuple(_arrays(layer) for layer in each.layers) for each in blocks]

    def decode(self, embedded: Tensor, cache_lengths: NDArray[np.int64], cached: NDArray[np.uint8]) -> Tensor:
        """Feed one token to each of the first rows of a cache.

        Args:
            embedded: the tokens, shape = (n_rows, width).
            cache_lengths: where each belongs, shape = (n_rows,).
            cached: of each layer as `attention.attend` has it; written.

        Returns:
            final hidden states, shape = (n_rows, width).
        """
        if self._activation is None:
            return self._decode_by_block(embedded, cache_lengths, cached)

        def attend(layer: int, product: Floats, absmax: Floats, attended: Floats) -> None:
            bias, scale = self._biases[layer][0], self._scales[layer]
            share(attention.attend, product, absmax, bias, cached[layer], cache_lengths, scale, attended)

        _, x, absmax = self._run(embedded, len(self._blocks), attend, kernels.add)
        return torch.from_numpy(x).mul_(torch.from_numpy(absmax)[:, None])

    def _decode_by_block(self, embedded: Tensor, cache_lengths: NDArray[np.int64], cached: NDArray[np.uint8]) -> Tensor:
        hidden, x, absmax = self._begin(embedded, kernels.add)

        def decode() -> None:
            for index, (layers, scale) in enumerate(zip(self._layers, self._scales, strict=True)):
                norms = self._norms[2 * index + 1], self._norms[2 * index + 2]
                block.decode(hidden, x, absmax, layers, norms, cached[index], cache_lengths, scale, self._epsilon)

        share(decode)
        return torch.from_numpy(x).mul_(torch.from_numpy(absmax)[:, None])

    def encode(self, embedded: Tensor, n_blocks: int, attend: Callable[[int, Tensor], Tensor]) -> Tensor:
        """Run whole windows through the first blocks.

        Args:
            embedded: their tokens, shape = (n, width).
            n_blocks: how many.
            attend: takes a layer's index, and queries, keys and values, shape = (n, 3 * width); returns shape = (n,
                width).

        Returns:
            hidden states, shape = (n, width).
        """
        hidden, _, _ = self._run(embedded, n_blocks, self._in_windows(attend), partial(share, kernels.add_many))
        return torch.from_numpy(hidden)

    def encode_to_last(self, embedded: Tensor, attend: Callable[[int, Tensor], Tensor]) -> Tensor:
        """Run whole windows through all blocks but the last, and return its queries, keys and values.

        The arguments are those of `encode`; shape = (n, 3 * width). They are what `decode` finds, to the bit.
        """
        last = len(self._blocks) - 1
        _, x, absmax = self._run(embedded, last, self._in_windows(attend), partial(share, kernels.add_many))
        product = self._blocks[last].qkv.multiply(torch.from_numpy(x))
        share(kernels.complete, product.numpy(), absmax, self._biases[last][0])
        return product

    def _in_windows(self, attend: Callable[[int, Tensor], Tensor]) -> _Attend:
        def attend_in_windows(layer: int, product: Floats, absmax: Floats, attended: Floats) -> None:
            share(kernels.complete, product, absmax, self._biases[layer][0])
            share(kernels.divide, attend(layer, torch.from_numpy(product)).numpy(), absmax, attended)

        return attend_in_windows

    def attend(self, layer: int, qkv: Tensor, n_tokens: int) -> Tensor:
        """Attend within windows of so many tokens; shape = (n, 3 * width) -> (n, width)."""
        attended = qkv.new_empty(len(qkv), qkv.shape[1] // 3)
        share(windows.attend, qkv.numpy(), n_tokens, self._n_heads, self._scales[layer], attended.numpy())
        return attended

    def _run(
        self, embedded: Tensor, n_blocks: int, attend: _Attend, add_rows: Callable[..., None]
    ) -> tuple[Floats, Floats, Floats]:
        """Return hidden states after the first blocks, the same normalised and over their absmax, and that."""
        hidden, numbers, absmax = self._begin(embedded, add_rows)
        x, norms = torch.from_numpy(numbers), iter(self._norms[1:])

        def add(product: Tensor, bias: Floats) -> None:
            add_rows(hidden, product.numpy(), absmax, bias, next(norms), self._epsilon, numbers)

        for layer, (weights, biases) in enumerate(zip(self._blocks[:n_blocks], self._biases, strict=False)):
            attend(layer, weights.qkv.multiply(x).numpy(), absmax, numbers)
            add(weights.attention_out.multiply(x), biases[1])
            inner = weights.mlp_in.multiply(x)
            self._activate(inner, absmax, biases[2])
            add(weights.mlp_out.multiply(inner), biases[3])
        return hidden, numbers, absmax

    def _begin(self, embedded: Tensor, add_rows: Callable[..., None]) -> tuple[Floats, Floats, Floats]:
        """Return the first hidden states, normalised ones over their absmax, and that."""
        product = embedded.numpy()
        hidden, x, absmax = np.zeros_like(product), np.empty_like(product), np.ones(len(product), np.float32)
        add_rows(hidden, product, absmax, np.zeros(product.shape[1], np.float32), self._norms[0], self._epsilon, x)
        return hidden, x, absmax

    def _activate(self, inner: Tensor, absmax: Floats, bias: Floats) -> None:
        """Apply the activation function in place."""
        if self._activation is None:
            share(kernels.activate, inner.numpy(), absmax, bias)
            return
        factors = torch.from_numpy(absmax)[:, None]
        activated = self._activation(torch.addcmul(torch.from_numpy(bias), inner, factors))
        torch.amax(activated.abs(), dim=1, keepdim=True, out=factors)
        factors.clamp_(min=torch.finfo(torch.float32).tiny)
        torch.div(activated, factors, out=inner)


def _numbers(tensor: Tensor | None) -> Floats:
    assert tensor is not None, "of a block every layer has a bias"
    return tensor.numpy()


def _arrays(layer: Linear) -> block.Layer:
    """Return a layer as `block.decode` takes it."""
    assert isinstance(layer, PackedLinear), "on a CPU all but float32 are"
    return *layer.matrix.arrays, _numbers(layer.bias)
