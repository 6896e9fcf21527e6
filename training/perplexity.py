"""Compute held-out perplexity per event: of whole windows, and of one part with another as controls.

The loss of a slot is over that slot's tokens; rests count as events. Pieces are drawn evenly over a collection.
"""

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812
from transformers import GPT2LMHeadModel

from amt.midi.notes import N_PITCHES
from amt.tokens import events as ev
from amt.tokens.vocab import ANTICIPATE, MAX_WINDOW_EVENTS, NOTE, SLOTS
from training.batches import collate
from training.corpus import Piece
from training.windows import Window, autoregressive, cut, held_out_windows

MIN_TARGETS = 24
"""Windows with fewer notes beside the instrument of the controls say little."""


def slot_nats(model: GPT2LMHeadModel, modes: Tensor, events: Tensor, targets: Tensor) -> Tensor:
    """Return the nats of the three slots of each target of a batch; shape = (n_targets, 3).

    Only a slot's own rows of the output matrix are multiplied, and only where there is a target.

    Args:
        model: its embedding and output matrices are one.
        modes: shape = (batch,).
        events: those of zeros where a window has ended, shape = (batch, n_events, 3).
        targets: shape = (batch, n_events).
    """
    tokens = torch.cat([modes[:, None], events.flatten(1)[:, :-1]], dim=1)
    hidden = model.transformer(tokens, use_cache=False).last_hidden_state.unflatten(1, (-1, len(SLOTS)))[targets]
    wanted, output = events[targets], model.lm_head.weight
    rest = len(output) - sum(slot.size for slot in SLOTS)
    tables = output.split([*(slot.size for slot in SLOTS), rest])  # the gradient of slices would take a matrix each
    return torch.stack(
        [
            F.cross_entropy(
                (hidden[:, index] @ tables[index].T).float(), wanted[:, index] - slot.offset, reduction="none"
            )
            for index, slot in enumerate(SLOTS)
        ],
        dim=1,
    )


@torch.inference_mode()
def nats(model: GPT2LMHeadModel, window: Window) -> Tensor:
    """Return the nats of the three slots of each target of a window; shape = (n_targets, 3)."""
    return slot_nats(model, *collate([window], model.device)).cpu()


def accompaniment_windows(piece: Piece) -> Iterator[tuple[Window, Window]]:
    """Yield pairs of windows with the same targets: with the busiest instrument as controls, and without it."""
    for start in range(0, len(piece.events), 2 * MAX_WINDOW_EVENTS):
        notes = piece.events[start : start + 2 * MAX_WINDOW_EVENTS]
        notes = ev.translate(notes, -int(notes[0, 0]))
        instruments = (notes[:, 2] - NOTE.offset) // N_PITCHES
        others, controls = ev.split_instruments(notes, [np.bincount(instruments).argmax()])
        if len(others) < MIN_TARGETS:
            continue
        events = ev.anticipate(ev.pad(others), controls)[0]
        with_controls = cut(ANTICIPATE, events, ~ev.is_control(events), MAX_WINDOW_EVENTS)
        n_targets = int(with_controls.targets.sum())
        if n_targets >= MIN_TARGETS:
            yield with_controls, autoregressive(ev.pad(others), n_targets)


class Row(NamedTuple):
    """Hold one collection's mean nats per slot, shape = (3,), and per event."""

    name: str
    n_pieces: int
    slots: Tensor
    without_controls: float
    with_controls: float

    def __str__(self) -> str:
        """Return a row of the Markdown table."""
        slots = " | ".join(f"{loss:.2f}" for loss in self.slots.tolist())
        parts = [f"{math.exp(x):.0f}" if math.isfinite(x) else "-" for x in (self.without_controls, self.with_controls)]
        return f"| {self.name} | {self.n_pieces} | {slots} | {math.exp(self.slots.sum()):.0f} | {' | '.join(parts)} |"


HEADER = (
    "| collection | pieces | onset | duration | note | perplexity per event | accompaniment alone | given the rest |\n"
    "|---|---|---|---|---|---|---|---|"
)


def measure(model: GPT2LMHeadModel, name: str, pieces: Sequence[Piece], n_windows: int) -> Row:
    """Measure a collection, on at most `n_windows` windows of either kind."""
    windows = held_out_windows(pieces, MAX_WINDOW_EVENTS, n_windows)
    slots = torch.stack([nats(model, window).mean(0) for window in windows]).mean(0)
    pairs = [pair for piece in pieces for pair in accompaniment_windows(piece)]
    chosen = [pairs[round(k)] for k in np.linspace(0, len(pairs) - 1, min(n_windows, len(pairs)))]
    losses = [[float(nats(model, window).sum(1).mean()) for window in pair] for pair in chosen] or [[math.nan] * 2]
    with_controls, without = np.mean(losses, axis=0).tolist()
    return Row(name, len(pieces), slots, without, with_controls)


def average(rows: Sequence[Row]) -> Row:
    """Return the mean of all collections, weighted evenly."""
    without, with_controls = np.nanmean([(row.without_controls, row.with_controls) for row in rows], axis=0).tolist()
    slots = torch.stack([row.slots for row in rows]).mean(0)
    return Row("all, weighted evenly", sum(row.n_pieces for row in rows), slots, without, with_controls)
