"""Attend with one query a row to all keys and values that the longest row has, by PyTorch."""

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812


def exact(query: Tensor, key: Tensor, value: Tensor, mask: Tensor, scale: float) -> Tensor:
    """Attend by plain matrix products, so that a row depends neither on the other rows nor on their lengths.

    Products over whole blocks give each row the same sums in the same order, which PyTorch's fused attention does not;
    behind a row's end the sums only get zeros.

    Args:
        query: shape = (n_rows, n_heads, head_width).
        key: shape = (n_rows, n_heads, attention_length, head_width).
        value: likewise.
        mask: -inf behind the end, shape = (n_rows * n_heads, 1, attention_length) or (1, 1, attention_length).
        scale: of the products.

    Returns:
        shape = (n_rows * n_heads, 1, head_width).
    """
    scores = torch.baddbmm(mask, query.flatten(0, 1)[:, None], key.flatten(0, 1).transpose(1, 2), alpha=scale)
    return torch.bmm(scores.softmax(dim=2), value.flatten(0, 1))


def fused(query: Tensor, key: Tensor, value: Tensor, mask: Tensor, scale: float) -> Tensor:
    """Attend in one kernel, with the arguments of `exact`; last digits may differ.

    Returns:
        shape = (n_rows, n_heads, 1, head_width).
    """
    n_rows, n_heads, _ = query.shape
    by_head = mask.view(-1, n_heads, 1, mask.shape[2]) if len(mask) > 1 else mask[None]
    return F.scaled_dot_product_attention(
        query[:, :, None], key, value, attn_mask=by_head.to(query.dtype).expand(n_rows, n_heads, 1, -1), scale=scale
    )
