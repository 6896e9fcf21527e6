"""Compute on GPUs, compiled by Triton, what PyTorch needs many kernels for: what lies between matrices, and the draw.

Each kernel that is launched takes microseconds, whatever it computes, and a step of one row has nothing else to wait
for. Sums are of float32. With `TRITON_INTERPRET=1` in the environment before this is imported they run on a CPU.
"""

import os
from typing import Final

import torch

os.environ.setdefault("TRITON_DEFAULT_FP_FUSION", "1")  # as ever, and without a warning of Triton 3.9
import triton
import triton.language as tl
from torch import Tensor

from amt.gpt2.weights import Norm

_TOKENS: Final = 128
"""Tokens that attention reads at once; each row as far as it goes."""

_WARPS: Final = 8
"""Of a program that attends: enough that all these tokens are under way together."""

_ELEMENTS: Final = 1_024
"""Numbers that one program activates."""

_TOGETHER: Final = 4_096
"""Tokens that a draw looks at at once; code for all of them took a minute to compile."""

_BITS: Final = 30
"""Of positive floats up to 1, which as whole numbers have the same order."""


def add_norm(hidden: Tensor, product: Tensor, norm: Norm, epsilon: float) -> Tensor:
    """Add a product to hidden states in place, and return these normalised, in the precision of the product.

    Args:
        hidden: float32, shape = (n_rows, width).
        product: shape = (n_rows, width).
        norm: of what comes next.
        epsilon: added to the variance.
    """
    n_rows, width = hidden.shape
    normalised = torch.empty_like(product)
    _add_norm[n_rows,](hidden, product, *norm, normalised, width, epsilon, triton.next_power_of_2(width))
    return normalised


@triton.jit
def _add_norm(hidden, product, scale, shift, normalised, width, epsilon, size: tl.constexpr):
    row, at = tl.program_id(0).to(tl.int64), tl.arange(0, size)
    inside = at < width
    total = tl.load(hidden + row * width + at, inside, 0.0)
    total += tl.load(product + row * width + at, inside, 0.0).to(tl.float32)
    tl.store(hidden + row * width + at, total, inside)
    centred = tl.where(inside, total - tl.sum(total, 0) / width, 0.0)
    centred *= tl.rsqrt(tl.sum(centred * centred, 0) / width + epsilon)
    result = centred * tl.load(scale + at, inside, 0.0).to(tl.float32) + tl.load(shift + at, inside, 0.0).to(tl.float32)
    tl.store(normalised + row * width + at, result.to(normalised.dtype.element_ty), inside)


def activate(inner: Tensor) -> Tensor:
    """Apply the approximate GELU in place, and return it; shape = any."""
    n = inner.numel()
    _activate[triton.cdiv(n, _ELEMENTS),](inner, n, _ELEMENTS)
    return inner


@triton.jit
def _activate(inner, n, size: tl.constexpr):
    at = tl.program_id(0).to(tl.int64) * size + tl.arange(0, size)
    x = tl.load(inner + at, at < n, 0.0).to(tl.float32)
    # The hyperbolic tangent by a sigmoid: x / 2 * (1 + tanh(y)) = x * sigmoid(2 * y)
    result = x * tl.sigmoid(1.5957691216057308 * (x + 0.044715 * x * x * x))
    tl.store(inner + at, result.to(inner.dtype.element_ty), at < n)


def attend(qkv: Tensor, cached: Tensor, cache_lengths: Tensor, scale: float) -> Tensor:
    """Put a token's keys and values into the cache, and attend to them and to all before them.

    Args:
        qkv: queries, keys and values, shape = (n_rows, 3 * width).
        cached: keys and values of one layer, shape = (2, at least n_rows, n_heads, context_tokens, head_width).
        cache_lengths: where each row's token belongs, shape = (n_rows,), int64.
        scale: of the products of queries and keys.

    Returns:
        shape = (n_rows, width).
    """
    n_rows = len(qkv)
    _, max_rows, n_heads, context_tokens, head_width = cached.shape
    attended = qkv.new_empty(n_rows, n_heads * head_width)
    _attend[n_rows, n_heads](
        qkv, cached, cache_lengths, attended, scale, max_rows, context_tokens, head_width,
        triton.next_power_of_2(head_width), _TOKENS, num_warps=_WARPS,
    )  # fmt: skip
    return attended


@triton.jit
def _attend(
    qkv, cached, cache_lengths, attended, scale, max_rows, context_tokens,
    head_width, size: tl.constexpr, together: tl.constexpr,
):  # fmt: skip
    row, head, n_heads = tl.program_id(0).to(tl.int64), tl.program_id(1), tl.num_programs(1)
    width, at = n_heads * head_width, tl.arange(0, size)
    inside = at < head_width
    own = qkv + row * 3 * width + head * head_width + at
    query = tl.load(own, inside, 0.0).to(tl.float32) * scale
    key, value = tl.load(own + width, inside, 0.0), tl.load(own + 2 * width, inside, 0.0)
    keys = cached + (row * n_heads + head) * context_tokens * head_width + at
    values = keys + max_rows * n_heads * context_tokens * head_width
    length = tl.load(cache_lengths + row)
    tl.store(keys + length * head_width, key, inside)
    tl.store(values + length * head_width, value, inside)
    # The token itself comes first, from where it is: what has just been written need not be read.
    largest = tl.sum(query * key.to(tl.float32), 0)
    total, seen = tl.full([], 1.0, tl.float32), value.to(tl.float32)
    for start in range(0, length, together):
        tokens = start + tl.arange(0, together)
        place, there = tokens[:, None] * head_width, (tokens < length)[:, None] & inside[None, :]
        some = tl.load(keys[None, :] + place, there, 0.0).to(tl.float32)
        scores = tl.where(tokens < length, tl.sum(query[None, :] * some, 1), float("-inf"))
        before, largest = largest, tl.maximum(largest, tl.max(scores, 0))
        weights, faded = tl.exp(scores - largest), tl.exp(before - largest)
        some = tl.load(values[None, :] + place, there, 0.0).to(tl.float32)
        total = total * faded + tl.sum(weights, 0)
        seen = seen * faded + tl.sum(weights[:, None] * some, 0)
    result = (seen / total).to(attended.dtype.element_ty)
    tl.store(attended + row * width + head * head_width + at, result, inside)


