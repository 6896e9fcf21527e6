"""Which tokens are legal in a slot, and the choice of one of them; vectorised over rows."""

from functools import cache

import numpy as np
import torch
from torch import Tensor

from amt.vocab import N_INSTRUMENTS, N_PITCHES

PARTIAL = 512
"""Tokens looked at before all are sorted; trained models rarely spread a nucleus over more."""


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


def forbid_instruments(logits: Tensor, allowed: Tensor) -> None:
    """Only the row's allowed instruments, and rests; logits, shape = (n_rows, 16,513), are changed in place.

    Args:
        logits: of the note slot.
        allowed: shape = (n_rows, 129).
    """
    by_instrument = logits[:, : N_INSTRUMENTS * N_PITCHES].view(-1, N_INSTRUMENTS, N_PITCHES)
    by_instrument.masked_fill_(~allowed[:, :, None], -torch.inf)


def nucleus(logits: Tensor, top_p: Tensor) -> Tensor:
    """Probabilities, zero outside each row's nucleus, not normalised again; shape = (n_rows, n_tokens).

    The nucleus is the smallest set of most probable tokens whose probabilities sum to more than `top_p`; at 0 it is
    the single most probable one, at 1 everything. Source: Holtzman et al. 2020 (arXiv:1904.09751).

    Args:
        logits: shape = (n_rows, n_tokens); -inf where illegal.
        top_p: shape = (n_rows,).
    """
    probabilities = logits.softmax(dim=1)
    least, decided = _least_kept(probabilities, top_p, min(PARTIAL, logits.shape[1]))
    if not decided.all():
        rows = ~decided
        least[rows], _ = _least_kept(probabilities[rows], top_p[rows], logits.shape[1])
    return probabilities.mul_(probabilities >= least[:, None])


def _least_kept(probabilities: Tensor, top_p: Tensor, n_largest: int) -> tuple[Tensor, Tensor]:
    """(the smallest probability in each row's nucleus, whether so many of the largest suffice to know it)."""
    largest = _largest(probabilities, n_largest)
    n_kept = (largest.cumsum(dim=1) <= top_p[:, None]).sum(dim=1)
    everything = top_p >= 1
    least = largest.gather(1, n_kept.clamp(max=n_largest - 1)[:, None])[:, 0]
    return least.masked_fill(everything, 0), (n_kept < n_largest) | everything


def _largest(probabilities: Tensor, n: int) -> Tensor:
    """The n largest of each row, in descending order."""
    if probabilities.device.type != "cpu":
        return probabilities.topk(n, dim=1).values
    # On a CPU numpy selects five times as fast as torch, and sorts fifteen times as fast.
    smallest_first = np.sort(np.partition(probabilities.numpy(), -n, axis=1)[:, -n:], axis=1)
    return torch.from_numpy(smallest_first[:, ::-1].copy())


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
    if probabilities.device.type != "cpu":
        # A parallel scan may round neighbouring sums in the wrong order; then the most probable token stands in.
        impossible = probabilities.gather(1, tokens.clamp(max=probabilities.shape[1] - 1)) == 0
        tokens = torch.where(impossible, probabilities.argmax(dim=1, keepdim=True), tokens)
    return tokens[:, 0]
