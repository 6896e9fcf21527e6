"""Decode a block of packed weights on CPUs, compiled as one function.

For one row Python takes as long to call the parts as they take to compute.
"""

from typing import Any, Final

import numpy as np
from numba import prange
from numpy.typing import NDArray

from amt.gpt2.cpu import attention, kernels, products
from amt.gpt2.cpu.compiling import compiled, digest

Layer = tuple[NDArray[Any], NDArray[Any], NDArray[Any], NDArray[np.float32]]
"""What `products.product` takes as kind, weights and scales; and a bias."""

Norm = tuple[NDArray[np.float32], NDArray[np.float32]]
"""Scale and shift, shape = (width,) each."""

TILE_ROWS: Final = 2 * products.MAX_ROWS
"""Rows of windows that one thread takes through a block's layers, so that what is between them stays in its cache."""

_product, _attend, _activate, _add = products.product, attention.attend, kernels.activate, kernels.add
_divide_by_absmax = kernels.divide_by_absmax
_product_of_tile: Any = compiled(is_part=True)(products.product.py_func)
_activate_tile: Any = compiled(is_part=True)(kernels.activate.py_func)


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


def _compile_finish(sources: str) -> Any:
    """Return `finish`, kept likewise."""

    @compiled(parallel=True)
    def finish(
        hidden: NDArray[np.float32],
        x: NDArray[np.float32],
        absmax: NDArray[np.float32],
        attention_out: Layer,
        mlp_in: Layer,
        mlp_out: Layer,
        norm: Norm,
        next_norm: Norm,
        epsilon: np.float32,
    ) -> None:
        """Do what follows attention for all rows of whole windows, to the bit as `decode` does.

        The arguments are those of `decode`, but x is what attention gives, and layers begin behind it.
        """
        sources  # noqa: B018
        for tile in prange(-(-len(hidden) // TILE_ROWS)):
            first, end = tile * TILE_ROWS, min(len(hidden), (tile + 1) * TILE_ROWS)
            states, rows, own = hidden[first:end], x[first:end], absmax[first:end]
            for row in range(end - first):
                own[row] = _divide_by_absmax(rows[row])
            product = _product_of_tile(rows, *attention_out[:3], len(attention_out[3]))
            _add(states, product, own, attention_out[3], norm, epsilon, rows)
            inner = _product_of_tile(rows, *mlp_in[:3], len(mlp_in[3]))
            _activate_tile(inner, own, mlp_in[3])
            product = _product_of_tile(inner, *mlp_out[:3], len(mlp_out[3]))
            _add(states, product, own, mlp_out[3], next_norm, epsilon, rows)

    return finish


_SOURCES: Final = digest(attention, kernels, products)

decode, finish = _compile(_SOURCES), _compile_finish(_SOURCES)
