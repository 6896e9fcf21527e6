import numpy as np
import pytest
import torch

from amt.gpt2.cpu.packing import Matrix
from amt.gpt2.cpu.products import GROUP, HAS_VNNI, MAX_ROWS, STEPS

KERNELS = [
    pytest.param(4, marks=pytest.mark.skipif(not HAS_VNNI, reason="the CPU lacks it"), id="vnni"),
    pytest.param(2, marks=[pytest.mark.slow] if HAS_VNNI else [], id="any"),  # it is compiled for the test alone
]


@pytest.fixture
def random() -> torch.Generator:
    return torch.Generator().manual_seed(0)


@pytest.mark.parametrize("together", KERNELS)
@pytest.mark.parametrize(("n_inputs", "n_outputs"), [(16, 16), (96, 70), (33, 5)])
def test_products_of_bytes_are_those_of_whole_numbers_for_any_number_of_rows(
    n_inputs: int, n_outputs: int, together: int, random: torch.Generator
) -> None:
    whole = torch.randint(-STEPS, STEPS + 1, (n_inputs, n_outputs), generator=random)
    scales = torch.rand(n_outputs, generator=random)
    matrix = Matrix.of_bytes(whole, scales, together=together)
    x = torch.rand(70, n_inputs, generator=random) * 2 - 1
    sums = (x * STEPS).round().long() @ whole
    expected = (sums.float() * (scales / STEPS)).numpy()
    for n_rows in [*range(2 * MAX_ROWS + 2), 63, 64, 70]:
        np.testing.assert_array_equal(matrix.multiply(x[:n_rows].numpy()), expected[:n_rows])


@pytest.mark.parametrize("together", KERNELS)
def test_the_largest_numbers_do_not_overflow(together: int) -> None:
    whole = torch.full((6_400, 32), STEPS)
    whole[:, ::2] *= -1
    matrix = Matrix.of_bytes(whole, torch.full((32,), float(STEPS)), together=together)
    x = np.repeat(np.array([[1], [-1]], np.float32), 6_400, axis=1)
    expected = np.float32(6_400 * STEPS * STEPS) * np.outer([1, -1], whole[0].sign().numpy())
    np.testing.assert_array_equal(matrix.multiply(x), expected)


@pytest.mark.parametrize("together", KERNELS)
@pytest.mark.parametrize(("n_inputs", "n_outputs"), [(32, 16), (90, 70)])
def test_products_of_nibbles_are_those_of_plain_arithmetic_and_equal_to_the_bit_beside_any_rows(
    n_inputs: int, n_outputs: int, together: int, random: torch.Generator
) -> None:
    whole = torch.randint(0, 16, (-(-n_inputs // GROUP), GROUP, n_outputs), generator=random)
    scales, offsets = torch.randn(2, len(whole), 1, n_outputs, generator=random).bfloat16()
    matrix = Matrix.of_nibbles(whole, scales, offsets, together=together)
    weights = (whole.double() * scales + offsets).flatten(0, 1)[:n_inputs]
    x = torch.rand(70, n_inputs, generator=random) * 2 - 1
    expected = ((x * STEPS).round().double() @ weights).float().numpy()
    found = matrix.multiply(x.numpy())
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=0.05)  # of some thousands, where sums cancel out
    for n_rows in [*range(2 * MAX_ROWS + 2), 63, 64]:
        np.testing.assert_array_equal(matrix.multiply(x[:n_rows].numpy()), found[:n_rows])


@pytest.mark.parametrize(("n_inputs", "n_outputs"), [(16, 16), (33, 70)])
def test_products_of_halves_are_those_of_float32_and_equal_to_the_bit_beside_any_rows(
    n_inputs: int, n_outputs: int, random: torch.Generator
) -> None:
    weights = torch.randn(n_inputs, n_outputs, generator=random).half()
    x = torch.rand(70, n_inputs, generator=random) * 2 - 1
    matrix = Matrix.of_halves(weights)
    found = matrix.multiply(x.numpy())
    np.testing.assert_allclose(found, (x.double() @ weights.double()).numpy(), atol=1e-5)
    for n_rows in [*range(2 * MAX_ROWS + 2), 63, 64]:
        np.testing.assert_array_equal(matrix.multiply(x[:n_rows].numpy()), found[:n_rows])
