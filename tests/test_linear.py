import pytest
import torch

from amt.linear import Linear

CPU = torch.device("cpu")


def random_pair() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(96, 70, generator=generator), torch.randn(70, generator=generator)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("n_rows", [1, 7, 200])
def test_on_a_cpu_only_the_weights_are_rounded(n_rows: int, dtype: torch.dtype) -> None:
    matrix, bias = random_pair()
    x = torch.randn(n_rows, 96)
    expected = x.double() @ matrix.to(dtype).double() + bias
    torch.testing.assert_close(Linear(matrix, bias, dtype, CPU)(x), expected.float(), atol=5e-5, rtol=1e-5)


def test_the_bias_may_be_left_out() -> None:
    matrix, bias = random_pair()
    x = torch.randn(3, 96)
    for dtype in (torch.float32, torch.float16):
        with_bias, without = (Linear(matrix, each, dtype, CPU)(x) for each in (bias, None))
        torch.testing.assert_close(with_bias, without + bias, atol=5e-5, rtol=1e-5)
