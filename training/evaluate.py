"""Held-out perplexity per event of a checkpoint: `python -m training.evaluate CORPUS MODEL`.

Full autoregressive windows of 341 events (or the whole piece), as the model sees them when it generates; the loss of a
slot is over that slot's tokens, rests count as events. Pieces are drawn evenly over the collections.
"""

import argparse
import math
import tempfile
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812
from transformers import GPT2LMHeadModel

from amt.vocab import MAX_WINDOW_EVENTS, SLOTS
from training.corpus import load
from training.windows import Window, held_out_windows


@torch.inference_mode()
def nats(model: GPT2LMHeadModel, window: Window) -> Tensor:
    """Mean nats of the three slots over a window's events; shape = (3,)."""
    events = torch.from_numpy(window.events).to(model.device)
    tokens = torch.cat([torch.tensor([window.mode], device=model.device), events.flatten()[:-1]])
    hidden = model.transformer(tokens[None]).last_hidden_state[0].unflatten(0, (-1, len(SLOTS)))
    output = model.lm_head.weight
    return torch.stack(
        [
            F.cross_entropy((hidden[:, index] @ output[slot.slice].T).float(), events[:, index] - slot.offset)
            for index, slot in enumerate(SLOTS)
        ]
    )


def main() -> None:
    """Print a Markdown table, collection by collection."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpus", type=Path)
    parser.add_argument("model", type=Path)
    parser.add_argument("--windows", type=int, default=24, help="of each collection")
    parser.add_argument("--device", default="cpu")
    args = parser.parse_args()
    model = GPT2LMHeadModel.from_pretrained(args.model, dtype=torch.float32).eval().to(args.device)
    cache = Path(tempfile.gettempdir()) / f"{args.corpus.name}.events.npz"
    held_out = [piece for piece in load(args.corpus, cache) if piece.held_out]
    rows = []
    print("| collection | pieces | onset | duration | note | perplexity per event |\n|---|---|---|---|---|---|")
    for name in sorted({piece.collection for piece in held_out}):
        group = [piece for piece in held_out if piece.collection == name]
        windows = held_out_windows(group, MAX_WINDOW_EVENTS, args.windows)
        rows.append(torch.stack([nats(model, window) for window in windows]).mean(0).cpu())
        print(_row(name, len(group), rows[-1]), flush=True)
    print(_row("all, weighted evenly", len(held_out), torch.stack(rows).mean(0)))


def _row(name: str, n_pieces: int, losses: Tensor) -> str:
    slots = " | ".join(f"{loss:.2f}" for loss in losses.tolist())
    return f"| {name} | {n_pieces} | {slots} | {math.exp(losses.sum()):.0f} |"


if __name__ == "__main__":
    main()
