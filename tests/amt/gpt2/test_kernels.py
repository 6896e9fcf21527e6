import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from torch.nn import functional as F  # noqa: N812

from amt.gpt2 import kernels
from amt.gpt2.cache import KEYS_TOGETHER
from tests.conftest import PROJECT

N_ROWS, N_HEADS, HEAD_WIDTH, CONTEXT = 3, 4, 37, 3 * KEYS_TOGETHER
"""A head is of two vectors and a rest."""
WIDTH = N_HEADS * HEAD_WIDTH
ENDS = [KEYS_TOGETHER + 17, 0, CONTEXT - 1]


@pytest.fixture
def qkv() -> torch.Tensor:
    return torch.randn(N_ROWS, 3, N_HEADS, HEAD_WIDTH, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def cached() -> torch.Tensor:
    shape = (2, N_ROWS + 1, N_HEADS, CONTEXT, HEAD_WIDTH)
    return torch.randn(shape, generator=torch.Generator().manual_seed(1)).bfloat16()


def as_product(x: torch.Tensor) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return a product, factors of its rows and a bias that together give x; shapes = (n_rows, n), (n_rows,), (n,)."""
    absmax, bias = torch.linspace(0.25, 4, len(x)), torch.linspace(-1, 1, x.shape[1])
    return ((x - bias) / absmax[:, None]).numpy(), absmax.numpy(), bias.numpy()


def scaled(normalised_rows: np.ndarray, absmax: np.ndarray) -> torch.Tensor:
    """Return the input of the next multiplication; each row of `normalised_rows` has an absolute maximum of 1."""
    np.testing.assert_allclose(np.abs(normalised_rows).max(axis=1), 1)
    return torch.from_numpy(normalised_rows * absmax[:, None])


def keys_together(cached: torch.Tensor, shape: tuple[int, int]) -> torch.Tensor:
    """Return keys and values, with the last two dimensions of blocks of keys, which are of a shape, swapped."""
    keys = cached[0].view(*cached.shape[1:3], -1, *shape).transpose(3, 4).reshape(cached.shape[1:])
    return torch.stack([keys, cached[1]])


def attend(qkv: torch.Tensor, cached: torch.Tensor) -> torch.Tensor:
    """Attend, and change what is cached, with plain keys."""
    product, absmax, bias = as_product(qkv.flatten(1))
    attended = np.empty((N_ROWS, WIDTH), dtype=np.float32)
    together = keys_together(cached, (KEYS_TOGETHER, HEAD_WIDTH))
    kernels.attend(
        product, absmax, bias, together.view(torch.uint16).numpy(), np.array(ENDS), np.float32(0.3), attended
    )
    cached[:] = keys_together(together, (HEAD_WIDTH, KEYS_TOGETHER))
    return scaled(attended, absmax).view(N_ROWS, N_HEADS, HEAD_WIDTH)


def test_attention_writes_keys_and_values_to_their_place_in_the_cache_only(
    qkv: torch.Tensor, cached: torch.Tensor
) -> None:
    before = cached.clone()
    attend(qkv, cached)
    for row, end in enumerate(ENDS):
        torch.testing.assert_close(cached[:, row, :, end], qkv[row, 1:].bfloat16())
        cached[:, row, :, end] = before[:, row, :, end]
    assert torch.equal(cached.view(torch.uint16), before.view(torch.uint16))


def test_each_row_attends_to_its_cached_positions_as_in_pytorch(qkv: torch.Tensor, cached: torch.Tensor) -> None:
    attended = attend(qkv, cached)
    for row, end in enumerate(ENDS):
        keys, values = cached[:, row, :, : end + 1].float()
        expected = F.scaled_dot_product_attention(qkv[row, 0, :, None], keys, values, scale=0.3)[:, 0]
        torch.testing.assert_close(attended[row], expected, rtol=1e-5, atol=1e-5)


def test_what_lies_behind_a_row_is_not_looked_at(qkv: torch.Tensor, cached: torch.Tensor) -> None:
    expected = attend(qkv, cached.clone())
    for row, end in enumerate(ENDS):
        cached[:, row, :, end + 1 :] = torch.nan
    assert torch.equal(attend(qkv, cached), expected)


def test_a_row_is_equal_to_the_bit_beside_others_and_alone(qkv: torch.Tensor, cached: torch.Tensor) -> None:
    product, absmax, bias = as_product(qkv.flatten(1))
    together = keys_together(cached, (KEYS_TOGETHER, HEAD_WIDTH)).view(torch.uint16).numpy()
    found = np.empty((N_ROWS, WIDTH), dtype=np.float32)
    kernels.attend(product, absmax.copy(), bias, together.copy(), np.array(ENDS), np.float32(0.3), found)
    for row, end in enumerate(ENDS):
        alone, cached_alone = np.empty((1, WIDTH), dtype=np.float32), together[:, row : row + 1].copy()
        rows = slice(row, row + 1)
        kernels.attend(product[rows], absmax[rows].copy(), bias, cached_alone, np.array([end]), np.float32(0.3), alone)
        np.testing.assert_array_equal(alone[0], found[row])


def test_scores_far_apart_select_one_position_without_overflow(qkv: torch.Tensor, cached: torch.Tensor) -> None:
    qkv[:, 0] *= 1e3
    attended = attend(qkv, cached)
    for row, end in enumerate(ENDS):
        keys, values = cached[:, row, :, : end + 1].float()
        best = (keys @ qkv[row, 0, :, :, None]).argmax(dim=1)[:, 0]
        torch.testing.assert_close(attended[row], values[torch.arange(N_HEADS), best], rtol=1e-3, atol=1e-3)


def test_the_output_of_a_layer_is_added_to_the_hidden_states_and_normalised() -> None:
    generator = torch.Generator().manual_seed(0)
    before, added, scale, shift = (
        torch.randn(*shape, generator=generator) for shape in [(5, 70), (5, 70), (70,), (70,)]
    )
    product, absmax, bias = as_product(added)
    hidden, normalised = before.clone().numpy(), np.empty((5, 70), dtype=np.float32)
    kernels.add(hidden, product, absmax, bias, (scale.numpy(), shift.numpy()), np.float32(1e-3), normalised)
    torch.testing.assert_close(torch.from_numpy(hidden), before + added, rtol=1e-5, atol=1e-5)
    expected = F.layer_norm(before + added, (70,), scale, shift, 1e-3)
    torch.testing.assert_close(scaled(normalised, absmax), expected, rtol=1e-5, atol=1e-5)


def test_a_row_of_zeros_stays_finite_and_nan_stays_nan() -> None:
    inner, absmax = np.zeros((3, 8), dtype=np.float32), np.ones(3, dtype=np.float32)
    inner[1, 3], inner[2, 3] = np.nan, -5
    kernels.activate(inner, absmax, np.zeros(8, dtype=np.float32))
    assert (inner[0] == 0).all()
    assert absmax[0] > 0
    assert np.isnan(absmax[1])
    assert np.isfinite(inner[2]).all()


def test_exponentials_match_numpy_down_to_the_smallest_number() -> None:
    powers = -np.linspace(0, 87, 10_000, dtype=np.float32)
    found = [kernels.exponential(power) for power in powers]
    np.testing.assert_allclose(found, np.exp(powers.astype(np.float64)), rtol=1e-5)
    assert 0 < kernels.exponential(np.float32(-np.inf)) < 1.2e-38


def test_gelu_on_normalised_rows_matches_pytorch_and_is_equal_to_the_bit_in_any_batch() -> None:
    x = torch.cat([torch.linspace(-30, 30, 20_000), torch.tensor([0.0, -0.0, 1e30, -1e30])]).view(4, -1)
    inner, absmax, bias = as_product(x)
    alone = [(inner[row : row + 1].copy(), absmax[row : row + 1].copy()) for row in range(len(x))]
    kernels.activate(inner, absmax, bias)
    torch.testing.assert_close(scaled(inner, absmax), F.gelu(x, approximate="tanh"), rtol=1e-5, atol=1e-5)
    for row, (own, own_absmax) in enumerate(alone):
        kernels.activate(own, own_absmax, bias)
        assert np.array_equal(own[0], inner[row])
        assert own_absmax[0] == absmax[row]


def test_many_rows_are_added_as_few_are() -> None:
    product, absmax, bias = as_product(torch.linspace(-3, 5, 600).view(100, 6))
    norm = np.linspace(0.5, 2, 6, dtype=np.float32), np.linspace(-1, 1, 6, dtype=np.float32)
    results = []
    for add in (kernels.add, kernels.add_many):
        hidden, factors, normalised = np.ones_like(product), absmax.copy(), np.empty_like(product)
        add(hidden, product, factors, bias, norm, np.float32(1e-5), normalised)
        results.append((hidden, factors, normalised))
    for few, many in zip(*results, strict=True):
        np.testing.assert_allclose(few, many, rtol=1e-5, atol=1e-6)


def test_rows_are_divided_by_their_absolute_maximum() -> None:
    x = torch.linspace(-4, 8, 60).view(5, 12)
    absmax, divided = np.empty(5, np.float32), np.empty((5, 12), np.float32)
    kernels.divide(x.numpy(), absmax, divided)
    torch.testing.assert_close(scaled(divided, absmax), x)


def test_starting_numba_leaves_pytorch_the_number_of_threads_that_it_was_given() -> None:
    code = "import torch, amt.gpt2.kernels; print(torch.get_num_threads())"
    found = subprocess.run(
        [sys.executable, "-c", code],
        cwd=PROJECT,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert found.stdout.strip() == "1"
