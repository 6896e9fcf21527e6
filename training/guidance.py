"""Tell some attention heads where to look, so that the model learns to repeat phrases and to follow controls.

Repeating takes two steps: heads that tell every token which notes went before it, and, some blocks on, heads that look
for a place that the same notes went before (induction heads, Olsson et al. 2022, arXiv:2209.11895). Playing along takes
as many: to know, whatever controls come between, when the last event began, and to look at the controls of that time.
A model of this size did not find the former by itself in six hours, and does in half of one if heads are told. All
other heads, and how to use the findings of these, it learns as usual. Decoding knows nothing of this.
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
"""They look at the note of the last event, from these slots; in the second block it knows of the one before it."""

ADJACENT_HEADS: Final[dict[Head, tuple[Slot, ...]]] = {(0, 2): (ONSET, DURATION), (0, 6): (NOTE,)}
"""They look at the note of the event before the last, from these slots, or at a control that stands between.

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

Those of the last block can tell such places by more than notes, and find nearly the answer itself.
"""

CONTINUING_HEADS: Final[tuple[Head, ...]] = (2, 1), (3, 5), (3, 6), (4, 1), (5, 2)
"""They look, to predict a note, behind an earlier event with the same note, and the same one before it.

The onset and the duration there know of both. The model found this way to copy by itself, but not where controls come
between.
"""

TIMING_HEADS: Final[tuple[Head, Head]] = (0, 7), (1, 4)
"""They look at onsets: from the notes of controls at that of the last event; from durations and notes at their own."""

CONTROL_HEADS: Final[tuple[Head, Head]] = (3, 0), (3, 1)
"""They look at controls about the time of an event: to predict its duration and note, at the notes of those that began
within a second before it; to predict its onset, at the onsets of those that begin within one after the last event."""

RELAYING_HEADS: Final[tuple[Head, ...]] = (6, 0), (6, 1), (6, 2), (6, 3)
"""They look at the note of the last event, which by then knows what might come next; from all but the notes of events.

