import pytest
import torch

from amt.gpt2.cache import Cache
from amt.gpt2.cpu.attention import BLOCK_TOKENS
from amt.gpt2.cpu.cache import RoundedCache

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


def test_a_move_copies_every_block_that_holds_a_token_in_every_layer() -> None:
    rounded = RoundedCache(2, (3, 3 * BLOCK_TOKENS, 4))
    rounded.reserve(2)
    for layer in range(2):
        rounded.store(layer, torch.tensor([1]), torch.randn(1, 2 * BLOCK_TOKENS, 2, 3, 4))
    rounded.move(1, 0, BLOCK_TOKENS + 1)
    assert rounded.data.any()
    assert torch.equal(rounded.data[:, :, 0], rounded.data[:, :, 1])
    assert rounded.row_bytes == rounded.data[:, :, 0].nbytes
