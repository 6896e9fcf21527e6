import pytest
import torch

from amt.gpt2 import attention


@pytest.mark.parametrize("alike", [False, True])
def test_fused_attention_equals_exact_attention(alike: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    query = torch.randn(3, 2, 8, generator=generator)
    key, value = torch.randn(2, 3, 2, 64, 8, generator=generator)
    hidden = torch.full((64, 64), -torch.inf).triu(1)
    mask = hidden[20, None, None] if alike else hidden[[5, 20, 63], None].repeat_interleave(2, dim=0)
    exact, fused = (attend(query, key, value, mask, 0.4) for attend in (attention.exact, attention.fused))
    torch.testing.assert_close(fused.flatten(0, 1), exact, atol=1e-5, rtol=1e-5)
