"""Heads that are told where to look, so that the model learns to repeat what was played and to hear what is given.

Repeating takes two steps: heads that tell every token which notes went before it, and, some blocks on, heads that look
for a place that the same notes went before (induction heads, Olsson et al. 2022, arXiv:2209.11895). Playing along takes
as many: to know, whatever controls come between, when the last event began, and to look at the controls of that time.
A model of this size did not find the former by itself in six hours, and does in half of one if heads are told. All
other heads, and what to make of what these find, it learns as ever. Decoding knows nothing of this.
"""

import math
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from amt.midi.notes import TICKS_PER_SECOND
from amt.tokens.vocab import CONTROL_OFFSET, DURATION, EVENT_TOKENS, NOTE, ONSET, SLOTS, Slot

Head = tuple[int, int]
"""A block, and a head in it."""

RECALLING_HEADS: Final[dict[Head, tuple[Slot, ...]]] = {
    (0, 3): (ONSET, DURATION),
    (0, 5): (NOTE,),
    (1, 0): SLOTS,
    (1, 5): (ONSET, DURATION),
}
"""They look at the note of the last event, from which slots; in the second block it knows of the one before it."""

ADJACENT_HEADS: Final[dict[Head, tuple[Slot, ...]]] = {(0, 2): (ONSET, DURATION), (0, 6): (NOTE,)}
"""They look at the note of the event before the last, from which slots, or at a control that stands between.

One block cannot find the second nearest past controls; without this rule it takes the nearest for it.
"""

COPYING_HEADS: Final[dict[Head, Slot]] = {
    (2, 5): ONSET,
    (2, 6): DURATION,
    (2, 7): NOTE,
    (7, 0): ONSET,
    (7, 1): DURATION,
    (7, 2): NOTE,
}
"""They look, to predict a slot, at that slot of earlier events with the same note, and the same two before it.

Those of the last block can tell such places by more than notes, and what they find is all but the answer.
"""

CONTINUING_HEADS: Final[tuple[Head, ...]] = (2, 1), (3, 5), (3, 6), (4, 1), (5, 2)
"""They look, to predict a note, behind an earlier event with the same note, and the same one before it.

The onset and the duration there know of both. The model found this way to copy by itself, but not what to do where
controls come between.
"""

TIMING_HEADS: Final[tuple[Head, Head]] = (0, 7), (1, 4)
"""They look at onsets: from the notes of controls at that of the last event; from durations and notes at their own."""

HEARING_HEADS: Final[tuple[Head, Head]] = (3, 0), (3, 1)
"""They look at controls about the time of an event: to predict its duration and note, at the notes of those that began
within a second before it; to predict its onset, at the onsets of those that begin within one after the last event."""

RELAYING_HEADS: Final[tuple[Head, ...]] = (6, 0), (6, 1), (6, 2), (6, 3)
"""They look at the note of the last event, which by then knows what might come next; from all but the notes of events.

What comes after a control would have to find that out again, from where every look back is a longer one.
"""


def guides(events: Tensor, targets: Tensor) -> dict[Head, Tensor]:
    """Where the heads should look.

    Args:
        events: event and control tokens, shape = (batch, n_events, 3).
        targets: which events there is something to learn from, shape = (batch, n_events).

    Returns:
        masks from queries to keys, shape = (batch, n_tokens, n_tokens); a query without any may look anywhere.
    """
    given = events[..., 2] >= CONTROL_OFFSET
    # How many events come before each; which the first, second... one is, controls after all of them. Controls are
    # passed over: a phrase is what one part plays, however others are interleaved with it.
    n_before = (~given).cumsum(1) - 1 * ~given
    places = given.int().argsort(dim=1, stable=True)
    heads = (*RECALLING_HEADS, *ADJACENT_HEADS, *COPYING_HEADS, *CONTINUING_HEADS)
    heads = (*heads, *TIMING_HEADS, *HEARING_HEADS, *RELAYING_HEADS)
    found = {head: _nothing(events) for head in heads}

    # Position 0 is the mode's; event e stands at 3 * e + 1, + 2 and + 3, and is predicted from one before each.
    last, beside = _last(n_before, places), _beside(given)
    for looked_at, looking in ((last, RECALLING_HEADS), (beside, ADJACENT_HEADS)):
        for head, slots in looking.items():
            for slot in slots:
                _show(found[head], SLOTS.index(slot) + 1, 3, looked_at)

    again, behind = _comes_again(events[..., 2], n_before, places)
    copies = (targets & ~given)[:, :, None] & ~given[:, None]
    again, behind = again & copies, behind & copies
    for head, slot in COPYING_HEADS.items():
        _show(found[head], SLOTS.index(slot), SLOTS.index(slot) + 1, again)
    for head in CONTINUING_HEADS:
        _show(found[head], 2, 1, behind)
        _show(found[head], 2, 2, behind)

    for head in RELAYING_HEADS:
        _show(found[head], 1, 3, last)
        _show(found[head], 2, 3, last)
        _show(found[head], 3, 3, last & given[:, :, None])
    of_last, of_own = TIMING_HEADS
    _show(found[of_last], 3, 1, last & given[:, :, None])
    own = torch.eye(events.shape[1], dtype=torch.bool, device=events.device).expand(len(events), -1, -1)
    for query in (2, 3):
        _show(found[of_own], query, 1, own)
    onsets = events[..., 0] - CONTROL_OFFSET * given
    last_onsets = onsets.gather(1, places.gather(1, (n_before - 1).clamp(min=0)))
    heard = targets[:, :, None] & given[:, None] & _earlier(events)
    began = onsets[:, :, None] - onsets[:, None]
    begins = onsets[:, None] - last_onsets[:, :, None]
    of_now, of_next = HEARING_HEADS
    for query in (1, 2):
        _show(found[of_now], query, 3, heard & (began >= 0) & (began < TICKS_PER_SECOND))
    begins = begins.masked_fill(n_before[:, :, None] == 0, -1)
    _show(found[of_next], 0, 1, heard & (begins >= 0) & (begins < TICKS_PER_SECOND))

    ended = targets.flip(1).cumsum(1).flip(1) == 0  # shorter windows are padded, and what trails gives no gradient
    for guide in found.values():
        guide &= ~ended.repeat_interleave(EVENT_TOKENS, dim=1)[:, :, None]
    return found


