import numpy as np
import pytest

from amt.gpt2.products import HAS_VNNI, MAX_ROWS, STEPS, Matrix

KERNELS = [
    pytest.param(True, marks=pytest.mark.skipif(not HAS_VNNI, reason="the CPU lacks it"), id="vnni"),
    pytest.param(False, marks=[pytest.mark.slow] if HAS_VNNI else [], id="any"),  # it is compiled for the test alone
]


def random_matrix(n_inputs: int, n_outputs: int) -> tuple[np.ndarray, np.ndarray]:
    """Return whole numbers and the scales of outputs."""
    random = np.random.default_rng(n_inputs)
    whole = random.integers(-STEPS, STEPS, (n_inputs, n_outputs), np.int8, endpoint=True)
    return whole, random.uniform(0.5, 2, n_outputs).astype(np.float32)


@pytest.mark.parametrize("vnni", KERNELS)
@pytest.mark.parametrize(("n_inputs", "n_outputs"), [(16, 16), (96, 70), (33, 5)])
def test_products_are_those_of_whole_numbers_for_any_number_of_rows(n_inputs: int, n_outputs: int, vnni: bool) -> None:
    whole, scales = random_matrix(n_inputs, n_outputs)
    matrix = Matrix.packed(whole, scales, vnni=vnni)
    x = np.random.default_rng(1).uniform(-1, 1, (70, n_inputs)).astype(np.float32)
    sums = np.rint(x * np.float32(STEPS)).astype(np.int64) @ whole.astype(np.int64)
    expected = sums.astype(np.float32) * scales
    for n_rows in [*range(2 * MAX_ROWS + 2), 63, 64, 70]:
        np.testing.assert_array_equal(matrix.multiply(x[:n_rows]), expected[:n_rows])


@pytest.mark.parametrize("vnni", KERNELS)
def test_the_largest_numbers_do_not_overflow(vnni: bool) -> None:
    whole = np.full((6_400, 32), STEPS, np.int8)
    whole[:, ::2] *= -1
    matrix = Matrix.packed(whole, np.ones(32, np.float32), vnni=vnni)
    expected = np.float32(6_400 * STEPS * STEPS) * np.outer([1, -1], np.sign(whole[0]))
    np.testing.assert_array_equal(matrix.multiply(np.repeat(np.float32([[1], [-1]]), 6_400, axis=1)), expected)
