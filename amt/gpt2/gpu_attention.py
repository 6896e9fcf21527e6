"""Attend on GPUs, compiled by Triton: each row as far as it goes."""

from typing import Final

import torch
import triton
import triton.language as tl
from torch import Tensor

PART_TOKENS: Final = 128
"""Tokens that are read at once, and by a program if a row is attended to in parts."""

_WARPS: Final = 8
"""Of a program: enough that all these tokens are under way together."""


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
    n_rows, n_heads = len(qkv), cached.shape[2]
    attended = qkv.new_empty(n_rows, qkv.shape[1] // 3)
    _launch((n_rows, n_heads), qkv, cached, cache_lengths, attended, attended, scale, is_part=False)
    return attended


def attend_in_parts(qkv: Tensor, cached: Tensor, cache_lengths: Tensor, scale: float) -> tuple[Tensor, Tensor]:
    """Do the same, but by a program for each part of a row: one alone would wait for memory again and again.

    Returns:
        what each part attends to, float32, shape = (n_rows, n_parts, width), and the logarithm of its sum of weights,
            float32, shape = (n_rows, n_parts, n_heads); parts behind a row's end have anything.
    """
    n_rows, n_heads, context_tokens = len(qkv), *cached.shape[2:4]
    n_parts = triton.cdiv(context_tokens, PART_TOKENS)
    parts = torch.empty((n_rows, n_parts, qkv.shape[1] // 3), dtype=torch.float32, device=qkv.device)
    sums = torch.empty((n_rows, n_parts, n_heads), dtype=torch.float32, device=qkv.device)
    _launch((n_rows, n_heads, n_parts), qkv, cached, cache_lengths, parts, sums, scale, is_part=True)
    return parts, sums


def _launch(
    grid: tuple[int, ...], qkv: Tensor, cached: Tensor, cache_lengths: Tensor, attended: Tensor, sums: Tensor,
    scale: float, *, is_part: bool,
) -> None:  # fmt: skip
    _, max_rows, _, context_tokens, head_width = cached.shape
    _attend[grid](
        qkv, cached, cache_lengths, attended, sums, scale, max_rows, context_tokens, head_width,
        triton.next_power_of_2(head_width), PART_TOKENS, is_part, num_warps=_WARPS,
    )  # fmt: skip


@triton.jit
def _attend(
    qkv, cached, cache_lengths, attended, sums, scale, max_rows, context_tokens, head_width,
    size: tl.constexpr, together: tl.constexpr, is_part: tl.constexpr,
):  # fmt: skip
    row, head, n_heads = tl.program_id(0).to(tl.int64), tl.program_id(1), tl.num_programs(1)
    part, n_parts = tl.program_id(2), tl.num_programs(2)
    length = tl.load(cache_lengths + row)
    begin, end = part * together, length
    if is_part:
        end = tl.minimum(length, begin + together)
        if (part > 0) & (begin >= length):
            return
    width, at = n_heads * head_width, tl.arange(0, size)
    inside = at < head_width
    own = qkv + row * 3 * width + head * head_width + at
    query = tl.load(own, inside, 0.0).to(tl.float32) * scale
    key, value = tl.load(own + width, inside, 0.0), tl.load(own + 2 * width, inside, 0.0)
    keys = cached + (row * n_heads + head) * context_tokens * head_width + at
    values = keys + max_rows * n_heads * context_tokens * head_width
    if part == 0:
        tl.store(keys + length * head_width, key, inside)
        tl.store(values + length * head_width, value, inside)
    # The token itself comes first, from where it is: what has just been written need not be read.
    largest = tl.where(part == 0, tl.sum(query * key.to(tl.float32), 0), float("-inf"))
    total = tl.where(part == 0, 1.0, 0.0)
    seen = total * value.to(tl.float32)
    for start in range(begin, end, together):
        tokens = start + tl.arange(0, together)
        place, there = tokens[:, None] * head_width, (tokens < end)[:, None] & inside[None, :]
        some_keys = tl.load(keys[None, :] + place, there, 0.0)
        some_values = tl.load(values[None, :] + place, there, 0.0)  # now, to be under way together
        scores = tl.where(tokens < end, tl.sum(query[None, :] * some_keys.to(tl.float32), 1), float("-inf"))
        before, largest = largest, tl.maximum(largest, tl.max(scores, 0))
        weights, faded = tl.exp(scores - largest), tl.exp(before - largest)
        total = total * faded + tl.sum(weights, 0)
        seen = seen * faded + tl.sum(weights[:, None] * some_values.to(tl.float32), 0)
    place = (row * n_parts + part) * width + head * head_width + at
    tl.store(attended + place, (seen / total).to(attended.dtype.element_ty), inside)
    if is_part:
        tl.store(sums + (row * n_parts + part) * n_heads + head, largest + tl.log(total))
