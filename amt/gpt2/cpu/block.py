"""Decode a block of packed weights on CPUs, compiled as one function.

For one row Python takes as long to call the parts as they take to compute.
"""

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from amt.gpt2.cpu import attention, kernels, products
from amt.gpt2.cpu.compiling import compiled, digest

Layer = tuple[NDArray[Any], NDArray[Any], NDArray[Any], NDArray[np.float32]]
"""What `products.product` takes as kind, weights and scales; and a bias."""

Norm = tuple[NDArray[np.float32], NDArray[np.float32]]
"""Scale and shift, shape = (width,) each."""

_product, _attend, _activate, _add = products.product, attention.attend, kernels.activate, kernels.add


def _compile(sources: str) -> Any:
    """Return `decode`; compiled code is kept until this file or `sources` changes, for numba compares closures too."""

    @compiled()
    def decode(
        hidden: NDArray[np.float32],
        x: NDArray[np.float32],
        absmax: NDArray[np.float32],
        layers: tuple[Layer, Layer, Layer, Layer],
        norms: tuple[Norm, Norm],
        cached: NDArray[np.uint8],
        cache_lengths: NDArray[np.int64],
        scale: np.float32,
        epsilon: np.float32,
    ) -> None:
        """Feed one token to each row; what is not explained here is in `kernels` and `attention`.

        Args:
            hidden: shape = (n_rows, width); written.
            x: normalised hidden states over their absmax, shape = (n_rows, width); gets those for the next block.
            absmax: shape = (n_rows,); written.
            layers: queries to values, attention's output, and those around the activation function.
            norms: of this block's second half, and of what comes next.
            cached: keys and values; written.
            cache_lengths: where each row's token belongs.
            scale: of attention.
            epsilon: of the norms.
        """
        sources  # noqa: B018
        qkv, attention_out, mlp_in, mlp_out = layers
        product = _product(x, *qkv[:3], len(qkv[3]))
        _attend(product, absmax, qkv[3], cached, cache_lengths, scale, x)
        product = _product(x, *attention_out[:3], len(attention_out[3]))
        _add(hidden, product, absmax, attention_out[3], norms[0], epsilon, x)
        inner = _product(x, *mlp_in[:3], len(mlp_in[3]))
        _activate(inner, absmax, mlp_in[3])
        product = _product(inner, *mlp_out[:3], len(mlp_out[3]))
        _add(hidden, product, absmax, mlp_out[3], norms[1], epsilon, x)

    return decode


decode: Final = _compile(digest(attention, kernels, products))
