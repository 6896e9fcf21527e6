import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from torch.nn import functional as F  # noqa: N812

from amt.gpt2.cpu import kernels
from amt.gpt2.cpu.products import STEPS
from tests.amt.gpt2.cpu.rows import as_product, scaled
from tests.conftest import PROJECT


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


def test_powers_of_scores_are_those_of_their_distances_from_the_largest_and_nan_if_any_is() -> None:
    scores = np.linspace(-40, 7, 100, dtype=np.float32)[::-1].copy()
    for each in (scores, scores - np.float32(50), scores[:1]):
        weights = each.copy()
        total = kernels.powers_of_two(weights, np.float32(0.7))
        np.testing.assert_allclose(weights, np.exp2(0.7 * (each - each.max())), rtol=1e-5)
        np.testing.assert_allclose(total, weights.sum(), rtol=1e-5)
    scores[50] = np.nan
    assert np.isnan(kernels.powers_of_two(scores, np.float32(1)))


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


@pytest.mark.parametrize("largest", [torch.finfo(torch.float32).max, 2.0**126, 1.0, torch.finfo(torch.float32).tiny])
def test_numbers_over_their_absolute_maximum_are_whole_steps_at_most(largest: float) -> None:
    numbers = np.float32(largest) * np.linspace(-1, 1, 10_001, dtype=np.float32)
    kernels.divide_by_absmax(numbers)
    assert np.abs(np.rint(STEPS * numbers)).max() == STEPS


def test_starting_numba_leaves_pytorch_the_number_of_threads_that_it_was_given() -> None:
    code = "import torch, amt.gpt2.cpu.kernels; print(torch.get_num_threads())"
    found = subprocess.run(
        [sys.executable, "-c", code],
        cwd=PROJECT,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert found.stdout.strip() == "1"
