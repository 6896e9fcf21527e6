"""Forbid tokens: set logits of a slot to -inf, in place and for all rows at once."""

from functools import cache

import torch
from torch import Tensor

from amt.decoding.onset_grid import MAX_KEPT_NATS, NATS_PER_LEVEL


def forbid_past(logits: Tensor, earliest_onset: Tensor) -> None:
    """Forbid onsets before the earliest.

    Args:
        logits: of the onset slot, shape = (n_rows, 10,000).
        earliest_onset: in ticks from the window's start, shape = (n_rows,).
    """
    logits.masked_fill_(numbers(logits.shape[1], logits.device) < earliest_onset[:, None], -torch.inf)


@cache
def numbers(n: int, device: torch.device) -> Tensor:
    """Return the whole numbers from 0 to n - 1; int32, shape = (n,)."""
    return torch.arange(n, dtype=torch.int32, device=device)


def forbid_notes(logits: Tensor, legal: Tensor) -> None:
    """Forbid notes that are not legal; both arguments have shape = (n_rows, 16,513)."""
    logits.masked_fill_(~legal, -torch.inf)


def keep_on_grid(logits: Tensor, places: Tensor, shift: Tensor, levels: Tensor) -> None:
    """Forbid onsets off the lines, but for the one at which a rest must come.

    Onsets that are left after "now", but for that one, gain as much as the others lose, at most `MAX_KEPT_NATS`, and
    among themselves `NATS_PER_LEVEL` for each level of their line. Rows without a grid stay as they are.

    Args:
        logits: of the onset slot, shape = (n_rows, 10,000); those before "now" are forbidden already.
        places: see `onset_grid.GridPlace`, shape = (n_rows, 4); "now" is not before the start of the new music.
        shift: what makes onset tokens places in `levels`, shape = (n_rows,).
        levels: of lines, shape = (n_rows, 12,288); negative where there is none.
    """
    onsets = numbers(logits.shape[1], logits.device)
    kind, now, due, may_rest = places[:, :, None].unbind(1)
    level = _levels_at(levels, onsets + shift[:, None])
    is_line, is_due = level >= 0, onsets == due
    is_other = (onsets > now) & ~is_due
    gained = logits + NATS_PER_LEVEL * level
    before = logits.masked_fill(~is_other, -torch.inf).logsumexp(1, keepdim=True)
    after = gained.masked_fill(~(is_other & is_line), -torch.inf).logsumexp(1, keepdim=True)
    gained = gained + (before - after).nan_to_num(0, MAX_KEPT_NATS, 0).clamp(max=MAX_KEPT_NATS)
    kept = torch.where(is_other, gained, logits).masked_fill(~(is_line | is_due & (may_rest > 0)), -torch.inf)
    logits.copy_(torch.where(kind > 0, kept, logits))


def end_on_grid(logits: Tensor, onsets: Tensor, places: Tensor, shift: Tensor, levels: Tensor) -> None:
    """Forbid durations that do not end on a line, in rows whose notes must; a rest, which has none, stays possible.

    Args:
        logits: of the duration slot, shape = (n_rows, 1,000).
        onsets: the onset tokens that have been drawn, shape = (n_rows,).
        places: as for `keep_on_grid`, like what follows.
        shift: see there.
        levels: see there.
    """
    durations = numbers(logits.shape[1], logits.device)
    ends_on_line = _levels_at(levels, onsets[:, None] + shift[:, None] + durations) >= 0
    may_rest = (durations == 0) & (onsets == places[:, 2])[:, None]
    legal = (ends_on_line & (durations > 0)) | may_rest | (places[:, :1] < 2)
    logits.masked_fill_(~legal, -torch.inf)


def _levels_at(levels: Tensor, places: Tensor) -> Tensor:
    return levels.gather(1, places.long().clamp(0, levels.shape[1] - 1))
