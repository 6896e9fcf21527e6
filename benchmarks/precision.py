"""Measure what precision and the hopping window cost in perplexity: `python -m benchmarks.precision CORPUS`.

The model is the bundled one, the windows are held out as those of `training.evaluate` are. For each precision they go
token by token through the decoder, with its cache and its kernels. An exact window gives every event all the past that
it can hold, a hopping one between three quarters of it and all. Prints Markdown tables.
"""

import argparse
import math
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, product
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from amt.decoding.model import build_model, load_config, load_model
from amt.decoding.window import HOP_EVENTS, MAX_HISTORY_EVENTS
from amt.gpt2.checkpoint import read_weights
from amt.gpt2.network import GPT2, rounded_length
from amt.tokens import events as ev
from amt.tokens.vocab import MAX_WINDOW_EVENTS, SLOTS
from benchmarks.checkpoints import TINY
from benchmarks.markdown import table
from training.corpus import Piece, load
from training.windows import Window, autoregressive, held_out_windows

TARGETS = range(0, HOP_EVENTS, 17)
"""Events of each hop whose exact windows are computed."""


@torch.inference_mode()
def nats(model: GPT2, window: Window) -> Tensor:
    """Return the nats of each event; shape = (n_events,)."""
    events = torch.from_numpy(window.events).to(model.device)
    tokens = torch.cat([torch.tensor([window.mode], device=model.device), events.flatten()[:-1]])
    hidden = model.hidden_states(tokens[None], len(model.blocks))[0].unflatten(0, (-1, len(SLOTS)))
    losses = [
        F.cross_entropy(
            model.logits(hidden[:, index], SLOTS.index(slot)), events[:, index] - slot.offset, reduction="none"
        )
        for index, slot in enumerate(SLOTS)
    ]
    return torch.stack(losses).sum(0)


@torch.inference_mode()
def decoded_nats(model: GPT2, windows: Sequence[Window]) -> list[Tensor]:
    """Return the same of several windows, each a row of the decoder's batch, a token at a time."""
    lengths = [len(window.events) for window in windows]
    events = torch.zeros(len(windows), max(lengths), len(SLOTS), dtype=torch.int64, device=model.device)
    events[:] = torch.tensor([slot.offset for slot in SLOTS])
    for row, window in enumerate(windows):
        events[row, : len(window.events)] = torch.from_numpy(window.events)
    cache = model.new_cache()
    cache.reserve(len(windows))
    tokens = torch.tensor([window.mode for window in windows], device=model.device)
    losses = torch.zeros(events.shape[:2], device=model.device)
    for end, (event, (index, slot)) in enumerate(product(range(events.shape[1]), enumerate(SLOTS))):
        logits = model.logits(model.decode(tokens, end, rounded_length(end + 1), cache), SLOTS.index(slot))
        tokens = events[:, event, index]
        losses[:, event] += F.cross_entropy(logits, tokens - slot.offset, reduction="none")
    return [row[:length] for row, length in zip(losses, lengths, strict=True)]


def held_out(corpus: Path) -> list[list[Piece]]:
    """Return the held-out pieces of each collection; what was read is kept for the next time."""
    pieces = [p for p in load(corpus, Path(tempfile.gettempdir()) / f"{corpus.name}.events.npz") if p.held_out]
    return by_collection(pieces)


def by_collection(pieces: Sequence[Piece]) -> list[list[Piece]]:
    """Return the pieces of each collection."""
    return [[p for p in pieces if p.collection == name] for name in sorted({p.collection for p in pieces})]


def name_of(dtype: torch.dtype) -> str:
    """Return the name of a precision, as `--dtype` has it."""
    return str(dtype).removeprefix("torch.")


