import numpy as np
import torch
from torch.nn import functional as F  # noqa: N812

from amt import elementwise


def test_exponentials_are_right_from_one_down_to_the_smallest_number() -> None:
    powers = -np.linspace(0, 87, 10_000, dtype=np.float32)
    found = [elementwise.exponential(power) for power in powers]
    np.testing.assert_allclose(found, np.exp(powers.astype(np.float64)), rtol=1e-5)
    assert 0 < elementwise.exponential(np.float32(-np.inf)) < 1.2e-38


def test_gelu_is_that_of_pytorch_and_a_row_the_same_to_the_bit_beside_any_others() -> None:
    x = torch.cat([torch.linspace(-30, 30, 20_000), torch.tensor([0.0, -0.0, 1e30, -1e30])]).repeat(3, 1)
    found = elementwise.gelu(x.clone())
    torch.testing.assert_close(found, F.gelu(x, approximate="tanh"), rtol=1e-5, atol=1e-6)
    assert torch.equal(found[:1], elementwise.gelu(x[:1].clone()))
