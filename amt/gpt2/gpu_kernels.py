"""Compute on GPUs, compiled by Triton, what PyTorch needs many kernels for: what lies between matrices, and the draw.

Each kernel that is launched takes microseconds, whatever it computes, and a step of one row has nothing else to wait
for. Sums are of float32. With `TRITON_INTERPRET=1` in the environment before this is imported they run on a CPU.
"""

from typing import Any, Final

import torch
import triton
import triton.language as tl
from torch import Tensor

from amt.gpt2.weights import Norm

_TOKENS: Final = 128
"""Tokens that attention reads at once; each row as far as it goes."""

_ELEMENTS: Final = 1_024
"""Numbers that one program activates."""

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
def _add_norm(
    hidden: Any, product: Any, scale: Any, shift: Any, normalised: Any, width: Any, epsilon: Any, size: tl.constexpr
) -> None:
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
def _activate(inner: Any, n: Any, size: tl.constexpr) -> None:
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
        triton.next_power_of_2(head_width), _TOKENS,
    )  # fmt: skip
    return attended


@triton.jit
def _attend(
    qkv: Any, cached: Any, cache_lengths: Any, attended: Any, scale: Any, max_rows: Any, context_tokens: Any,
    head_width: Any, size: tl.constexpr, together: tl.constexpr,
) -> None:  # fmt: skip
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

    What is truncated is found without sorting: the least weight that is kept is looked for bit by bit.

    Args:
        logits: float32, shape = (n_rows, n_tokens); rows may lie apart.
        params: temperature, top_p, top_k and min_p, shape = (n_rows,) each.
        uniform: from [0, 1), shape = (n_rows,).
    """
    n_rows, n_tokens = logits.shape
    tokens = torch.empty(n_rows, dtype=torch.int64, device=logits.device)
    numbers = torch.stack((*params, uniform), dim=1)
    size = triton.next_power_of_2(n_tokens)
    n_warps = max(min(size // _ELEMENTS, 16), 4)
    _choose[n_rows,](logits, numbers, tokens, n_tokens, logits.stride(0), size, _BITS, num_warps=n_warps)
    return tokens


@triton.jit
def _choose(
    logits: Any, numbers: Any, tokens: Any, n_tokens: Any, stride: Any, size: tl.constexpr, n_bits: tl.constexpr
) -> None:
    row, at = tl.program_id(0).to(tl.int64), tl.arange(0, size)
    inside = at < n_tokens
    temperature, top_p, top_k = (
        tl.load(numbers + 5 * row),
        tl.load(numbers + 5 * row + 1),
        tl.load(numbers + 5 * row + 2),
    )
    min_p, uniform = tl.load(numbers + 5 * row + 3), tl.load(numbers + 5 * row + 4)
    x = tl.load(logits + row * stride + at, inside, float("-inf"))
    weights = tl.exp((x - tl.max(x, 0)) / temperature)
    limit = tl.where(top_p < 1, top_p * tl.sum(weights, 0), float("inf"))
    most = tl.where(top_k > 0, top_k, 1.0 * size + 1)
    bits = weights.to(tl.int32, bitcast=True)
    # The largest weight down to which all together are more than the limit, or as many as may be.
    found = tl.full([], 0, tl.int32)
    for place in range(n_bits):
        tried = found | (1 << (n_bits - 1 - place))
        kept = bits >= tried
        is_enough = (tl.sum(tl.where(kept, weights, 0.0), 0) > limit) | (tl.sum(kept.to(tl.float32), 0) >= most)
        found = tl.where(is_enough, tried, found)
    kept = (bits >= found) & (weights >= min_p) & (weights > 0)
    sums = tl.cumsum(tl.where(kept, weights, 0.0), 0)
    # 1 - u lies in (0, 1]: the first token to reach a positive share of the total. A parallel sum may round so that
    # the last of them does not, and then the most probable token stands in.
    reaches = kept & (sums >= (1 - uniform) * tl.max(sums, 0))
    token = tl.min(tl.where(reaches, at, size), 0)
    token = tl.where(token < size, token, tl.min(tl.where(weights == 1, at, size), 0))
    tl.store(tokens + row, tl.minimum(token, n_tokens - 1).to(tl.int64))
