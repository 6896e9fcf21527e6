import torch

from amt import sampling
from amt.vocab import NOTE


def random_logits(n_rows: int, n_tokens: int, spread: float, seed: int = 0) -> torch.Tensor:
    return spread * torch.randn(n_rows, n_tokens, generator=torch.Generator().manual_seed(seed))


def fully_sorted_nucleus(logits: torch.Tensor, top_p: float) -> torch.Tensor:
    values, order = logits.softmax(0).sort(descending=True)
    kept = torch.zeros_like(values)
    kept[order] = torch.where(values.cumsum(0) - values <= top_p, values, 0)
    return kept


def test_a_partial_selection_gives_the_nucleus_of_a_full_sort() -> None:
    # Spread 5: a few tokens decide; 0.1: nearly flat, so that the partial selection does not suffice.
    logits = torch.cat([random_logits(4, 2_000, spread=5), random_logits(4, 2_000, spread=0.1)])
    top_p = torch.tensor([0.5, 0.9, 0.95, 0.3] * 2)
    for row, p, nucleus in zip(logits, top_p, sampling.nucleus(logits, top_p), strict=True):
        torch.testing.assert_close(nucleus, fully_sorted_nucleus(row, float(p)))


def test_top_p_zero_keeps_only_the_most_probable_token() -> None:
    logits = random_logits(3, 500, spread=1)
    kept = sampling.nucleus(logits, torch.zeros(3)) > 0
    assert kept.sum(1).tolist() == [1, 1, 1]
    assert kept.int().argmax(1).tolist() == logits.argmax(1).tolist()


def test_top_p_one_keeps_every_legal_token() -> None:
    logits = random_logits(2, 3_000, spread=3)
    logits[:, :7] = -torch.inf
    assert (sampling.nucleus(logits, torch.ones(2)) > 0).sum(1).tolist() == [2_993, 2_993]


def test_rows_have_each_their_own_top_p() -> None:
    logits = random_logits(1, 1_000, spread=1).expand(3, -1)
    sizes = (sampling.nucleus(logits, torch.tensor([0.1, 0.5, 0.9])) > 0).sum(1).tolist()
    assert sizes == sorted(set(sizes))


def test_drawn_tokens_follow_the_probabilities() -> None:
    probabilities = torch.tensor([[0.0, 0.2, 0.0, 0.5, 0.1]])
    uniform = (torch.arange(8_000) + 0.5) / 8_000
    tokens = sampling.draw(probabilities.expand(8_000, -1), uniform)
    assert torch.bincount(tokens, minlength=5).tolist() == [0, 2_000, 0, 5_000, 1_000]


def test_the_extremes_of_the_uniform_numbers_never_draw_an_impossible_token() -> None:
    probabilities = torch.zeros(2, 1_000)
    probabilities[:, 300:600] = random_logits(2, 300, spread=1).softmax(1)
    tokens = sampling.draw(probabilities, torch.tensor([0.0, 1 - 2**-24]))
    assert tokens.tolist() == [599, 300]


def test_onsets_before_the_earliest_are_forbidden() -> None:
    logits = torch.zeros(2, 10_000)
    sampling.forbid_past(logits, torch.tensor([0, 9_999]))
    assert (logits > -torch.inf).sum(1).tolist() == [10_000, 1]


def test_only_allowed_instruments_and_rests_are_legal() -> None:
    logits = torch.zeros(2, NOTE.size)
    allowed = torch.zeros(2, 129, dtype=torch.bool)
    allowed[0, [5, 128]] = True
    sampling.forbid_instruments(logits, allowed)
    legal = [(row > -torch.inf).nonzero()[:, 0].tolist() for row in logits]
    assert legal == [[*range(5 * 128, 6 * 128), *range(128 * 128, 129 * 128), NOTE.size - 1], [NOTE.size - 1]]
