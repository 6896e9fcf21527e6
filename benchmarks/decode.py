"""The decoder against two yardsticks, on the same weights and in the same run.

    uv run python -m benchmarks.decode [--model FOLDER] [--device cuda] [--dtype float32]

The plain loop is the reference's: the whole context forwarded for each of an event's three tokens. The cached loop is
what transformers offers: keys and values kept, but one sequence, the whole output matrix and a full sort. Both compute
in the device's usual precision: float32 on a CPU. Without a folder the model has random weights of size small's shape.
Prints a Markdown table of milliseconds per event.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from transformers import DynamicCache, GPT2Config, GPT2LMHeadModel

from amt import events as ev
from amt.checkpoint import read_config, read_weights
from amt.engine import Engine
from amt.gpt2 import GPT2
from amt.linear import arithmetic_dtype
from amt.sequence import HOP_EVENTS, MAX_HISTORY_EVENTS, Request
from amt.vocab import AUTOREGRESS, ONSET, SLOTS, VOCAB_SIZE, Slot
from models import find_device, find_dtype

PIECE_EVENTS = 164
"""20 s of music, as our tiny model and others make it."""

MEAN_STEP_TICKS = 12


def random_small(folder: Path) -> Path:
    """A checkpoint of size small's shape; random, but its onsets follow one another about as those of music do."""
    config = GPT2Config(
        vocab_size=VOCAB_SIZE, n_layer=12, n_embd=768, n_head=12, bos_token_id=None, eos_token_id=None,
        tie_word_embeddings=False,
    )  # fmt: skip
    torch.manual_seed(0)
    model = GPT2LMHeadModel(config)
    with torch.no_grad():
        # One hidden dimension is always 1, and by it a later onset is less likely than an earlier one.
        model.transformer.ln_f.weight[0], model.transformer.ln_f.bias[0] = 0, 1
        model.lm_head.weight[ONSET.slice, 0] = -torch.arange(ONSET.size) / MEAN_STEP_TICKS
    model.save_pretrained(folder)
    return folder


def history(n_events: int) -> ev.Events:
    """A dense prompt, so that windows are full of events and not of time."""
    rng = np.random.default_rng(0)
    return ev.from_notes(ev.Note(MEAN_STEP_TICKS * i, 20, int(rng.integers(40, 80)), i % 4) for i in range(n_events))


def context(n_events: int) -> list[int]:
    """That prompt as tokens."""
    return [AUTOREGRESS, *history(n_events).reshape(-1).tolist()]


def sorted_choice(logits: Tensor, slot: Slot) -> int:
    """A token of the slot as both yardsticks draw it: all logits masked and sorted; shape = (vocab_size,)."""
    mask = torch.full_like(logits, -torch.inf)
    mask[slot.slice] = 0
    values, order = (logits + mask).sort(descending=True)
    probabilities = values.softmax(0)
    probabilities[1:][probabilities.cumsum(0)[:-1] > 0.95] = 0
    return int(order[torch.multinomial(probabilities, 1)])


@torch.inference_mode()
def plain_event(model: GPT2LMHeadModel, tokens: list[int]) -> None:
    """One event of the plain loop."""
    for slot in SLOTS:
        logits = model(torch.tensor([tokens], device=model.device), use_cache=False).logits[0, -1].float()
        tokens = [*tokens, sorted_choice(logits, slot)]


@torch.inference_mode()
def cached_events(model: GPT2LMHeadModel, n_events: int) -> None:
    """The first events of a piece in the cached loop."""
    cache, token = DynamicCache(), AUTOREGRESS
    for index in range(3 * n_events):
        tokens = torch.tensor([[token]], device=model.device)
        logits = model(tokens, past_key_values=cache, use_cache=True).logits[0, -1].float()
        token = sorted_choice(logits, SLOTS[index % 3])


def begun(model: GPT2, n_rows: int, n_prompt: int) -> Engine:
    """An engine at the beginning of so many sequences, or if they have a prompt after the first event behind it."""
    engine, prompt = Engine(model), history(n_prompt)
    start = int(prompt[-1, 0]) if n_prompt else 0
    for row in range(n_rows):
        engine.add(Request(end_ticks=10**9, start_ticks=start, prompt=prompt, seed=row))
    if n_prompt:
        engine.step()
    return engine


def step(engine: Engine, n_events: int) -> None:
    """So many events of each sequence."""
    for _ in range(n_events):
        engine.step()


def milliseconds(action: Callable[[], object], device: torch.device) -> float:
    """How long an action takes."""
    start = time.perf_counter()
    action()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return 1e3 * (time.perf_counter() - start)


def plain_piece(model: GPT2LMHeadModel) -> float:
    """Milliseconds per event of a piece in the plain loop: the mean of five lengths, for all would take minutes."""
    lengths = np.linspace(0, PIECE_EVENTS - 1, 5).astype(int).tolist()
    times = [milliseconds(lambda n=n: plain_event(model, context(n)), model.device) for n in lengths]
    return float(np.trapezoid(times, lengths)) / (PIECE_EVENTS - 1)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--rows", type=int, nargs="+", default=[1, 5, 16])
    args = parser.parse_args()
    device = find_device(args.device)
    dtype = find_dtype(args.dtype, device)
    with tempfile.TemporaryDirectory() as temporary:
        folder = args.model or random_small(Path(temporary))
        fast = GPT2(read_config(folder), read_weights(folder), dtype, device)
        slow = GPT2LMHeadModel.from_pretrained(folder, dtype=arithmetic_dtype(dtype, device)).eval().to(device)
    name = args.model.name if args.model else "random weights of small's shape"
    print(f"{name}, {device}, {dtype}, {torch.get_num_threads()} threads, torch {torch.__version__}\n")
    plain_event(slow, context(1))
    step(begun(fast, 1, 0), 1)
    first = milliseconds(lambda: step(begun(fast, 1, 0), 1), device)
    plain = plain_piece(slow)
    cached = milliseconds(lambda: cached_events(slow, PIECE_EVENTS), device) / PIECE_EVENTS
    full = milliseconds(lambda: plain_event(slow, context(MAX_HISTORY_EVENTS)), device)
    print(f"first event: {first:.0f} ms\n")
    print(f"| each event | {PIECE_EVENTS} from nothing | past a full window |\n|---|---|---|")
    print(f"| plain loop | {plain:.0f} ms | {full:.0f} ms |\n| cached loop | {cached:.1f} ms | |", flush=True)
    for n_rows in args.rows:
        piece, past = (
            milliseconds(partial(step, begun(fast, n_rows, n_prompt), n_events), device) / n_rows / n_events
            for n_prompt, n_events in ((0, PIECE_EVENTS), (MAX_HISTORY_EVENTS, HOP_EVENTS))
        )
        ratios = f"{plain / piece:.0f} times the plain loop, {cached / piece:.1f} times the cached one"
        print(
            f"| ours, {n_rows} rows | {piece:.1f} ms: {ratios} | {past:.1f} ms: {full / past:.0f} times |", flush=True
        )


if __name__ == "__main__":
    main()
