from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from amt.gpt2 import sampling
from amt.gpt2.cpu import truncation
from amt.gpt2.sampling_params import MIN_TEMPERATURE, SamplingParams

Keep = Callable[[Tensor, sampling.SamplingTensors], Tensor]
Draw = Callable[[Tensor, Tensor], Tensor]


def random_logits(n_rows: int, n_tokens: int, spread: float, seed: int = 0) -> torch.Tensor:
    return spread * torch.randn(n_rows, n_tokens, generator=torch.Generator().manual_seed(seed))


def choice(n_rows: int = 1, **fields: float | list[float]) -> sampling.SamplingTensors:
    """Return parameters for rows: a number holds for all of them, a list has one for each."""
    values = SamplingParams(top_p=1.0)._asdict() | fields
    return sampling.SamplingTensors(
        **{name: torch.tensor(value, dtype=torch.float32).expand(n_rows) for name, value in values.items()}
    )


def truncated_by_kernel(logits: Tensor, params: sampling.SamplingTensors) -> Tensor:
    probabilities = torch.empty_like(logits)
    for row, of_row, kept in zip(logits, torch.stack(params, dim=1), probabilities, strict=True):
        truncation.truncate(row.numpy(), of_row.numpy(), kept.numpy())
    return probabilities


def drawn_by_kernel(probabilities: Tensor, uniform: Tensor) -> Tensor:
    return sampling.sample(probabilities.log(), choice(len(uniform)), uniform)


@pytest.fixture(params=[truncated_by_kernel, sampling.truncated_by_sorting], ids=["compiled", "sorting"])
def keep(request: pytest.FixtureRequest) -> Keep:
    """Return each way to truncate probabilities: compiled, as on a CPU, and by sorting, as on other devices."""
    function: Keep = request.param
    return function


@pytest.fixture(params=[drawn_by_kernel, sampling.draw], ids=["compiled", "plain"])
def draw(request: pytest.FixtureRequest) -> Draw:
    """Return each way to draw tokens."""
    function: Draw = request.param
    return function


def fully_sorted_nucleus(logits: torch.Tensor, top_p: float) -> torch.Tensor:
    values, order = logits.softmax(0).sort(descending=True)
    kept = torch.zeros_like(values)
    kept[order] = torch.where(values.cumsum(0) - values <= top_p, values, 0)
    return kept


def test_the_nucleus_holds_the_most_probable_tokens(keep: Keep) -> None:
    # Spread 5: a few tokens decide; 0.1: nearly flat.
    logits = torch.cat([random_logits(4, 2_000, spread=5), random_logits(4, 2_000, spread=0.1)])
    top_p = [0.5, 0.9, 0.95, 0.3] * 2
    for row, p, nucleus in zip(logits, top_p, keep(logits, choice(8, top_p=top_p)), strict=True):
        torch.testing.assert_close(nucleus, fully_sorted_nucleus(row, p))


def test_top_p_zero_keeps_only_the_most_probable_token(keep: Keep) -> None:
    logits = random_logits(3, 500, spread=1)
    kept = keep(logits, choice(3, top_p=0.0)) > 0
    assert kept.sum(1).tolist() == [1, 1, 1]
    assert kept.int().argmax(1).tolist() == logits.argmax(1).tolist()


def test_top_p_one_keeps_every_legal_token(keep: Keep) -> None:
    logits = random_logits(2, 3_000, spread=3)
    logits[:, :7] = -torch.inf
    assert (keep(logits, choice(2)) > 0).sum(1).tolist() == [2_993, 2_993]


def test_each_row_has_its_own_top_p(keep: Keep) -> None:
    logits = random_logits(1, 1_000, spread=1).expand(3, -1)
    sizes = (keep(logits, choice(3, top_p=[0.1, 0.5, 0.9])) > 0).sum(1).tolist()
    assert sizes == sorted(set(sizes))


