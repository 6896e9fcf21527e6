import pytest
import torch

from amt.gpt2.linear import linear

CPU = torch.device("cpu")


def random_pair() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(96, 70, generator=generator), torch.randn(70, generator=generator)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("n_rows", [1, 7, 200])
def test_on_a_cpu_weights_are_rounded_and_activations_are_not(n_rows: int, dtype: torch.dtype) -> None:
    matrix, bias = random_pair()
    x = torch.randn(n_rows, 96)
    expected = x.double() @ matrix.to(dtype).double() + bias
    torch.testing.assert_close(linear(matrix, bias, dtype, CPU)(x), expected.float(), atol=5e-5, rtol=1e-5)


def test_the_bias_may_be_left_out() -> None:
    matrix, bias = random_pair()
    x = torch.randn(3, 96)
    for dtype in (torch.float32, torch.float16):
        with_bias, without = (linear(matrix, each, dtype, CPU)(x) for each in (bias, None))
        torch.testing.assert_close(with_bias, without + bias, atol=5e-5, rtol=1e-5)


def test_int8_rounds_weights_by_output_and_activations_by_row() -> None:
    matrix, bias = random_pair()
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(5, 96, generator=generator) * torch.tensor([1e-6, 1.0, 30.0, 1e6, 0.0])[:, None]
    weight_steps, steps = matrix.abs().amax(0) / 127, x.abs().amax(1, keepdim=True).clamp(min=1e-30) / 127
    rounded = (x / steps).round() * steps
    expected = rounded.double() @ ((matrix / weight_steps).round() * weight_steps).double() + bias
    # What sums nearly cancel in is exact to the row's scale, not its own.
    largest = expected.abs().amax(1, keepdim=True)
    actual = linear(matrix, bias, torch.int8, CPU)(x).double()
    torch.testing.assert_close(actual / largest, expected / largest, atol=1e-6, rtol=0)


def test_the_largest_values_do_not_overflow_in_int8() -> None:
    ones = torch.ones(3_072, 8)
    torch.testing.assert_close(linear(ones, None, torch.int8, CPU)(ones.T), ones.T @ ones)
    torch.testing.assert_close(linear(ones, None, torch.int8, CPU)(-ones.T), -ones.T @ ones)


def test_int4_rounds_weights_to_16_steps_of_each_output_and_32_inputs() -> None:
    matrix, _ = random_pair()
    layer = linear(matrix, None, torch.int4, CPU)
    found = layer(torch.eye(96)).view(3, 32, 70)
    exact = matrix.view(3, 32, 70)
    steps = (exact.amax(1) - exact.amin(1)) / 15
    assert ((found - exact).square().mean(1).sqrt() < 0.4 * steps).all()
    assert max(len(column.unique()) for group in found for column in group.T) <= 16
    assert layer.n_bytes == (96 * 80 // 2) + 2 * 2 * (3 * 80)


def test_int4_keeps_groups_of_equal_weights() -> None:
    matrix = torch.tensor([0.0, 1.0, -3.0]).repeat_interleave(32)[:, None].expand(96, 16)
    x = torch.ones(1, 96)
    torch.testing.assert_close(linear(matrix, None, torch.int4, CPU)(x), x @ matrix, rtol=1e-2, atol=0)
