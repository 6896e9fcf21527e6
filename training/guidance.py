"""Heads that are told where to look, so that the model learns to repeat what was played.

Repeating takes two steps: heads that tell every token which notes went before it, and, some blocks on, heads that look
for a place that the same notes went before (induction heads, Olsson et al. 2022, arXiv:2209.11895). A model of this
size did not find that by itself in six hours, and does in half of one if heads are told; all the others, and what to
make of what these find, it learns as ever. Decoding knows nothing of this.
"""

import math
from typing import Final

import torch
from torch import Tensor, nn

from amt.vocab import CONTROL_OFFSET, DURATION, EVENT_TOKENS, NOTE, ONSET, SLOTS, Slot

Head = tuple[int, int]
"""A block, and a head in it."""

RECALLING_HEADS: Final[dict[Head, tuple[int, bool]]] = {
    (0, 3): (1, False),
    (0, 2): (2, False),
    (0, 5): (1, True),
    (0, 6): (2, True),
}
"""They look at the note so many events back: whether from the notes of events, or from everything else."""

COPYING_HEADS: Final[dict[Head, Slot]] = {(2, 5): ONSET, (2, 6): DURATION, (2, 7): NOTE}
"""They look, to predict a slot, at that slot of earlier events with the same note, and the same two before it."""


def guides(notes: Tensor, targets: Tensor) -> dict[Head, Tensor]:
    """Where the heads should look.

    Controls are passed over: a phrase is what one part plays, however others are interleaved with it.

    Args:
        notes: the third token of each event or control, shape = (batch, n_events).
        targets: which events there is something to learn from, likewise.

    Returns:
        masks from queries to keys, shape = (batch, n_tokens, n_tokens); a query without any may look anywhere.
    """
    n_rows, n_events = notes.shape
    row, each = torch.arange(n_rows, device=notes.device)[:, None], torch.arange(n_events, device=notes.device)
    given = notes >= CONTROL_OFFSET
    # How many events come before each; which the first, second... one is, controls after all of them; and their notes.
    n_before = (~given).cumsum(1) - 1 * ~given
    places = given.int().argsort(dim=1, stable=True)
    # Position 0 is the mode's; event e stands at 3 * e + 1, + 2 and + 3, and is predicted from one before each.
    shape = (n_rows, EVENT_TOKENS * n_events, EVENT_TOKENS * n_events)
    found: dict[Head, Tensor] = {}
    for head, (back, is_from_notes) in RECALLING_HEADS.items():
        nth = n_before - back
        notes_back = EVENT_TOKENS * (places.gather(1, nth.clamp(min=0)) + 1)
        guide = found[head] = torch.zeros(shape, dtype=torch.bool, device=notes.device)
        for index in range(EVENT_TOKENS):
            is_event_note = ~given & (index == EVENT_TOKENS - 1)
            queries = EVENT_TOKENS * each + index + 1
            looks = (nth >= 0) & (is_event_note == is_from_notes) & (queries < shape[1])
            rows, events = looks.nonzero(as_tuple=True)
            guide[rows, queries[events], notes_back[rows, events]] = True
    played = notes.gather(1, places)
    same = played[:, :, None] == played[:, None]
    again = torch.zeros_like(same)
    again[:, 2:, 2:] = same[:, 2:, 2:] & same[:, 1:-1, 1:-1] & same[:, :-2, :-2]
    again = again.tril(-1)[row[..., None], n_before[:, :, None], n_before[:, None]]
    again &= (targets & ~given)[:, :, None] & ~given[:, None]
    for head, slot in COPYING_HEADS.items():
        index = SLOTS.index(slot)
        guide = found[head] = torch.zeros(shape, dtype=torch.bool, device=notes.device)
        keys_of_slot = guide[:, index::EVENT_TOKENS, index + 1 :: EVENT_TOKENS]
        keys_of_slot.copy_(again[:, :, : keys_of_slot.shape[2]])
    return found


def astray(block: nn.Module, head: int, hidden: Tensor, guide: Tensor) -> Tensor:
    """By how many nats a head of a Hugging Face block misses: -log of its attention to all it should look at.

    The mean over the queries that are guided. `hidden` is the block's input, shape = (batch, n_tokens, width).
    """
    attention = block.attn
    weight, bias = attention.c_attn.weight, attention.c_attn.bias
    starts = (part * attention.embed_dim + head * attention.head_dim for part in range(2))
    columns = [slice(start, start + attention.head_dim) for start in starts]
    query, key = (block.ln_1(hidden) @ weight[:, part] + bias[part] for part in columns)
    guided = guide.any(2)
    ahead = torch.ones(guide.shape[1:], dtype=torch.bool, device=guide.device).triu(1)
    scores = query @ key.transpose(1, 2) / math.sqrt(attention.head_dim)
    scores = scores.masked_fill(ahead, -torch.inf)[guided]
    missed = scores.logsumexp(1) - scores.masked_fill(~guide[guided], -torch.inf).logsumexp(1)
    return missed.sum() / max(len(missed), 1)
