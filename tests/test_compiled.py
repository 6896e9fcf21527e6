import numpy as np
import pytest
import torch
from torch.nn import functional as F  # noqa: N812

from amt import compiled

N_ROWS, N_HEADS, WIDTH, CONTEXT = 3, 4, 20, 64
ENDS = [17, 0, CONTEXT - 1]


@pytest.fixture
def qkv() -> torch.Tensor:
    return torch.randn(N_ROWS, 3, N_HEADS, WIDTH, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def cached() -> torch.Tensor:
    shape = (2, N_ROWS + 1, N_HEADS, CONTEXT, WIDTH)
    return torch.randn(shape, generator=torch.Generator().manual_seed(1)).bfloat16()


def attend(qkv: torch.Tensor, cached: torch.Tensor) -> torch.Tensor:
    bits = cached.view(torch.uint16).numpy()
    return torch.from_numpy(compiled.attend(qkv.numpy(), bits, torch.tensor(ENDS).numpy(), 0.3))


def test_keys_and_values_are_rounded_to_where_they_belong_and_nothing_else_is_touched(
    qkv: torch.Tensor, cached: torch.Tensor
) -> None:
    expected = cached.clone()
    for row, end in enumerate(ENDS):
        expected[:, row, :, end] = qkv[row, 1:].bfloat16()
    attend(qkv, cached)
    assert torch.equal(cached.view(torch.uint16), expected.view(torch.uint16))


def test_each_row_attends_to_what_is_there_as_in_pytorch(qkv: torch.Tensor, cached: torch.Tensor) -> None:
    attended = attend(qkv, cached)
    for row, end in enumerate(ENDS):
        keys, values = cached[:, row, :, : end + 1].float()
        expected = F.scaled_dot_product_attention(qkv[row, 0, :, None], keys, values, scale=0.3)[:, 0]
        torch.testing.assert_close(attended[row], expected)


def test_scores_far_apart_leave_one_and_no_overflow(qkv: torch.Tensor, cached: torch.Tensor) -> None:
    qkv[:, 0] *= 1e3
    attended = attend(qkv, cached)
    for row, end in enumerate(ENDS):
        keys, values = cached[:, row, :, : end + 1].float()
        best = (keys @ qkv[row, 0, :, :, None]).argmax(dim=1)[:, 0]
        torch.testing.assert_close(attended[row], values[torch.arange(N_HEADS), best], rtol=1e-3, atol=1e-3)


def test_exponentials_are_right_from_one_down_to_the_smallest_number() -> None:
    powers = -np.linspace(0, 87, 10_000, dtype=np.float32)
    found = [compiled.exponential(power) for power in powers]
    np.testing.assert_allclose(found, np.exp(powers.astype(np.float64)), rtol=1e-5)
    assert 0 < compiled.exponential(np.float32(-np.inf)) < 1.2e-38


def test_gelu_is_that_of_pytorch_and_a_row_the_same_to_the_bit_beside_any_others() -> None:
    x = torch.cat([torch.linspace(-30, 30, 20_000), torch.tensor([0.0, -0.0, 1e30, -1e30])]).view(4, -1)
    found = compiled.gelu(x.clone())
    torch.testing.assert_close(found, F.gelu(x, approximate="tanh"), rtol=1e-5, atol=1e-6)
    assert torch.equal(found, torch.cat([compiled.gelu(row[None].clone()) for row in x]))