def _nothing(events: Tensor) -> Tensor:
    n_tokens = EVENT_TOKENS * events.shape[1]
    return torch.zeros(len(events), n_tokens, n_tokens, dtype=torch.bool, device=events.device)


def _show(guide: Tensor, query: int, key: int, pairs: Tensor) -> None:
    """Tokens that stand so far behind three times an event's number; pairs of events, shape = (batch, n, n)."""
    tokens = guide[:, query::EVENT_TOKENS, key::EVENT_TOKENS]
    tokens |= pairs[:, : tokens.shape[1], : tokens.shape[2]]


def _earlier(events: Tensor) -> Tensor:
    numbers = torch.arange(events.shape[1], device=events.device)
    return numbers < numbers[:, None]


def _last(n_before: Tensor, places: Tensor) -> Tensor:
    """Of each event or control, the last event before it; shape = (batch, n_events, n_events)."""
    found = torch.zeros(*n_before.shape, n_before.shape[1], dtype=torch.bool, device=n_before.device)
    return found.scatter_(2, places.gather(1, (n_before - 1).clamp(min=0))[:, :, None], (n_before > 0)[:, :, None])


def _beside(given: Tensor) -> Tensor:
    """Of each event or control, the second before it if both are events, else the controls among them."""
    numbers = torch.arange(given.shape[1], device=given.device)
    apart = numbers[:, None] - numbers
    controls = ((apart == 1) | (apart == 2)) & given[:, None]
    return torch.where(controls.any(2, keepdim=True), controls, apart == 2)


def _comes_again(notes: Tensor, n_before: Tensor, places: Tensor) -> tuple[Tensor, Tensor]:
    """Of each event, earlier ones with the same note and two before it, and those behind one with the same and one.

    Of controls nothing useful.
    """
    played = notes.gather(1, places)
    same = played[:, :, None] == played[:, None]
    rows = torch.arange(len(notes), device=notes.device)[:, None, None]
    by_number = rows, n_before[:, :, None], n_before[:, None]
    again = same & _moved(same, 1, 1) & _moved(same, 2, 2)
    behind = _moved(same & _moved(same, 1, 1), 0, 1)
    return again.tril(-1)[by_number], behind.tril(-1)[by_number]


def _moved(pairs: Tensor, down: int, right: int) -> Tensor:
    """Pairs as many events later; shape = (batch, n, n)."""
    return F.pad(pairs, (right, 0, down, 0))[:, : pairs.shape[1], : pairs.shape[2]]


def astray(block: nn.Module, head: int, hidden: Tensor, guide: Tensor, share: float = 1.0) -> Tensor:
    """By how many nats a head of a Hugging Face block misses: -log of its attention to all it should look at.

    The mean over a window's queries that are guided, or a random share of them; shape = (batch,). `hidden` is the
    block's input, shape = (batch, n_tokens, width).
    """
    attention = block.attn
    weight, bias = attention.c_attn.weight, attention.c_attn.bias
    starts = (part * attention.embed_dim + head * attention.head_dim for part in range(2))
    columns = [slice(start, start + attention.head_dim) for start in starts]
    query, key = (block.ln_1(hidden) @ weight[:, part] + bias[part] for part in columns)
    query = query / math.sqrt(attention.head_dim)
    return torch.stack([_missed(*window, share) for window in zip(query, key, guide, strict=True)])


def _missed(query: Tensor, key: Tensor, guide: Tensor, share: float) -> Tensor:
    """Of one window: the mean over queries that are guided, zero if none is."""
    (guided,) = guide.any(1).nonzero(as_tuple=True)
    if share < 1:
        guided = guided[torch.randperm(len(guided), device=guided.device)[: math.ceil(share * len(guided))]]
    ahead = torch.arange(len(key), device=key.device) > guided[:, None]
    scores = (query[guided] @ key.T).float().masked_fill(ahead, -torch.inf)
    missed = scores.logsumexp(1) - scores.masked_fill(~guide[guided], -torch.inf).logsumexp(1)
    return missed.sum() / max(len(guided), 1)
