"""Which tokens are legal in a slot, and the choice of one of them; vectorised over rows."""

from functools import cache
from typing import NamedTuple

import torch
from torch import Tensor

from amt.vocab import N_INSTRUMENTS, N_PITCHES


def forbid_past(logits: Tensor, earliest: Tensor) -> None:
    """No onset before the row's earliest; logits, shape = (n_rows, 10,000), are changed in place.

    Args:
        logits: of the onset slot.
        earliest: in ticks from the window's start, shape = (n_rows,).
    """
    logits.masked_fill_(_counting(logits.shape[1], logits.device) < earliest[:, None], -torch.inf)


@cache
def _counting(n: int, device: torch.device) -> Tensor:
    return torch.arange(n, dtype=torch.int32, device=device)


def pull_onsets(logits: Tensor, earliest: Tensor, latest: Tensor, width: float) -> None:
    """Lower the onsets outside a span by half the square of their distance from it in widths.

    Args:
        logits: of the onset slot, shape = (n_rows, 10,000), changed in place.
        earliest: where each row's span begins, in ticks from the window's start, shape = (n_rows,); -inf for none.
        latest: where it ends, likewise; inf for none.
        width: in ticks.
    """
    ticks = _counting(logits.shape[1], logits.device).float()
    nearest = torch.minimum(torch.maximum(ticks, earliest[:, None]), latest[:, None])
    logits.addcmul_(nearest.sub_(ticks), nearest, value=-0.5 / width**2)


def forbid_notes(logits: Tensor, legal: Tensor) -> None:
    """Only what is legal; logits of the note slot are changed in place, both have shape = (n_rows, 16,513)."""
    logits.masked_fill_(~legal, -torch.inf)


def bias_notes(logits: Tensor, biases: Tensor) -> None:
    """Add to every note its instrument's bias; logits, shape = (n_rows, 16,513), are changed in place.

    Args:
        logits: of the note slot.
        biases: of the instruments and, last, of rests, shape = (n_rows, 130); -inf forbids.
    """
    by_instrument = logits[:, : N_INSTRUMENTS * N_PITCHES].view(-1, N_INSTRUMENTS, N_PITCHES)
    by_instrument += biases[:, :N_INSTRUMENTS, None]
    logits[:, -1] += biases[:, -1]


class Choice(NamedTuple):
    """How each row's token is chosen, see `amt.wishes.Sampling`, but a temperature is positive; shape = (n_rows,)."""

    temperature: Tensor
    top_p: Tensor
    top_k: Tensor
    min_p: Tensor


def kept(logits: Tensor, choice: Choice) -> Tensor:
    """Probabilities, zero where a token is not kept, not normalised again; shape = (n_rows, n_tokens).

    The nucleus is the smallest set of most probable tokens whose probabilities sum to more than `top_p`; at 0 it is
    the single most probable one, at 1 everything. Source: Holtzman et al. 2020 (arXiv:1904.09751); for `min_p` Nguyen
    et al. 2024 (arXiv:2407.01082). Of tokens as probable as the last one kept all are.

    Args:
        logits: shape = (n_rows, n_tokens); -inf where illegal.
        choice: of each row.
    """
    if logits.device.type != "cpu":
        return kept_by_sorting(logits, choice)
    from amt import compiled  # which is for CPUs alone

    return compiled.kept(logits, torch.stack(choice, dim=1))


def kept_by_sorting(logits: Tensor, choice: Choice) -> Tensor:
    """The same on any device; a CPU takes five times as long."""
    probabilities = (logits / choice.temperature[:, None]).softmax(dim=1)
    n_tokens = probabilities.shape[1]
    largest = probabilities.sort(dim=1, descending=True).values
    n_nucleus = (largest.cumsum(dim=1) <= choice.top_p[:, None]).sum(dim=1).masked_fill_(choice.top_p >= 1, n_tokens)
    n_kept = torch.where(choice.top_k > 0, n_nucleus.minimum(choice.top_k.long() - 1), n_nucleus)
    least = largest.gather(1, n_kept.clamp(max=n_tokens - 1)[:, None])[:, 0]
    least = least.masked_fill(n_kept >= n_tokens, 0).maximum(choice.min_p * largest[:, 0])
    return probabilities.mul_(probabilities >= least[:, None])


def draw(probabilities: Tensor, uniform: Tensor) -> Tensor:
    """One token per row, by inverting the cumulative distribution in token order; shape = (n_rows,).

    In token order a rounding error moves the choice to a neighbour at worst, whatever ties there are among the
    probabilities, so that the same uniform numbers give the same tokens in another batch too.

    Args:
        probabilities: not necessarily normalised, shape = (n_rows, n_tokens).
        uniform: from [0, 1), shape = (n_rows,).
    """
    cumulative = probabilities.cumsum(dim=1)
    # 1 - u lies in (0, 1]: the first token to reach a positive share of the total has a probability of its own.
    tokens = torch.searchsorted(cumulative, (1 - uniform)[:, None] * cumulative[:, -1:])
    tokens = tokens.clamp_(max=probabilities.shape[1] - 1)  # were they not numbers, no other row must suffer
    if probabilities.device.type != "cpu":
        # A parallel scan may round neighbouring sums in the wrong order; then the most probable token stands in.
        impossible = probabilities.gather(1, tokens) == 0
        tokens = torch.where(impossible, probabilities.argmax(dim=1, keepdim=True), tokens)
    return tokens[:, 0]
