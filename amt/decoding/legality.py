"""Mask and bias the logits of a slot: what is illegal, and what should come; vectorised over rows, in place."""

from functools import cache

import torch
from torch import Tensor

from amt.midi.notes import N_INSTRUMENTS, N_PITCHES


def forbid_past(logits: Tensor, earliest_onset: Tensor) -> None:
    """Forbid onsets before the earliest.

    Args:
        logits: of the onset slot, shape = (n_rows, 10,000).
        earliest_onset: in ticks from the window's start, shape = (n_rows,).
    """
    logits.masked_fill_(_onsets(logits.shape[1], logits.device) < earliest_onset[:, None], -torch.inf)


@cache
def _onsets(n_onsets: int, device: torch.device) -> Tensor:
    return torch.arange(n_onsets, dtype=torch.int32, device=device)


def bias_onsets(logits: Tensor, earliest: Tensor, latest: Tensor, width: float) -> None:
    """Lower the logits of onsets outside a span by half the square of their distance from it in widths.

    Args:
        logits: of the onset slot, shape = (n_rows, 10,000).
        earliest: where each row's span begins, in ticks from the window's start, shape = (n_rows,); -inf for none.
        latest: where it ends, likewise; inf for none.
        width: in ticks.
    """
    ticks = _onsets(logits.shape[1], logits.device).float()
    nearest = torch.minimum(torch.maximum(ticks, earliest[:, None]), latest[:, None])
    logits.addcmul_(nearest.sub_(ticks), nearest, value=-0.5 / width**2)


def forbid_notes(logits: Tensor, legal: Tensor) -> None:
    """Forbid notes that are not legal; both arguments have shape = (n_rows, 16,513)."""
    logits.masked_fill_(~legal, -torch.inf)


def bias_notes(logits: Tensor, biases: Tensor) -> None:
    """Add to every note its instrument's bias.

    Args:
        logits: of the note slot, shape = (n_rows, 16,513).
        biases: of the instruments and, last, of rests, shape = (n_rows, 130); -inf forbids.
    """
    by_instrument = logits[:, : N_INSTRUMENTS * N_PITCHES].view(-1, N_INSTRUMENTS, N_PITCHES)
    by_instrument += biases[:, :N_INSTRUMENTS, None]
    logits[:, -1] += biases[:, -1]