What comes after a control would have to find that out again, from where every look back is a longer one.
"""


def guides(events: Tensor, targets: Tensor) -> dict[Head, Tensor]:
    """Return where the heads should look.

    Args:
        events: event and control tokens, shape = (batch, n_events, 3).
        targets: which events there is something to learn from, shape = (batch, n_events).

    Returns:
        masks from queries to keys, shape = (batch, n_tokens, n_tokens); a query without any may look anywhere.
    """
    is_control = events[..., 2] >= CONTROL_OFFSET
    # How many events come before each; which the first, second... one is, controls after all of them. Controls are
    # passed over: a phrase is played by one part, however others are interleaved with it.
    n_before = (~is_control).cumsum(1) - 1 * ~is_control
    places = is_control.int().argsort(dim=1, stable=True)
    heads = (*RECALLING_HEADS, *ADJACENT_HEADS, *COPYING_HEADS, *CONTINUING_HEADS)
    heads = (*heads, *TIMING_HEADS, *CONTROL_HEADS, *RELAYING_HEADS)
    found = {head: _nothing(events) for head in heads}
    _guide_recalling(found, is_control, n_before, places)
    _guide_copying(found, events, targets & ~is_control, n_before, places)
    _guide_timing(found, events, n_before, places)
    _guide_to_controls(found, events, targets, n_before, places)
    ended = targets.flip(1).cumsum(1).flip(1) == 0  # shorter windows are padded, and the padding gives no gradient
    for guide in found.values():
        guide &= ~ended.repeat_interleave(EVENT_TOKENS, dim=1)[:, :, None]
    return found


# Below, position 0 is the mode's; event e stands at 3 * e + 1, + 2 and + 3, and is predicted from one before each.


def _guide_recalling(found: dict[Head, Tensor], is_control: Tensor, n_before: Tensor, places: Tensor) -> None:
    """Fill in the guides of the heads that look at the last events."""
    last, beside = _last(n_before, places), _beside(is_control)
    for looked_at, looking in ((last, RECALLING_HEADS), (beside, ADJACENT_HEADS)):
        for head, slots in looking.items():
            for slot in slots:
                _show(found[head], SLOTS.index(slot) + 1, 3, looked_at)
    for head in RELAYING_HEADS:
        _show(found[head], 1, 3, last)
        _show(found[head], 2, 3, last)
        _show(found[head], 3, 3, last & is_control[:, :, None])


def _guide_copying(found: dict[Head, Tensor], events: Tensor, learnt: Tensor, n_before: Tensor, places: Tensor) -> None:
    """Fill in the guides of the heads that look for earlier places like this one."""
    again, behind = _comes_again(events[..., 2], n_before, places)
    copies = learnt[:, :, None] & (events[..., 2] < CONTROL_OFFSET)[:, None]
    again, behind = again & copies, behind & copies
    for head, slot in COPYING_HEADS.items():
        _show(found[head], SLOTS.index(slot), SLOTS.index(slot) + 1, again)
    for head in CONTINUING_HEADS:
        _show(found[head], 2, 1, behind)
        _show(found[head], 2, 2, behind)


def _guide_timing(found: dict[Head, Tensor], events: Tensor, n_before: Tensor, places: Tensor) -> None:
    """Fill in the guides of the heads that look at onsets."""
    is_control = events[..., 2] >= CONTROL_OFFSET
    of_last, of_own = TIMING_HEADS
    _show(found[of_last], 3, 1, _last(n_before, places) & is_control[:, :, None])
    own = torch.eye(events.shape[1], dtype=torch.bool, device=events.device).expand(len(events), -1, -1)
    for query in (2, 3):
        _show(found[of_own], query, 1, own)


def _guide_to_controls(
    found: dict[Head, Tensor], events: Tensor, targets: Tensor, n_before: Tensor, places: Tensor
) -> None:
    """Fill in the guides of the heads that look at controls about the time of an event."""
    is_control = events[..., 2] >= CONTROL_OFFSET
    onsets = events[..., 0] - CONTROL_OFFSET * is_control
    last_onsets = onsets.gather(1, places.gather(1, (n_before - 1).clamp(min=0)))
    earlier = targets[:, :, None] & is_control[:, None] & _earlier(events)
    began = onsets[:, :, None] - onsets[:, None]
    begins = onsets[:, None] - last_onsets[:, :, None]
    begins = begins.masked_fill(n_before[:, :, None] == 0, -1)
    of_now, of_next = CONTROL_HEADS
    for query in (1, 2):
        _show(found[of_now], query, 3, earlier & (began >= 0) & (began < TICKS_PER_SECOND))
    _show(found[of_next], 0, 1, earlier & (begins >= 0) & (begins < TICKS_PER_SECOND))


def _nothing(events: Tensor) -> Tensor:
    """Return a guide that shows nothing."""
    n_tokens = EVENT_TOKENS * events.shape[1]
    return torch.zeros(len(events), n_tokens, n_tokens, dtype=torch.bool, device=events.device)


def _show(guide: Tensor, query: int, key: int, pairs: Tensor) -> None:
    """Add pairs of events, shape = (batch, n, n), to a guide, for these tokens (0 to 3) of query and key events."""
    tokens = guide[:, query::EVENT_TOKENS, key::EVENT_TOKENS]
    tokens |= pairs[:, : tokens.shape[1], : tokens.shape[2]]


def _earlier(events: Tensor) -> Tensor:
    """Return the pairs whose key is the earlier one; shape = (n_events, n_events)."""
    numbers = torch.arange(events.shape[1], device=events.device)
    return numbers < numbers[:, None]


def _last(n_before: Tensor, places: Tensor) -> Tensor:
    """Return, for each event or control, the last event before it; shape = (batch, n_events, n_events)."""
    found = torch.zeros(*n_before.shape, n_before.shape[1], dtype=torch.bool, device=n_before.device)
    return found.scatter_(2, places.gather(1, (n_before - 1).clamp(min=0))[:, :, None], (n_before > 0)[:, :, None])


def _beside(is_control: Tensor) -> Tensor:
    """Return, for each event or control, the second before it if both before are events, else the controls of them."""
    numbers = torch.arange(is_control.shape[1], device=is_control.device)
    apart = numbers[:, None] - numbers
    controls = ((apart == 1) | (apart == 2)) & is_control[:, None]
    return torch.where(controls.any(2, keepdim=True), controls, apart == 2)


def _comes_again(notes: Tensor, n_before: Tensor, places: Tensor) -> tuple[Tensor, Tensor]:
    """Return, for each event, earlier places like it; for controls nothing useful.

    Returns:
        (earlier events with the same note and the same two notes before it, events that follow an earlier event with
        the same note and the same note before it), each of shape = (batch, n_events, n_events).
    """
    played = notes.gather(1, places)
    same = played[:, :, None] == played[:, None]
    rows = torch.arange(len(notes), device=notes.device)[:, None, None]
    by_number = rows, n_before[:, :, None], n_before[:, None]
    again = same & _moved(same, 1, 1) & _moved(same, 2, 2)
    behind = _moved(same & _moved(same, 1, 1), 0, 1)
    return again.tril(-1)[by_number], behind.tril(-1)[by_number]


def _moved(pairs: Tensor, down: int, right: int) -> Tensor:
    """Return pairs of events moved to later ones; shape = (batch, n, n)."""
    return F.pad(pairs, (right, 0, down, 0))[:, : pairs.shape[1], : pairs.shape[2]]


def guidance_loss(block: nn.Module, head: int, hidden: Tensor, guide: Tensor, share: float = 1.0) -> Tensor:
    """Return the guidance loss of a head of a Hugging Face block: -log of its attention to all it should look at.

    Args:
        block: the block.
        head: the number of the head in it.
        hidden: the block's input, shape = (batch, n_tokens, width).
        guide: where the head should look, see `guides`.
        share: of the guided queries that count, drawn at random.

    Returns:
        nats, the mean over a window's guided queries; shape = (batch,).
    """
    attention = block.attn
    weight, bias = attention.c_attn.weight, attention.c_attn.bias
    starts = (part * attention.embed_dim + head * attention.head_dim for part in range(2))
    columns = [slice(start, start + attention.head_dim) for start in starts]
    query, key = (block.ln_1(hidden) @ weight[:, part] + bias[part] for part in columns)
    query = query / math.sqrt(attention.head_dim)
    return torch.stack([_window_loss(*window, share) for window in zip(query, key, guide, strict=True)])


def _window_loss(query: Tensor, key: Tensor, guide: Tensor, share: float) -> Tensor:
    """Return the loss of one window: the mean over queries that are guided, zero if none is."""
    (guided,) = guide.any(1).nonzero(as_tuple=True)
    if share < 1:
        guided = guided[torch.randperm(len(guided), device=guided.device)[: math.ceil(share * len(guided))]]
    ahead = torch.arange(len(key), device=key.device) > guided[:, None]
    scores = (query[guided] @ key.T).float().masked_fill(ahead, -torch.inf)
    losses = scores.logsumexp(1) - scores.masked_fill(~guide[guided], -torch.inf).logsumexp(1)
    return losses.sum() / max(len(guided), 1)
