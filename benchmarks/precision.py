"""What precision and the hopping window cost in held-out perplexity: `python -m benchmarks.precision CORPUS`.

Of the bundled model, on windows like those of `training.evaluate`: for each precision token by token through the
decoder, with its cache and its kernels. An exact window gives every event all the past that it can hold, a hopping one
between three quarters of it and all. Prints Markdown tables.
"""

import argparse
import math
import tempfile
from collections.abc import Iterable, Sequence
from itertools import chain, product
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from amt.decoding.model import build_model, load_config, load_model
from amt.decoding.window import HOP_EVENTS, MAX_HISTORY_EVENTS
from amt.gpt2.checkpoint import read_weights
from amt.gpt2.linear import HAS_INT8_KERNEL
from amt.gpt2.network import GPT2, rounded_length
from amt.tokens import events as ev
from amt.tokens.vocab import MAX_WINDOW_EVENTS, SLOTS
from training.corpus import Piece, load
from training.windows import Window, autoregressive, held_out_windows

TINY = Path(__file__).parent.parent / "weights/tiny"

TARGETS = range(0, HOP_EVENTS, 17)
"""Events of each hop whose exact windows are computed."""


@torch.inference_mode()
def nats(model: GPT2, window: Window) -> Tensor:
    """Nats of each event; shape = (n_events,)."""
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
    """The same of several windows as the decoder sees them, each a row of its batch and a token at a time."""
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
    """The pieces of each collection."""
    pieces = [p for p in load(corpus, Path(tempfile.gettempdir()) / f"{corpus.name}.events.npz") if p.held_out]
    return [[p for p in pieces if p.collection == name] for name in sorted({p.collection for p in pieces})]


def perplexities(
    corpus: Path, n_windows: int, dtypes: Iterable[torch.dtype], device: torch.device
) -> dict[torch.dtype, float]:
    """Of tiny in each precision, collections weighted evenly."""
    collections = [held_out_windows(pieces, MAX_WINDOW_EVENTS, n_windows) for pieces in held_out(corpus)]
    config, weights = load_config(TINY), read_weights(TINY)
    found = {}
    for dtype in dtypes:
        model = build_model(config, weights, dtype, device)
        means = torch.stack([each.mean() for each in decoded_nats(model, list(chain(*collections)))])
        by_collection = means.split([len(windows) for windows in collections])
        found[dtype] = math.exp(torch.stack([each.mean() for each in by_collection]).mean())
    return found


def hop_and_exact(model: GPT2, pieces: Sequence[Piece], n_hops: int) -> tuple[float, float]:
    """Mean nats of the same events with either window, evenly spaced over a collection's long pieces; NaN if none."""
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


def main() -> None:
    """Print Markdown tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--windows", type=int, default=24, help="of each collection")
    parser.add_argument("--hops", type=int, default=8, help="of each collection")
    parser.add_argument("--device", default="cpu")
    args = parser.parse_args()
    device = torch.device(args.device)
    dtypes = [torch.float32, torch.float16, torch.bfloat16]
    dtypes += [torch.int8] if device.type == "cpu" and HAS_INT8_KERNEL else []
    print("| precision | perplexity per event |\n|---|---|")
    for dtype, perplexity in perplexities(args.corpus, args.windows, dtypes, device).items():
        print(f"| {str(dtype).removeprefix('torch.')} | {perplexity:.2f} |", flush=True)
    model = load_model(TINY, torch.float32, device)
    means = np.array([hop_and_exact(model, pieces, args.hops) for pieces in held_out(args.corpus)])
    hopping, exact = np.exp(np.nanmean(means, axis=0))
    print("\n| window | perplexity per event, past a full one |\n|---|---|")
    print(f"| exact | {exact:.1f} |\n| hopping | {hopping:.1f} |")


if __name__ == "__main__":
    main()
