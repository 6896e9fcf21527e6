"""Draw tokens on GPUs, compiled by Triton: one kernel in place of a sort and many more."""

from typing import Final

import torch
import triton
import triton.language as tl
from torch import Tensor

_BITS: Final = 30
"""Of positive floats up to 1, which as whole numbers have the same order."""

_A_WARP: Final = 1_024
"""Tokens that a warp keeps."""


def choose(logits: Tensor, params: tuple[Tensor, ...], uniform: Tensor) -> Tensor:
    """Draw a token of each row, as `amt.gpt2.sampling` does; shape = (n_rows,).

    Nothing is sorted: the least weight that is kept is found bit by bit, by what all together are that are no less, and
    so is the token up to which the weights sum to the share that is drawn.

    Args:
        logits: float32, shape = (n_rows, n_tokens); rows may lie apart.
        params: temperature, top_p, top_k and min_p, shape = (n_rows,) each; these may lie apart, too.
        uniform: from [0, 1), likewise.
    """
    n_rows, n_tokens = logits.shape
    numbers = *params, uniform
    if len({each.stride(0) for each in numbers}) > 1:
        numbers = tuple(each.contiguous() for each in numbers)
    tokens = torch.empty(n_rows, dtype=torch.int64, device=logits.device)
    # As much as a power of two holds, and the rest: in the next power of two half of the places could be empty.
    most = 1 << (n_tokens.bit_length() - 1)
    rest = triton.next_power_of_2(max(n_tokens - most, 1))
    _choose[n_rows,](
        logits, *numbers, tokens, n_tokens, logits.stride(0), numbers[0].stride(0), most, rest,
        most.bit_length(), _BITS, num_warps=min(max(most // _A_WARP, 1), 16),
    )  # fmt: skip
    return tokens


@triton.jit
def _choose(
    logits, temperature, top_p, top_k, min_p, uniform, tokens, n_tokens, stride, numbers_stride,
    most: tl.constexpr, rest: tl.constexpr, n_index_bits: tl.constexpr, n_bits: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0).to(tl.int64)
    logits, of_row = logits + row * stride, row * numbers_stride
    warmth, kept_share = tl.load(temperature + of_row), tl.load(top_p + of_row)
    n_kept, floor = tl.load(top_k + of_row), tl.load(min_p + of_row)
    at, behind = tl.arange(0, most), most + tl.arange(0, rest)
    x, y = tl.load(logits + at), tl.load(logits + behind, behind < n_tokens, float("-inf"))
    largest = tl.maximum(tl.max(x, 0), tl.max(y, 0))
    x, y = tl.exp((x - largest) / warmth), tl.exp((y - largest) / warmth)  # 1 for the largest
    limit = tl.where(kept_share < 1, kept_share * (tl.sum(x, 0) + tl.sum(y, 0)), float("inf"))
    least = tl.full([], 0, tl.int32)
    for place in range(n_bits):
        tried = least | (1 << (n_bits - 1 - place))
        is_x, is_y = x.to(tl.int32, bitcast=True) >= tried, y.to(tl.int32, bitcast=True) >= tried
        total = tl.sum(tl.where(is_x, x, 0.0), 0) + tl.sum(tl.where(is_y, y, 0.0), 0)
        is_enough = total > limit
        if n_kept > 0:
            is_enough |= tl.sum(is_x.to(tl.int32), 0) + tl.sum(is_y.to(tl.int32), 0) >= n_kept
        least = tl.where(is_enough, tried, least)
    floor = tl.maximum(least.to(tl.float32, bitcast=True), floor)
    x, y = tl.where(x >= floor, x, 0.0), tl.where(y >= floor, y, 0.0)
    # 1 - u lies in (0, 1]. Sums up to a token are formed in one order, whatever the token: they only differ where a
    # weight is not 0, and so the first that reaches the share has one.
    share = (1 - tl.load(uniform + of_row)) * (tl.sum(x, 0) + tl.sum(y, 0))
    token = tl.full([], 0, tl.int32)
    for place in range(n_index_bits):
        tried = token | (1 << (n_index_bits - 1 - place))
        before = tl.sum(tl.where(at < tried, x, 0.0), 0) + tl.sum(tl.where(behind < tried, y, 0.0), 0)
        token = tl.where(before < share, tried, token)
    tl.store(tokens + row, tl.minimum(token, n_tokens - 1).to(tl.int64))