def perplexities(
    collections: Sequence[Sequence[Piece]], n_windows: int, dtypes: Iterable[torch.dtype], device: torch.device
) -> dict[str, float]:
    """Return the perplexity of tiny by precision, of `n_windows` a collection, collections weighted evenly."""
    windows = [held_out_windows(pieces, MAX_WINDOW_EVENTS, n_windows) for pieces in collections]
    config, weights = load_config(TINY), read_weights(TINY)
    found = {}
    for dtype in dtypes:
        model = build_model(config, weights, dtype, device)
        means = torch.stack([each.mean() for each in decoded_nats(model, list(chain(*windows)))])
        means_by_collection = means.split([len(each) for each in windows])
        found[name_of(dtype)] = math.exp(torch.stack([each.mean() for each in means_by_collection]).mean())
    return found


@dataclass(frozen=True)
class WindowFigures:
    """Hold perplexities of the same events, past a full window."""

    exact: float
    hopping: float


def measure_windows(
    collections: Sequence[Sequence[Piece]], n_hops: int, dtype: torch.dtype, device: torch.device
) -> WindowFigures:
    """Measure tiny with either window, on at most `n_hops` hops a collection."""
    model = load_model(TINY, dtype, device)
    means = np.array([hop_and_exact(model, pieces, n_hops) for pieces in collections])
    hopping, exact = np.exp(np.nanmean(means, axis=0)).tolist()
    return WindowFigures(exact, hopping)


def hop_and_exact(model: GPT2, pieces: Sequence[Piece], n_hops: int) -> tuple[float, float]:
    """Return the mean nats of the same events with either window; NaN if no piece is long enough.

    At most `n_hops` hops are taken, spread evenly over a collection's long pieces.
    """
    longest = MAX_HISTORY_EVENTS + HOP_EVENTS
    padded = [events for piece in pieces if len(events := ev.pad(piece.events)) >= longest]
    starts = [(i, s) for i, events in enumerate(padded) for s in range(0, len(events) - longest + 1, HOP_EVENTS)]
    chosen = [starts[round(k)] for k in np.linspace(0, len(starts) - 1, min(n_hops, len(starts)))]
    hopping, exact = [], []
    for index, start in chosen:
        events = padded[index][start : start + longest]
        shorter = nats(model, autoregressive(events[HOP_EVENTS:], MAX_HISTORY_EVENTS))
        for target in TARGETS:
            position = MAX_HISTORY_EVENTS - HOP_EVENTS + target
            window = autoregressive(events[target : target + MAX_HISTORY_EVENTS + 1], MAX_HISTORY_EVENTS + 1)
            if position < len(shorter) and len(window.events) > MAX_HISTORY_EVENTS:  # shorter than 100 s
                hopping.append(float(shorter[position]))
                exact.append(float(nats(model, window)[-1]))
    return (float(np.mean(hopping)), float(np.mean(exact))) if exact else (math.nan, math.nan)


def markdown_of_precisions(found: Mapping[str, float]) -> str:
    """Return the table of `perplexities`."""
    return table(("precision", "perplexity per event"), ((name, f"{value:.2f}") for name, value in found.items()))


def markdown_of_windows(figures: WindowFigures) -> str:
    """Return the table of `measure_windows`."""
    rows = (("exact", f"{figures.exact:.1f}"), ("hopping", f"{figures.hopping:.1f}"))
    return table(("window", "perplexity per event, past a full one"), rows)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--windows", type=int, default=24, help="of each collection")
    parser.add_argument("--hops", type=int, default=8, help="of each collection")
    parser.add_argument("--device", default="cpu")
    args = parser.parse_args()
    device = torch.device(args.device)
    dtypes = [torch.float32, torch.float16, torch.bfloat16]
    dtypes += [torch.int8, torch.int4] if device.type == "cpu" else []
    collections = held_out(args.corpus)
    print(markdown_of_precisions(perplexities(collections, args.windows, dtypes, device)), flush=True)
    print(f"\n{markdown_of_windows(measure_windows(collections, args.hops, torch.float32, device))}")


if __name__ == "__main__":
    main()