def test_drawn_tokens_follow_the_probabilities(draw: Draw) -> None:
    probabilities = torch.tensor([[0.0, 0.2, 0.0, 0.5, 0.1]])
    uniform = (torch.arange(8_000) + 0.5) / 8_000
    tokens = draw(probabilities.expand(8_000, -1), uniform)
    assert torch.bincount(tokens, minlength=5).tolist() == [0, 2_000, 0, 5_000, 1_000]


def test_the_smallest_and_largest_uniform_numbers_draw_possible_tokens(draw: Draw) -> None:
    probabilities = torch.zeros(2, 1_000)
    probabilities[:, 300:600] = random_logits(2, 300, spread=1).softmax(1)
    tokens = draw(probabilities, torch.tensor([0.0, 1 - 2**-24]))
    assert tokens.tolist() == [599, 300]


def test_top_k_keeps_its_number_of_tokens_in_each_row(keep: Keep) -> None:
    logits = random_logits(1, 2_000, spread=0.1).expand(4, -1)
    kept = keep(logits, choice(4, top_k=[1, 40, 512, 0]))
    assert (kept > 0).sum(1).tolist() == [1, 40, 512, 2_000]


def test_top_k_and_top_p_both_apply(keep: Keep) -> None:
    logits = random_logits(1, 2_000, spread=2).expand(3, -1)
    narrow, few, both = (keep(logits, choice(3, top_p=[0.5, 1, 0.5], top_k=[0, 5, 5])) > 0).sum(1).tolist()
    assert both == min(narrow, few) == few < narrow


def test_min_p_keeps_tokens_relative_to_the_most_probable(keep: Keep) -> None:
    logits = torch.tensor([[0.5, 0.2, 0.1, 0.06, 0.14]]).log()
    kept = keep(logits.expand(3, -1), choice(3, min_p=[0.0, 0.25, 1.0])) > 0
    assert kept.int().tolist() == [[1, 1, 1, 1, 1], [1, 1, 0, 0, 1], [1, 0, 0, 0, 0]]


def test_temperature_divides_the_logits(keep: Keep) -> None:
    logits = random_logits(2, 300, spread=1)
    kept = keep(logits, choice(2, temperature=[0.5, 2.0]))
    torch.testing.assert_close(kept, (logits / torch.tensor([[0.5], [2.0]])).softmax(1))


def test_a_row_gets_the_token_that_is_drawn_from_its_own_probabilities() -> None:
    logits, params, uniform = random_logits(700, 500, spread=2), choice(700, top_p=0.9), torch.linspace(0, 0.999, 700)
    expected = sampling.draw(truncated_by_kernel(logits, params), uniform)
    assert torch.equal(sampling.sample(logits, params, uniform), expected)


def test_a_row_of_nan_or_without_a_legal_token_gets_some_token() -> None:
    logits = random_logits(3, 500, spread=2)
    logits[0, 70], logits[2] = torch.nan, -torch.inf
    tokens = sampling.sample(logits, choice(3, top_p=0.9), torch.tensor([0.5, 0.5, 0.5]))
    assert all(0 <= token < 500 for token in tokens.tolist())


def test_rows_of_nan_or_without_a_legal_token_do_not_affect_others(keep: Keep) -> None:
    logits = random_logits(4, 5_000, spread=2)
    expected = keep(logits, choice(4, top_p=0.9, min_p=0.1))[1]
    logits[0], logits[2], logits[3, 70] = torch.nan, -torch.inf, torch.nan
    kept = keep(logits, choice(4, top_p=0.9, min_p=0.1))
    assert torch.equal(kept[1], expected)
    assert kept[[0, 2, 3]].isnan().all()


def test_top_k_over_the_number_of_tokens_and_the_lowest_temperature_are_safe(keep: Keep) -> None:
    logits = random_logits(2, 300, spread=2)
    assert (keep(logits, choice(2, top_k=512)) > 0).all()
    cold = keep(logits, choice(2, temperature=MIN_TEMPERATURE))
    assert cold.argmax(1).tolist() == logits.argmax(1).tolist()
    torch.testing.assert_close(cold.amax(1), torch.ones(2))