def choose(logits: Tensor, params: tuple[Tensor, ...], uniform: Tensor) -> Tensor:
    """Draw a token of each row, as `amt.gpt2.sampling` does; shape = (n_rows,).

    Nothing is sorted: the least weight that is kept is found bit by bit, by what all together are that are no less.

    Args:
        logits: float32, shape = (n_rows, n_tokens); rows may lie apart.
        params: temperature, top_p, top_k and min_p, shape = (n_rows,) each.
        uniform: from [0, 1), shape = (n_rows,).
    """
    n_rows, n_tokens = logits.shape
    tokens = torch.empty(n_rows, dtype=torch.int64, device=logits.device)
    numbers = torch.stack((*params, uniform), dim=1)
    weights = torch.empty((n_rows, n_tokens), device=logits.device)
    _choose[n_rows,](
        logits, numbers, weights, tokens, n_tokens, logits.stride(0), _TOGETHER, _BITS, num_warps=_TOGETHER // 256
    )
    return tokens


@triton.jit
def _choose(logits, numbers, weights, tokens, n_tokens, stride, together: tl.constexpr, n_bits: tl.constexpr):
    row, lanes = tl.program_id(0).to(tl.int64), tl.arange(0, together)
    logits, weights, numbers = logits + row * stride, weights + row * n_tokens, numbers + row * 5
    temperature, top_p, top_k = tl.load(numbers), tl.load(numbers + 1), tl.load(numbers + 2)
    min_p, uniform = tl.load(numbers + 3), tl.load(numbers + 4)
    most_of_each = tl.full([together], float("-inf"), tl.float32)
    for start in range(0, n_tokens, together):
        most_of_each = tl.maximum(
            most_of_each, tl.load(logits + start + lanes, start + lanes < n_tokens, float("-inf"))
        )
    largest, sums = tl.max(most_of_each, 0), tl.zeros([together], tl.float32)
    for start in range(0, n_tokens, together):
        x = tl.load(logits + start + lanes, start + lanes < n_tokens, float("-inf"))
        weight = tl.exp((x - largest) / temperature)  # 1 for the largest
        tl.store(weights + start + lanes, weight, start + lanes < n_tokens)
        sums += weight
    limit = tl.where(top_p < 1, top_p * tl.sum(sums, 0), float("inf"))
    n_enough = tl.where(top_k > 0, top_k, n_tokens + 1.0)
    least = tl.full([], 0, tl.int32)
    for place in range(n_bits):
        tried = least | (1 << (n_bits - 1 - place))
        sums, counts = tl.zeros([together], tl.float32), tl.zeros([together], tl.float32)
        for start in range(0, n_tokens, together):
            weight = tl.load(weights + start + lanes, start + lanes < n_tokens, 0.0)
            kept = weight.to(tl.int32, bitcast=True) >= tried
            sums += tl.where(kept, weight, 0.0)
            counts += kept.to(tl.float32)
        is_enough = (tl.sum(sums, 0) > limit) | (tl.sum(counts, 0) >= n_enough)
        least = tl.where(is_enough, tried, least)
    floor = tl.maximum(least.to(tl.float32, bitcast=True), min_p)
    sums = tl.zeros([together], tl.float32)
    for start in range(0, n_tokens, together):
        weight = tl.load(weights + start + lanes, start + lanes < n_tokens, 0.0)
        sums += tl.where(weight >= floor, weight, 0.0)
    # 1 - u lies in (0, 1]: the first token to reach a positive share of the total. Sums may round so that not even the
    # last one that is kept does, and then it is that one.
    share, before = (1 - uniform) * tl.sum(sums, 0), tl.full([], 0.0, tl.float32)
    token, last = n_tokens, 0
    for start in range(0, n_tokens, together):
        weight = tl.load(weights + start + lanes, start + lanes < n_tokens, 0.0)
        kept = (weight >= floor) & (weight > 0)
        weight = tl.where(kept, weight, 0.0)
        reaches = kept & (before + tl.cumsum(weight, 0) >= share)
        token = tl.minimum(token, tl.min(tl.where(reaches, start + lanes, n_tokens), 0))
        last = tl.maximum(last, tl.max(tl.where(kept, start + lanes, 0), 0))
        before += tl.sum(weight, 0)
    tl.store(tokens + row, tl.where(token < n_tokens, token, last).to(tl.int64))
