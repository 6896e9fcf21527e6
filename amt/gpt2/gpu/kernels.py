"""Compute on GPUs, compiled by Triton, what lies between matrices when there are many rows.

Each kernel that is launched takes microseconds, whatever it computes. Sums are of float32. With `TRITON_INTERPRET=1` in
the environment before this is imported they run on a CPU.
"""

import os

import torch

os.environ.setdefault("TRITON_DEFAULT_FP_FUSION", "1")  # as ever, and without a warning of Triton 3.9
import triton
import triton.language as tl
from torch import Tensor

from amt.gpt2.gpu.overlap import overlap, wait
from amt.gpt2.weights import Norm


def embed(tokens: Tensor, cache_lengths: Tensor, embeddings: Tensor, positions: Tensor) -> Tensor:
    """Return hidden states of tokens at their positions; float32, shape = (n_rows, width).

    Args:
        tokens: shape = (n_rows,), int64.
        cache_lengths: the positions, likewise.
        embeddings: shape = (vocab_size, width).
        positions: shape = (at least context_tokens, width).
    """
    n_rows, width = len(tokens), embeddings.shape[1]
    hidden = torch.empty((n_rows, width), dtype=torch.float32, device=tokens.device)
    _embed[n_rows,](tokens, cache_lengths, embeddings, positions, hidden, width, triton.next_power_of_2(width))
    return hidden


@triton.jit
def _embed(tokens, cache_lengths, embeddings, positions, hidden, width, size: tl.constexpr):
    row, at = tl.program_id(0).to(tl.int64), tl.arange(0, size)
    inside = at < width
    token, position = tl.load(tokens + row), tl.load(cache_lengths + row)
    embedding = tl.load(embeddings + token * width + at, inside, 0.0).to(tl.float32)
    embedding += tl.load(positions + position * width + at, inside, 0.0).to(tl.float32)
    tl.store(hidden + row * width + at, embedding, inside)


def normalise(hidden: Tensor, norm: Norm, epsilon: float) -> Tensor:
    """Return hidden states normalised, in the precision of the norm; shape = (n_rows, width)."""
    return _launch_add_norm(hidden, hidden, 0, norm, epsilon)


def add_norm(hidden: Tensor, parts: Tensor, norm: Norm, epsilon: float) -> Tensor:
    """Add a product to hidden states in place, and return these normalised, in the precision of the norm.

    Args:
        hidden: float32, shape = (n_rows, width).
        parts: which the product is the sum of, shape = (n_parts, n_rows, width).
        norm: of what comes next.
        epsilon: added to the variance.
    """
    return _launch_add_norm(hidden, parts, len(parts), norm, epsilon)


def _launch_add_norm(hidden: Tensor, parts: Tensor, n_parts: int, norm: Norm, epsilon: float) -> Tensor:
    n_rows, width = hidden.shape
    normalised = torch.empty_like(hidden, dtype=norm[0].dtype)
    _add_norm[n_rows,](
        hidden, parts, *norm, normalised, n_rows, width, epsilon, n_parts, triton.next_power_of_2(width),
        **overlap(hidden.device),
    )  # fmt: skip
    return normalised


@triton.jit(do_not_specialize=["n_rows"])  # which would compile it again and again
def _add_norm(
    hidden, parts, scale, shift, normalised, n_rows, width, epsilon, n_parts: tl.constexpr, size: tl.constexpr,
    is_overlapped: tl.constexpr,
):  # fmt: skip
    row, at = tl.program_id(0).to(tl.int64), tl.arange(0, size)
    inside = at < width
    scales, shifts = tl.load(scale + at, inside, 0.0).to(tl.float32), tl.load(shift + at, inside, 0.0).to(tl.float32)
    wait(is_overlapped)
    total = tl.load(hidden + row * width + at, inside, 0.0)
    for part in tl.static_range(n_parts):
        total += tl.load(parts + (part * n_rows + row) * width + at, inside, 0.0)
    if n_parts:
        tl.store(hidden + row * width + at, total, inside)
    result = normalised_row(total, inside, scales, shifts, width, epsilon)
    tl.store(normalised + row * width + at, result.to(normalised.dtype.element_ty), inside)


@triton.jit
def normalised_row(x, inside, scales, shifts, width, epsilon):
    """Return a row over its deviation, scaled and shifted; outside it x, scales and shifts are 0."""
    centred = tl.where(inside, x - tl.sum(x, 0) / width, 0.0)
    return centred * tl.rsqrt(tl.sum(centred * centred, 0) / width + epsilon) * scales + shifts


@triton.jit
def gelu(x):
    """Return the approximate GELU, its hyperbolic tangent by a sigmoid: x / 2 * (1 + tanh(y)) = x * sigmoid(2 * y)."""
    return x * tl.sigmoid(1.5957691216057308 * (x + 0.044715 * x * x * x))
