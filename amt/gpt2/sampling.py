"""Choose tokens: from logits to truncated probabilities to one token a row."""

from typing import NamedTuple

import torch
from torch import Tensor

from amt.gpt2.gpu.decoder import has_triton


class SamplingTensors(NamedTuple):
    """Hold the `SamplingParams` of each row, with temperatures above zero; shape = (n_rows,) each."""

    temperature: Tensor
    top_p: Tensor
    top_k: Tensor
    min_p: Tensor


def sample(logits: Tensor, params: SamplingTensors, uniform: Tensor) -> Tensor:
    """Truncate the distribution of each row, and draw a token from it, as the functions below say; shape = (n_rows,).

    Args:
        logits: shape = (n_rows, n_tokens); -inf where illegal.
        params: of each row.
        uniform: from [0, 1), shape = (n_rows,).
    """
    if has_triton(logits.device):
        from amt.gpt2.gpu import choice

        return choice.choose(logits, params, uniform)
    if logits.device.type == "cpu":
        from amt.gpt2.cpu import truncation  # which is for CPUs alone, and five times as fast

        return truncation.sample(logits, torch.stack(params, dim=1), uniform)
    return draw(truncated_by_sorting(logits, params), uniform)


def truncated_by_sorting(logits: Tensor, params: SamplingTensors) -> Tensor:
    """Return probabilities, zero where a token is dropped, not normalised again; shape = (n_rows, n_tokens).

    The nucleus is the smallest set of most probable tokens whose probabilities sum to more than `top_p`; at 0 it is
    the single most probable one, at 1 everything. Source: Holtzman et al. 2020 (arXiv:1904.09751); for `min_p` Nguyen
    et al. 2024 (arXiv:2407.01082). Tokens as probable as the last one kept are kept too.

    Args:
        logits: shape = (n_rows, n_tokens); -inf where illegal.
        params: of each row.
    """
    probabilities = (logits / params.temperature[:, None]).softmax(dim=1)
    n_tokens = probabilities.shape[1]
    largest = probabilities.sort(dim=1, descending=True).values
    n_nucleus = (largest.cumsum(dim=1) <= params.top_p[:, None]).sum(dim=1).masked_fill_(params.top_p >= 1, n_tokens)
    n_kept = torch.where(params.top_k > 0, n_nucleus.minimum(params.top_k.long() - 1), n_nucleus)
    least = largest.gather(1, n_kept.clamp(max=n_tokens - 1)[:, None])[:, 0]
    least = least.masked_fill(n_kept >= n_tokens, 0).maximum(params.min_p * largest[:, 0])
    return probabilities.mul_(probabilities >= least[:, None])


def draw(probabilities: Tensor, uniform: Tensor) -> Tensor:
    """Draw one token a row by inverting the cumulative distribution in token order; shape = (n_rows,).

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
