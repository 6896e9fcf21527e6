import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F  # noqa: N812

from amt.gpt2.cpu import attention
from amt.gpt2.cpu.attention import BLOCK_TOKENS, block_bytes
from amt.gpt2.cpu.cache import RoundedCache
from amt.gpt2.cpu.products import OFFSET, OUTPUTS, STEPS, TOGETHER
from tests.amt.gpt2 import test_network
from tests.amt.gpt2.cpu.rows import as_product, scaled
from tests.conftest import PROJECT

N_ROWS, N_HEADS, HEAD_WIDTH, CONTEXT = 3, 4, 37, 3 * BLOCK_TOKENS
"""A head is of two vectors and a rest."""
ENDS = [BLOCK_TOKENS + 17, 0, CONTEXT - 1]


def random(*shape: int, seed: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def qkv() -> torch.Tensor:
    return random(N_ROWS, 3, N_HEADS, HEAD_WIDTH, seed=0)


@pytest.fixture
def keys_and_values() -> torch.Tensor:
    return random(N_ROWS, CONTEXT, 2, N_HEADS, HEAD_WIDTH, seed=1)


@pytest.fixture
def cache(keys_and_values: torch.Tensor) -> RoundedCache:
    """Return a cache that is full of tokens, and has a row to spare."""
    cache = RoundedCache(1, (N_HEADS, CONTEXT, HEAD_WIDTH))
    cache.reserve(N_ROWS + 1)
    cache.store(0, torch.arange(N_ROWS), keys_and_values)
    return cache


def restored(cache: RoundedCache, row: int) -> torch.Tensor:
    """Return what is kept of a row as numbers, shape = (2, n_heads, CONTEXT, HEAD_WIDTH)."""
    blocks = cache.data[0, :, row]
    scales = blocks[..., : 4 * BLOCK_TOKENS].contiguous().view(torch.float32)
    numbers = blocks[..., 4 * BLOCK_TOKENS :]
    n_blocks, padded = blocks.shape[2], -(-HEAD_WIDTH // OUTPUTS) * OUTPUTS
    keys = (
        (numbers[0].float() - OFFSET)
        .view(N_HEADS, n_blocks, padded // TOGETHER, BLOCK_TOKENS, TOGETHER)
        .transpose(2, 3)
    )
    values = (
        numbers[1]
        .view(torch.int8)
        .float()
        .view(N_HEADS, n_blocks, BLOCK_TOKENS // TOGETHER, padded, TOGETHER)
        .transpose(3, 4)
    )
    shape = (N_HEADS, CONTEXT, padded)
    whole = torch.stack([keys.reshape(shape), values.reshape(shape)])
    return (whole * scales.view(2, N_HEADS, CONTEXT, 1))[..., :HEAD_WIDTH]


def attend(qkv: torch.Tensor, data: torch.Tensor, ends: list[int], scale: float = 0.3) -> torch.Tensor:
    """Attend, and write the rows' keys and values to a layer of a cache."""
    product, absmax, bias = as_product(qkv.flatten(1))
    attended = np.empty((len(qkv), N_HEADS * HEAD_WIDTH), dtype=np.float32)
    attention.attend(product, absmax, bias, data.numpy(), np.array(ends), np.float32(scale), attended)
    return scaled(attended, absmax).view(-1, N_HEADS, HEAD_WIDTH)


def expected(qkv: torch.Tensor, cache: RoundedCache, row: int) -> torch.Tensor:
    keys, values = restored(cache, row)[:, :, : ENDS[row] + 1]
    query = qkv[row, 0, :, None]
    step = query.abs().amax(dim=2, keepdim=True) / STEPS
    return F.scaled_dot_product_attention((query / step).round() * step, keys, values, scale=0.3)[:, 0]


def test_keys_and_values_are_kept_to_half_a_step_of_their_largest_number(
    keys_and_values: torch.Tensor, cache: RoundedCache
) -> None:
    for row in range(N_ROWS):
        exact = keys_and_values[row].permute(1, 2, 0, 3)
        steps = exact.abs().amax(dim=3, keepdim=True) / STEPS
        assert ((restored(cache, row) - exact).abs() <= 0.501 * steps).all()


def test_a_row_that_joins_changes_its_own_place_in_the_cache_only(qkv: torch.Tensor, cache: RoundedCache) -> None:
    before = [restored(cache, row) for row in range(N_ROWS)]
    attend(qkv, cache.data[0], ENDS)
    for row, end in enumerate(ENDS):
        after = restored(cache, row)
        torch.testing.assert_close(after[:, :, end], qkv[row, 1:], rtol=0, atol=0.02)
        after[:, :, end] = before[row][:, :, end]
        assert torch.equal(after, before[row])
    assert not cache.data[0, :, N_ROWS].any()


def test_each_row_attends_to_its_cached_positions_as_in_pytorch(qkv: torch.Tensor, cache: RoundedCache) -> None:
    attended = attend(qkv, cache.data[0], ENDS)
    for row in range(N_ROWS):
        torch.testing.assert_close(attended[row], expected(qkv, cache, row), rtol=0, atol=0.01)


def test_what_lies_behind_a_row_is_not_looked_at(
    qkv: torch.Tensor, keys_and_values: torch.Tensor, cache: RoundedCache
) -> None:
    found = attend(qkv, cache.data[0], ENDS)
    for row, end in enumerate(ENDS):
        keys_and_values[row, end + 1 :] = torch.nan
    cache.store(0, torch.arange(N_ROWS), keys_and_values)
    assert torch.equal(attend(qkv, cache.data[0], ENDS), found)


def test_a_row_is_equal_to_the_bit_beside_others_and_alone(qkv: torch.Tensor, cache: RoundedCache) -> None:
    found = attend(qkv, cache.data[0].clone(), ENDS)
    absmax = as_product(qkv.flatten(1))[1]
    for row, end in enumerate(ENDS):
        product, _, bias = as_product(qkv.flatten(1))
        alone = np.empty((1, N_HEADS * HEAD_WIDTH), dtype=np.float32)
        own = absmax[row : row + 1].copy()
        data = cache.data[0, :, row : row + 1].clone().numpy()
        attention.attend(product[row : row + 1], own, bias, data, np.array([end]), np.float32(0.3), alone)
        assert torch.equal(scaled(alone, own).view(N_HEADS, HEAD_WIDTH), found[row])


def test_scores_far_apart_select_one_position_without_overflow(qkv: torch.Tensor, cache: RoundedCache) -> None:
    qkv[:, 0] *= 1e3
    attended = attend(qkv, cache.data[0], ENDS)
    for row, end in enumerate(ENDS):
        keys, values = restored(cache, row)[:, :, : end + 1]
        best = (keys @ qkv[row, 0, :, :, None]).argmax(dim=1)[:, 0]
        torch.testing.assert_close(attended[row], values[torch.arange(N_HEADS), best], rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("value", [1.0, -1.0])
def test_sums_of_a_full_row_of_equal_tokens_do_not_overflow(value: float) -> None:
    cache = RoundedCache(1, (N_HEADS, 1024, HEAD_WIDTH))
    cache.reserve(1)
    cache.store(0, torch.zeros(1, dtype=torch.int64), torch.full((1, 1024, 2, N_HEADS, HEAD_WIDTH), value))
    attended = attend(torch.full((1, 3, N_HEADS, HEAD_WIDTH), value), cache.data[0], [1023])
    torch.testing.assert_close(attended, torch.full_like(attended, value), rtol=1e-3, atol=0)


@pytest.mark.parametrize("nan", [torch.nan, -torch.nan])
@pytest.mark.parametrize("which", [0, 1, 2], ids=["query", "key", "value"])
def test_zeros_stay_finite_and_nan_stays_with_its_head(which: int, nan: float, cache: RoundedCache) -> None:
    qkv = random(N_ROWS, 3, N_HEADS, HEAD_WIDTH, seed=0)
    qkv[1], qkv[2, :, 0] = 0, 0
    qkv[0, which, 0, 5] = torch.tensor(nan)
    product = qkv.flatten(1).numpy()
    absmax, bias = np.ones(N_ROWS, np.float32), np.zeros(product.shape[1], np.float32)
    attended = np.empty((N_ROWS, N_HEADS * HEAD_WIDTH), dtype=np.float32)
    attention.attend(product, absmax, bias, cache.data[0].numpy(), np.array(ENDS), np.float32(0.3), attended)
    assert np.isnan(attended[0]).any()
    assert (attended[1] == 0).all()
    assert np.isfinite(attended[2]).all()
    kept = restored(cache, 0)[:, 1:, ENDS[0]]
    assert kept.isfinite().all()


def test_a_token_behind_nan_is_kept_as_it_is(keys_and_values: torch.Tensor, cache: RoundedCache) -> None:
    before = restored(cache, 0)
    keys_and_values[0, 3] = torch.nan
    cache.store(0, torch.arange(N_ROWS), keys_and_values)
    after = restored(cache, 0)
    assert after[:, :, 3].isnan().all()
    after[:, :, 3] = before[:, :, 3]
    assert torch.equal(after, before)


def test_bfloat16_is_kept_as_the_same_numbers_in_float32(keys_and_values: torch.Tensor) -> None:
    data = []
    for numbers in (keys_and_values.bfloat16(), keys_and_values.bfloat16().float()):
        cache = RoundedCache(1, (N_HEADS, CONTEXT - 1, HEAD_WIDTH))
        cache.reserve(N_ROWS)
        cache.store(0, torch.arange(N_ROWS), numbers[:, :-1])
        data.append(cache.data)
    assert torch.equal(*data)


def test_rows_keep_what_they_have_when_there_are_more(cache: RoundedCache) -> None:
    before = restored(cache, 0)
    cache.reserve(20)
    assert torch.equal(restored(cache, 0), before)


@pytest.mark.slow
@pytest.mark.skipif(TOGETHER == 2, reason="this CPU does it anyway")
def test_cpus_that_multiply_numbers_of_16_bits_find_the_same() -> None:
    environment = os.environ | {"NUMBA_CPU_NAME": "generic"}
    code = "from amt.gpt2.cpu.products import TOGETHER; print(TOGETHER)"
    found = subprocess.run([sys.executable, "-c", code], cwd=PROJECT, env=environment, capture_output=True, check=True)
    assert found.stdout.split() == [b"2"]
    here, prefilled = Path(__file__).parent, test_network.test_what_is_prefilled_is_to_the_bit_what_is_decoded
    files = [__file__, here / "test_windows.py", f"{here.parent}/test_network.py::{prefilled.__name__}"]
    command = [sys.executable, "-m", "pytest", "-q", *files, "-p", "no:cacheprovider"]
    run = subprocess.run(command, cwd=PROJECT, env=environment, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout


def test_a_block_holds_scales_and_numbers_of_whole_vectors() -> None:
    assert [block_bytes(width) for width in (1, 16, 17, 64)] == [64 * 20, 64 * 20, 64 * 36, 64 * 68]
