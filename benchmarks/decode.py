"""The decoder against the plain loop of the reference, on the same weights and in the same run.

    uv run python -m benchmarks.decode [--model FOLDER] [--device cuda] [--dtype bfloat16]

Without a folder the model has random weights of size small's shape. Prints a Markdown table of milliseconds per event,
the median over a few events at each length of context.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from amt import events as ev
from amt.checkpoint import read_config, read_weights
from amt.engine import Engine
from amt.gpt2 import GPT2
from amt.sequence import MAX_HISTORY_EVENTS, Request
from amt.vocab import AUTOREGRESS, SLOTS, VOCAB_SIZE
from models import find_device, find_dtype


def random_small(folder: Path) -> Path:
    """A checkpoint of size small's shape."""
    config = GPT2Config(vocab_size=VOCAB_SIZE, n_layer=12, n_embd=768, n_head=12, bos_token_id=None, eos_token_id=None)
    torch.manual_seed(0)
    GPT2LMHeadModel(config).save_pretrained(folder)
    return folder


def history(n_events: int) -> ev.Events:
    """A dense prompt, so that windows are full of events and not of time."""
    rng = np.random.default_rng(0)
    return ev.from_notes(ev.Note(10 * i, 20, int(rng.integers(40, 80)), i % 4) for i in range(n_events))


def plain_event(model: GPT2LMHeadModel, tokens: list[int]) -> None:
    """One event as the reference decodes it: the whole context forwarded, all logits, a full sort, three times."""
    for slot in SLOTS:
        with torch.inference_mode():
            logits = model(torch.tensor([tokens], device=model.device)).logits[0, -1].float()
        mask = torch.full_like(logits, -torch.inf)
        mask[slot.slice] = 0
        values, order = (logits + mask).sort(descending=True)
        probabilities = values.softmax(0)
        probabilities[1:][probabilities.cumsum(0)[:-1] > 0.95] = 0
        tokens = [*tokens, int(order[torch.multinomial(probabilities, 1)])]


def milliseconds(action: Callable[[], object], repeats: int, device: torch.device) -> float:
    """The median time of an action, after one that does not count."""
    times = []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        action()
        if device.type == "cuda":
            torch.cuda.synchronize()
        times.append(1e3 * (time.perf_counter() - start))
    return statistics.median(times[1:])


def ours(model: GPT2, n_events: int, n_rows: int, repeats: int) -> float:
    """Milliseconds per event of each row, everything included, hops too."""
    engine = Engine(model)
    events = history(n_events)
    start = int(events[-1, 0]) if n_events else 0
    for row in range(n_rows):
        engine.add(Request(end_ticks=10**9, start_ticks=start, prompt=events, seed=row))
    engine.step()
    return milliseconds(engine.step, repeats, model.device) / n_rows


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--repeats", type=int, default=3, help="events of the plain loop; ours decodes 7 times as many")
    args = parser.parse_args()
    device = find_device(args.device)
    dtype = find_dtype(args.dtype, device)
    with tempfile.TemporaryDirectory() as temporary:
        folder = args.model or random_small(Path(temporary))
        fast = GPT2(read_config(folder), read_weights(folder), dtype, device)
        slow = GPT2LMHeadModel.from_pretrained(folder, dtype=dtype).eval().to(device)
    name = args.model.name if args.model else "random weights of small's shape"
    print(f"{name}, {device}, {dtype}, {torch.get_num_threads()} threads, torch {torch.__version__}\n")
    print(
        "| context | plain loop | ours, 1 row | ratio | ours, 5 rows, each event | ratio |\n|---|---|---|---|---|---|"
    )
    for n_events in (0, 160, MAX_HISTORY_EVENTS - 1):
        tokens = [AUTOREGRESS, *history(n_events).reshape(-1).tolist()]
        plain = milliseconds(lambda tokens=tokens: plain_event(slow, tokens), args.repeats, device)
        one, five = (ours(fast, n_events, n_rows, 7 * args.repeats) for n_rows in (1, 5))
        ratios = f"{one:.1f} ms | {plain / one:.0f} | {five:.1f} ms | {plain / five:.0f}"
        print(f"| {n_events} events | {plain:.0f} ms | {ratios} |", flush=True)


if __name__ == "__main__":
    main()
