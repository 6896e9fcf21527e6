import pytest
import torch

from amt.gpt2.cache import KEYS_TOGETHER, Cache

ROW_SHAPE = (2, 8, 4)


def cache(max_rows: int | None = None) -> Cache:
    return Cache(3, ROW_SHAPE, torch.float32, torch.device("cpu"), max_rows)


def test_growing_keeps_what_is_there_and_adds_zeros() -> None:
    grown = cache()
    grown.reserve(2)
    before = grown.data.normal_().clone()
    grown.reserve(3)
    assert torch.equal(grown.data[:, :, :2], before)
    assert grown.data.shape == (3, 2, 4, *ROW_SHAPE)
    assert not grown.data[:, :, 2:].any()


@pytest.mark.parametrize(("wanted", "there"), [(5, 6), (6, 6), (7, 7)])
def test_rows_are_reserved_ahead_of_need_but_not_beyond_the_memory(wanted: int, there: int) -> None:
    limited = cache(max_rows=6)
    limited.reserve(4)
    limited.reserve(wanted)
    assert limited.data.shape[2] == there


def test_keys_that_lie_together_are_those_that_were_stored_also_after_a_move() -> None:
    n_tokens, shape = KEYS_TOGETHER + 5, (2, 2 * KEYS_TOGETHER, 4)
    plain, together = (
        Cache(1, shape, torch.float32, torch.device("cpu"), keys_together=flag) for flag in (False, True)
    )
    stored = torch.randn(2, n_tokens, 2, 2, 4, generator=torch.Generator().manual_seed(0))
    for each in (plain, together):
        each.reserve(3)
        each.store(0, torch.tensor([2, 0]), stored)
        each.move(2, 1, n_tokens)
    blocks = together.data[0, 0].view(3, 2, 2, 4, KEYS_TOGETHER)
    keys = blocks.transpose(3, 4).reshape(3, *shape)
    assert torch.equal(keys[:, :, :n_tokens], plain.data[0, 0, :, :, :n_tokens])
    assert torch.equal(together.data[0, 1], plain.data[0, 1])
    assert torch.equal(plain.data[0, :, 1], plain.data[0, :, 2])
