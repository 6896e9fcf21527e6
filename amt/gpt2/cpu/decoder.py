"""Decode one token a row on a CPU, block by block, each in one compiled call.

A row of a few hundred numbers takes PyTorch less time to compute than to call. Of whole windows each thread takes some
rows through all that follows attention, in one compiled call. If the activation function is not the approximate GELU,
or oneDNN is faster, it is done matrix by matrix.

What is to be multiplied is first divided by its row's absolute maximum (`absmax`), for int8 takes rows of
magnitudes up to 1. So a layer's result is product * absmax + bias, and what comes next puts that together as it reads
it.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from amt.gpt2.cpu import attention, block, kernels, many_rows, windows
from amt.gpt2.cpu.compiling import share
from amt.gpt2.cpu.packing import Matrix
from amt.gpt2.linear import Linear, PackedLinear
from amt.gpt2.weights import BlockWeights, Norm

Floats = NDArray[np.float32]


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
        hidden, x, absmax = self._begin(embedded, kernels.add)
        for layer, (weights, biases) in enumerate(zip(self._blocks, self._biases, strict=True)):
            product, scale = weights.qkv.multiply(torch.from_numpy(x)).numpy(), self._scales[layer]
            share(attention.attend, product, absmax, biases[0], cached[layer], cache_lengths, scale, x)
            self._finish_by_matrix(layer, hidden, x, absmax, kernels.add)
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
                width), which is overwritten.

        Returns:
            hidden states, shape = (n, width).
        """
        hidden, _, _ = self._encode(embedded, n_blocks, attend)
        return torch.from_numpy(hidden)

    def encode_to_last(self, embedded: Tensor, attend: Callable[[int, Tensor], Tensor]) -> Tensor:
        """Run whole windows through all blocks but the last, and return its queries, keys and values.

        The arguments are those of `encode`; shape = (n, 3 * width). They are what `decode` finds, to the bit.
        """
        last = len(self._blocks) - 1
        _, x, absmax = self._encode(embedded, last, attend)
        return self._project(last, x, absmax)

    def attend(self, layer: int, qkv: Tensor, n_tokens: int) -> Tensor:
        """Attend within windows of so many tokens; shape = (n, 3 * width) -> (n, width)."""
        attended = qkv.new_empty(len(qkv), qkv.shape[1] // 3)
        share(windows.attend, qkv.numpy(), n_tokens, self._n_heads, self._scales[layer], attended.numpy())
        return attended

    def _encode(
        self, embedded: Tensor, n_blocks: int, attend: Callable[[int, Tensor], Tensor]
    ) -> tuple[Floats, Floats, Floats]:
        """Return hidden states after the first blocks, the same normalised and over their absmax, and that."""
        hidden, x, absmax = self._begin(embedded, _add_many)
        for layer in range(n_blocks):
            x = attend(layer, self._project(layer, x, absmax)).numpy()
            if self._suits_tiles(layer, len(x)):
                norms = self._norms[2 * layer + 1], self._norms[2 * layer + 2]
                share(block.finish, hidden, x, absmax, *self._layers[layer][1:], *norms, self._epsilon)
            else:
                share(kernels.divide, x, absmax, x)
                self._finish_by_matrix(layer, hidden, x, absmax, _add_many)
        return hidden, x, absmax

    def _suits_tiles(self, layer: int, n_rows: int) -> bool:
        """Tell whether threads can take rows through a block: there are some for each, and oneDNN is not faster."""
        n_tiles = -(-n_rows // block.TILE_ROWS)
        is_faster = many_rows.suits(n_rows, _matrix(self._blocks[layer].mlp_in))
        return self._activation is None and not is_faster and n_tiles >= 2 * torch.get_num_threads()

    def _project(self, layer: int, x: Floats, absmax: Floats) -> Tensor:
        """Return queries, keys and values of whole windows; shape = (n, 3 * width)."""
        product = self._blocks[layer].qkv.multiply(torch.from_numpy(x))
        share(kernels.complete, product.numpy(), absmax, self._biases[layer][0])
        return product

    def _finish_by_matrix(
        self, layer: int, hidden: Floats, x: Floats, absmax: Floats, add_rows: Callable[..., None]
    ) -> None:
        """Do what follows attention, one matrix after another; `x` is what attention gives, over its absmax."""
        weights, biases, rows = self._blocks[layer], self._biases[layer], torch.from_numpy(x)
        norm, next_norm = self._norms[2 * layer + 1], self._norms[2 * layer + 2]
        product = weights.attention_out.multiply(rows).numpy()
        add_rows(hidden, product, absmax, biases[1], norm, self._epsilon, x)
        inner = weights.mlp_in.multiply(rows)
        self._activate(inner, absmax, biases[2])
        product = weights.mlp_out.multiply(inner).numpy()
        add_rows(hidden, product, absmax, biases[3], next_norm, self._epsilon, x)

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


def _add_many(*arguments: Any) -> None:
    """Do what `kernels.add` does for the rows of whole windows."""
    share(kernels.add_many, *arguments)


def _numbers(tensor: Tensor | None) -> Floats:
    assert tensor is not None, "of a block every layer has a bias"
    return tensor.numpy()


def _arrays(layer: Linear) -> block.Layer:
    """Return a layer as `block.decode` takes it."""
    return *_matrix(layer).arrays, _numbers(layer.bias)


def _matrix(layer: Linear) -> Matrix:
    assert isinstance(layer, PackedLinear), "on a CPU all but float32 are"
    return layer.matrix
