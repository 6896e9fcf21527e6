"""GPT-2's blocks, one token a row, on a CPU: PyTorch multiplies matrices, and what lies between is compiled.

A row of a few hundred numbers takes PyTorch less time to compute than to call: the twenty operations between the four
matrices of a block are four here.

What is to be multiplied is divided by the largest of its row before, its size, for int8 takes one scale for all rows.
So a layer's result is a product times the size plus a bias, and what comes next puts that together as it reads it.
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from amt import compiled
from amt.layer import Layer, Norm

Floats = NDArray[np.float32]


class Blocks:
    """All of a model's, and the norm behind them.

    What a row gets is the same to the bit beside any others, if that is so of the layers' products.
    """

    def __init__(
        self,
        layers: Sequence[Layer],
        final_norm: Norm,
        scales: Sequence[float],
        epsilon: float,
        activation: Callable[[Tensor], Tensor] | None,
    ) -> None:
        """`scales`: of each block's attention; `activation`: None for the approximate GELU."""
        self._layers, self._scales, self._activation = layers, scales, activation
        self._biases = [
            [_numbers(part.bias) for part in (layer.qkv, layer.attention_out, layer.mlp_in, layer.mlp_out)]
            for layer in layers
        ]
        norms = [norm for layer in layers for norm in (layer.norm1, layer.norm2)]
        self._norms = [(_numbers(scale), _numbers(shift)) for scale, shift in (*norms, final_norm)]
        self._epsilon = np.float32(epsilon)

    def decode(self, embedded: Tensor, ends: NDArray[np.int64], cached: NDArray[np.uint16]) -> Tensor:
        """Feed one token to each of the first rows of a cache.

        Args:
            embedded: the tokens, shape = (n_rows, width).
            ends: where each belongs, shape = (n_rows,).
            cached: bits of bfloat16, shape = (n_layers, 2, at least n_rows, n_heads, 1,024, head_width); written.

        Returns:
            final hidden states, shape = (n_rows, width).
        """
        x = torch.empty_like(embedded)
        numbers, hidden, sizes = x.numpy(), np.zeros(x.shape, np.float32), np.ones(len(x), np.float32)
        norms = iter(self._norms)

        def add(product: Tensor, bias: Floats) -> None:
            compiled.add(hidden, product.numpy(), sizes, bias, next(norms), self._epsilon, numbers)

        add(embedded, np.zeros(x.shape[1], np.float32))
        for index, (layer, biases) in enumerate(zip(self._layers, self._biases, strict=True)):
            product = layer.qkv.multiply(x).numpy()
            compiled.attend(product, sizes, biases[0], cached[index], ends, self._scales[index], numbers)
            add(layer.attention_out.multiply(x), biases[1])
            inner = layer.mlp_in.multiply(x)
            self._activate(inner, sizes, biases[2])
            add(layer.mlp_out.multiply(inner), biases[3])
        return x.mul_(torch.from_numpy(sizes)[:, None])

    def _activate(self, inner: Tensor, sizes: Floats, bias: Floats) -> None:
        """In place."""
        if self._activation is None:
            compiled.activate(inner.numpy(), sizes, bias)
            return
        factors = torch.from_numpy(sizes)[:, None]
        activated = self._activation(torch.addcmul(torch.from_numpy(bias), inner, factors))
        torch.amax(activated.abs(), dim=1, keepdim=True, out=factors)
        factors.clamp_(min=torch.finfo(torch.float32).tiny)
        torch.div(activated, factors, out=inner)


def _numbers(tensor: Tensor | None) -> Floats:
    assert tensor is not None, "of a block every layer has a bias"
    return tensor.numpy()
