import numpy as np
import pytest
import torch
from torch.nn import functional as F  # noqa: N812

from amt.gpt2.cpu import attention, kernels, windows
from amt.gpt2.cpu.attention import BLOCK_TOKENS
from amt.gpt2.cpu.cache import RoundedCache

N_HEADS, HEAD_WIDTH = 3, 37
LENGTHS = [1, 11, BLOCK_TOKENS, 2 * BLOCK_TOKENS + 13]
"""Of one token, and of some that fill neither the last block nor the last group of queries."""


def random_qkv(n_tokens: int) -> torch.Tensor:
    return torch.randn(n_tokens, 3 * N_HEADS * HEAD_WIDTH, generator=torch.Generator().manual_seed(0))


def attend(qkv: torch.Tensor, n_tokens: int) -> torch.Tensor:
    attended = np.empty((len(qkv), N_HEADS * HEAD_WIDTH), dtype=np.float32)
    windows.attend(qkv.numpy(), n_tokens, N_HEADS, np.float32(0.3), attended)
    return torch.from_numpy(attended)


@pytest.mark.parametrize("n_tokens", LENGTHS)
def test_each_token_attends_to_those_before_it_as_in_pytorch(n_tokens: int) -> None:
    qkv = random_qkv(2 * n_tokens)
    query, key, value = qkv.view(2, n_tokens, 3, N_HEADS, HEAD_WIDTH).permute(2, 0, 3, 1, 4)
    expected = F.scaled_dot_product_attention(query, key, value, is_causal=True, scale=0.3)
    torch.testing.assert_close(
        attend(qkv, n_tokens), expected.transpose(1, 2).flatten(0, 1).flatten(1), rtol=0, atol=0.06
    )


@pytest.mark.parametrize("n_tokens", LENGTHS)
@pytest.mark.parametrize("head_width", [8, 37, 64, 80])
def test_each_token_gets_to_the_bit_what_it_gets_alone(head_width: int, n_tokens: int) -> None:
    qkv = torch.randn(n_tokens, 3 * N_HEADS * head_width, generator=torch.Generator().manual_seed(1))
    cache = RoundedCache(1, (N_HEADS, 3 * BLOCK_TOKENS, head_width))
    cache.reserve(1)
    scale, together = np.float32(0.3), np.empty((n_tokens, N_HEADS * head_width), np.float32)
    windows.attend(qkv.numpy(), n_tokens, N_HEADS, scale, together)
    bias = np.zeros(qkv.shape[1], np.float32)
    for token in range(n_tokens):
        alone, absmax, end = np.empty((1, N_HEADS * head_width), np.float32), np.ones(1, np.float32), np.array([token])
        attention.attend(qkv[token : token + 1].numpy(), absmax, bias, cache.data[0].numpy(), end, scale, alone)
        assert kernels.divide_by_absmax(together[token]) == absmax[0]
        assert np.array_equal(together[token], alone[0])


def test_many_tokens_that_are_weighted_little_are_heard_beside_one_that_is_weighted_much() -> None:
    qkv = torch.zeros(BLOCK_TOKENS, 3, 1, 16)
    qkv[:, 0, 0, 0] = qkv[0, 1, 0, 0] = qkv[1:, 2] = 1
    qkv[0, 2] = -1
    for nats in np.linspace(3, 8, 30):
        expected = (63 * np.exp(-nats) - 1) / (63 * np.exp(-nats) + 1)
        attended = np.empty((BLOCK_TOKENS, 16), np.float32)
        windows.attend(qkv.flatten(1).numpy(), BLOCK_TOKENS, 1, np.float32(nats), attended)
        np.testing.assert_allclose(attended[-1], expected, atol=0.02)


def test_what_comes_later_or_in_another_window_changes_nothing() -> None:
    n_tokens = 70
    qkv = random_qkv(2 * n_tokens)
    expected = attend(qkv, n_tokens)
    qkv[40:n_tokens] = torch.nan
    found = attend(qkv, n_tokens)
    assert torch.equal(found[:40], expected[:40])
    assert torch.equal(found[n_tokens:], expected[n_tokens:])


def test_scores_far_apart_select_one_token_without_overflow() -> None:
    qkv = random_qkv(100)
    qkv[:, : N_HEADS * HEAD_WIDTH] *= 1e3
    query, key, value = qkv.view(100, 3, N_HEADS, HEAD_WIDTH).permute(1, 2, 0, 3)
    best = (query @ key.transpose(1, 2)).masked_fill(torch.ones(100, 100).triu(1) > 0, -torch.inf).argmax(dim=2)
    expected = value.gather(1, best[:, :, None].expand_as(value)).transpose(0, 1).flatten(1)
    is_near = (attend(qkv, 100) - expected).abs() < 0.05
    assert is_near.float().mean() > 0.98  # rounding keys may change which of two is the best
