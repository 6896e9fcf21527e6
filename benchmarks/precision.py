"""What a precision costs in held-out perplexity: `python -m benchmarks.precision CORPUS [--model FOLDER]`.

The windows are those of `training.evaluate`, computed by the service's own network. Prints a Markdown table.
"""

import argparse
import math
import tempfile
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from amt.checkpoint import read_config, read_weights
from amt.gpt2 import GPT2
from amt.vocab import MAX_WINDOW_EVENTS, SLOTS
from training.corpus import load
from training.windows import Window, held_out_windows


@torch.inference_mode()
def nats(model: GPT2, window: Window) -> Tensor:
    """Mean nats of an event's three slots; shape = ()."""
    events = torch.from_numpy(window.events).to(model.device)
    tokens = torch.cat([torch.tensor([window.mode], device=model.device), events.flatten()[:-1]])
    hidden = model.hidden_states(tokens[None], len(model.layers))[0].unflatten(0, (-1, len(SLOTS)))
    losses = [
        F.cross_entropy(model.logits(hidden[:, index], slot), events[:, index] - slot.offset)
        for index, slot in enumerate(SLOTS)
    ]
    return torch.stack(losses).sum()


def main() -> None:
    """Print a Markdown table, precision by precision."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--model", type=Path, default=Path(__file__).parent.parent / "weights/tiny")
    parser.add_argument("--windows", type=int, default=24, help="of each collection")
    parser.add_argument("--device", default="cpu")
    args = parser.parse_args()
    pieces = load(args.corpus, Path(tempfile.gettempdir()) / f"{args.corpus.name}.events.npz")
    held_out = [piece for piece in pieces if piece.held_out]
    collections = [
        held_out_windows([piece for piece in held_out if piece.collection == name], MAX_WINDOW_EVENTS, args.windows)
        for name in sorted({piece.collection for piece in held_out})
    ]
    config, weights = read_config(args.model), read_weights(args.model)
    print("| precision | perplexity per event |\n|---|---|")
    for dtype in (torch.float32, torch.float16, torch.bfloat16, torch.int8):
        model = GPT2(config, weights, dtype, torch.device(args.device))
        means = [torch.stack([nats(model, window) for window in windows]).mean() for windows in collections]
        print(f"| {str(dtype).removeprefix('torch.')} | {math.exp(torch.stack(means).mean()):.2f} |", flush=True)


if __name__ == "__main__":
    main()
