"""Attend on GPUs, compiled by Triton: each row as far as it goes."""

from typing import Final

import torch
import triton
import triton.language as tl
from torch import Tensor

from amt.gpt2.gpu.overlap import overlap, wait

PART_TOKENS: Final = 128
"""Tokens that a program reads where a row is attended to in parts."""

_PART_WARPS: Final = 8
"""Of such a program: enough that all these tokens are under way together."""

_TOKENS, _WARPS = 64, 4
"""Where a program reads all tokens: how many at once, the next ones while it computes, and by how many warps."""

_MANY_PROGRAMS: Final = 512
"""From so many rows times heads on, both are half of that: others are there to go on meanwhile."""

_LEAST: Final = tl.constexpr(-1e30)
"""Below any score, and yet a number: the difference of two infinities is none."""


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
    share = 2 if n_rows * n_heads >= _MANY_PROGRAMS else 1
    _attend[n_rows, n_heads](
        qkv, cached, cache_lengths, attended, scale, max_rows, context_tokens, head_width,
        triton.next_power_of_2(head_width), _TOKENS // share, num_warps=_WARPS // share, **overlap(qkv.device),
    )  # fmt: skip
    return attended


@triton.jit(do_not_specialize=["max_rows"])  # which would compile it again and again
def _attend(
    qkv, cached, cache_lengths, attended, scale, max_rows, context_tokens, head_width,
    size: tl.constexpr, together: tl.constexpr, is_overlapped: tl.constexpr,
):  # fmt: skip
    row, head, n_heads = tl.program_id(0).to(tl.int64), tl.program_id(1), tl.num_programs(1)
    width, at = n_heads * head_width, tl.arange(0, size)
    inside, length = at < head_width, tl.load(cache_lengths + row).to(tl.int32)
    keys = cached + (row * n_heads + head) * context_tokens * head_width + at
    values = keys + max_rows.to(tl.int64) * n_heads * context_tokens * head_width
    next_keys, next_values = _some(keys, values, tl.arange(0, together), length, inside, head_width)
    wait(is_overlapped)
    query, key, value = _own(qkv + row * 3 * width + head * head_width + at, inside, width, scale)
    tl.store(keys + length * head_width, key.to(cached.dtype.element_ty), inside)
    tl.store(values + length * head_width, value.to(cached.dtype.element_ty), inside)
    # Each place in a block of tokens has a maximum and sums of its own, so that nothing but a score is summed across
    # threads until the end, and each of them goes on to its next tokens by itself.
    largest, totals = tl.full([together], _LEAST, tl.float32), tl.zeros([together], tl.float32)
    seen = tl.zeros([together, size], tl.float32)
    for start in range(0, length, together):
        tokens = start + tl.arange(0, together)
        some_keys, some_values = next_keys, next_values
        next_keys, next_values = _some(keys, values, tokens + together, length, inside, head_width)
        scores = tl.where(tokens < length, tl.sum(query[None, :] * some_keys.to(tl.float32), 1), float("-inf"))
        before, largest = largest, tl.maximum(largest, scores)
        weights, faded = tl.exp(scores - largest), tl.exp(before - largest)
        totals = totals * faded + weights
        seen = seen * faded[:, None] + weights[:, None] * some_values.to(tl.float32)
    own_score = tl.sum(query * key, 0)  # from where it is: what has just been written need not be read
    most = tl.maximum(tl.max(largest, 0), own_score)
    factors, own_weight = tl.exp(largest - most), tl.exp(own_score - most)
    total = tl.sum(totals * factors, 0) + own_weight
    result = (tl.sum(seen * factors[:, None], 0) + own_weight * value) / total
    tl.store(attended + row * width + head * head_width + at, result.to(attended.dtype.element_ty), inside)


