"""Combine the vectors of a piece's windows, and scale them."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from amt.tokens.windows import Window

Pooling = Literal["mean", "last", "max", "none"]
"""How the hidden states of several tokens become one vector; none: they stay as many as there are."""

Vectors = NDArray[np.float32]
"""Shape = (n_vectors, width)."""


def combine(vectors: Vectors, windows: Sequence[Window], pooling: Pooling) -> Vectors:
    """Return what pooling all tokens of a piece together would; shape = (1, width).

    Args:
        vectors: one for each window.
        windows: means are weighted by their tokens.
        pooling: what made the vectors.
    """
    if pooling == "mean":
        weights = np.array([window.num_tokens for window in windows])
        mean: Vectors = np.average(vectors, axis=0, weights=weights).astype(np.float32)
        return mean[None]
    return vectors.max(axis=0, keepdims=True) if pooling == "max" else vectors[-1:]


def normalized(vectors: Vectors) -> Vectors:
    """Return each vector scaled to the length 1 (L2)."""
    lengths = np.linalg.norm(vectors.astype(np.float64), axis=1, keepdims=True)
    unit: Vectors = (vectors / np.maximum(lengths, np.finfo(np.float32).tiny)).astype(np.float32)
    return unit