def attend_in_parts(qkv: Tensor, cached: Tensor, cache_lengths: Tensor, scale: float) -> tuple[Tensor, Tensor]:
    """Do the same, but by a program for each part of a row: one alone would wait for memory again and again.

    Returns:
        what each part attends to, float32, shape = (n_rows, n_parts, width), and the logarithm of its sum of weights,
            float32, shape = (n_rows, n_parts, n_heads); parts behind a row's end have anything.
    """
    n_rows = len(qkv)
    _, max_rows, n_heads, context_tokens, head_width = cached.shape
    n_parts = triton.cdiv(context_tokens, PART_TOKENS)
    parts = torch.empty((n_rows, n_parts, n_heads * head_width), dtype=torch.float32, device=qkv.device)
    sums = torch.empty((n_rows, n_parts, n_heads), dtype=torch.float32, device=qkv.device)
    _attend_to_part[n_rows, n_heads, n_parts](
        qkv, cached, cache_lengths, parts, sums, scale, max_rows, context_tokens, head_width,
        triton.next_power_of_2(head_width), PART_TOKENS, num_warps=_PART_WARPS, **overlap(qkv.device),
    )  # fmt: skip
    return parts, sums


@triton.jit(do_not_specialize=["max_rows"])
def _attend_to_part(
    qkv, cached, cache_lengths, parts, sums, scale, max_rows, context_tokens, head_width,
    size: tl.constexpr, together: tl.constexpr, is_overlapped: tl.constexpr,
):  # fmt: skip
    row, head, n_heads = tl.program_id(0).to(tl.int64), tl.program_id(1), tl.num_programs(1)
    part, n_parts = tl.program_id(2), tl.num_programs(2)
    length = tl.load(cache_lengths + row).to(tl.int32)
    if (part > 0) & (part * together >= length):
        return
    width, at, tokens = n_heads * head_width, tl.arange(0, size), part * together + tl.arange(0, together)
    inside = at < head_width
    keys = cached + (row * n_heads + head) * context_tokens * head_width + at
    values = keys + max_rows.to(tl.int64) * n_heads * context_tokens * head_width
    some_keys, some_values = _some(keys, values, tokens, length, inside, head_width)
    wait(is_overlapped)
    query, key, value = _own(qkv + row * 3 * width + head * head_width + at, inside, width, scale)
    scores = tl.where(tokens < length, tl.sum(query[None, :] * some_keys.to(tl.float32), 1), float("-inf"))
    own_score = tl.full([], float("-inf"), tl.float32)
    if part == 0:  # which has the token itself
        tl.store(keys + length * head_width, key.to(cached.dtype.element_ty), inside)
        tl.store(values + length * head_width, value.to(cached.dtype.element_ty), inside)
        own_score = tl.sum(query * key, 0)
    largest = tl.maximum(tl.max(scores, 0), own_score)
    weights, own_weight = tl.exp(scores - largest), tl.exp(own_score - largest)
    total = tl.sum(weights, 0) + own_weight
    seen = tl.sum(weights[:, None] * some_values.to(tl.float32), 0) + own_weight * value
    tl.store(parts + (row * n_parts + part) * width + head * head_width + at, seen / total, inside)
    tl.store(sums + (row * n_parts + part) * n_heads + head, largest + tl.log(total))


@triton.jit
def _some(keys, values, tokens, length, inside, head_width):
    """Return the keys and the values of some tokens, to be under way together; shape = (n_tokens, size) each."""
    place, there = tokens[:, None] * head_width, (tokens < length)[:, None] & inside[None, :]
    return tl.load(keys[None, :] + place, there, 0.0), tl.load(values[None, :] + place, there, 0.0)


@triton.jit
def _own(own, inside, width, scale):
    """Return a token's scaled query, its key and its value; float32, shape = (size,) each."""
    query, key, value = (
        tl.load(own, inside, 0.0),
        tl.load(own + width, inside, 0.0),
        tl.load(own + 2 * width, inside, 0.0),
    )
    return query.to(tl.float32) * scale, key.to(tl.float32), value.to(tl.float32)
