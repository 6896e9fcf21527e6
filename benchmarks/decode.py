"""The decoder against two yardsticks, on the same weights and in the same run.

    uv run python -m benchmarks.decode [--model FOLDER] [--device cuda] [--corpus FOLDER] [--json FILE]

The plain loop is the reference's: the whole context forwarded for each of an event's three tokens. The cached loop is
what transformers offers: keys and values kept, but one sequence, the whole output matrix and a full sort. Both compute
in the device's usual precision: float32 on a CPU. Without a folder the model has random weights of size small's shape.
Checks first that the decoder chooses what the plain loop would, then prints a Markdown table of all precisions that
the device has: events a second, milliseconds per event, how many times faster that is, and what share of the speed at
which memory was read in this run. With a corpus it has the held-out perplexity of tiny in each precision too.
"""

import argparse
import json
import platform
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import DynamicCache, GPT2Config, GPT2LMHeadModel

from amt.decoding.engine import Engine
from amt.decoding.model import build_model, load_config
from amt.decoding.request import DecodeRequest, in_every_slot
from amt.decoding.window import HOP_EVENTS, MAX_HISTORY_EVENTS
from amt.gpt2.checkpoint import read_weights
from amt.gpt2.device import find_device, find_dtype
from amt.gpt2.linear import HAS_INT8_KERNEL, arithmetic_dtype
from amt.gpt2.network import GPT2
from amt.gpt2.sampling_params import SamplingParams
from amt.midi.notes import Note
from amt.tokens import events as ev
from amt.tokens.vocab import AUTOREGRESS, EVENT_TOKENS, ONSET, SLOTS, VOCAB_SIZE, Slot
from benchmarks.bandwidth import bytes_per_second, step_bytes
from benchmarks.precision import perplexities

PIECE_EVENTS = 164
"""20 s of music, as our tiny model and others make it."""

MEAN_STEP_TICKS = 12

PARITY_EVENTS = 10


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
    return ev.from_notes(Note(MEAN_STEP_TICKS * i, 20, int(rng.integers(40, 80)), i % 4) for i in range(n_events))


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
        engine.add(DecodeRequest(end_ticks=10**9, start_ticks=start, prompt=prompt, seed=row))
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


def largest_gap(fast: GPT2, slow: GPT2LMHeadModel) -> float:
    """By how much the plain loop likes its own favourite more than any token that the decoder chose; in logits.

    Of ten events of two rows, greedy, which go on from prompts of different lengths: 0, but for rounding.
    """
    engine = Engine(fast)
    prompts = history(50), history(7)
    greedy = in_every_slot(SamplingParams(temperature=0.0))
    sequences = [
        engine.add(DecodeRequest(10**9, start_ticks=int(prompt[-1, 0]), prompt=prompt, sampling=greedy))
        for prompt in prompts
    ]
    step(engine, PARITY_EVENTS)
    gap = 0.0
    for prompt, sequence in zip(prompts, sequences, strict=True):
        tokens = [AUTOREGRESS, *prompt.reshape(-1).tolist(), *np.reshape(sequence.decoded, -1).tolist()]
        with torch.inference_mode():
            logits = slow(torch.tensor([tokens], device=slow.device)).logits[0].float()
        now = int(prompt[-1, 0])
        for index in range(1 + prompt.size, len(tokens)):
            slot = SLOTS[(index - 1) % EVENT_TOKENS]
            legal = slice(now, slot.slice.stop) if slot is ONSET else slot.slice
            gap = max(gap, float(logits[index - 1, legal].max() - logits[index - 1, tokens[index]]))
            now = tokens[index] if slot is ONSET else now
    return gap


def precisions(device: torch.device) -> list[torch.dtype]:
    """Those that the device has, the exact one first."""
    if device.type != "cpu":
        return [torch.float32, torch.bfloat16]
    return [torch.float32, torch.bfloat16, torch.float16, *([torch.int8] if HAS_INT8_KERNEL else [])]


def measure(model: GPT2, dtype: torch.dtype, n_rows: int, bandwidth: float) -> dict[str, Any]:
    """So many rows of a piece from nothing, and past a full window."""
    begin, past = begun(model, n_rows, 0), begun(model, n_rows, MAX_HISTORY_EVENTS)
    step(past, 1)
    whole = milliseconds(partial(step, begin, PIECE_EVENTS), model.device)
    least = 1e3 * step_bytes(model, dtype, n_rows, EVENT_TOKENS * PIECE_EVENTS / 2) / bandwidth
    return {
        "precision": str(dtype).removeprefix("torch."),
        "rows": n_rows,
        "events_per_second": 1e3 * n_rows * PIECE_EVENTS / whole,
        "ms_per_event": whole / n_rows / PIECE_EVENTS,
        "ms_per_event_past_a_window": milliseconds(partial(step, past, HOP_EVENTS), model.device) / n_rows / HOP_EVENTS,
        "share_of_bandwidth": least * PIECE_EVENTS / whole,
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--rows", type=int, nargs="+", default=[1, 5, 16])
    parser.add_argument("--corpus", type=Path, help="for the perplexities: see training")
    parser.add_argument("--windows", type=int, default=24, help="of each collection, for the perplexities")
    parser.add_argument("--json", type=Path, help="write all figures there")
    args = parser.parse_args()
    device = find_device(args.device)
    quality = perplexities(args.corpus, args.windows, precisions(device), device) if args.corpus else {}
    with tempfile.TemporaryDirectory() as temporary:
        folder = args.model or random_small(Path(temporary))
        config, weights = load_config(folder), read_weights(folder)
        dtype = arithmetic_dtype(find_dtype("auto", device), device)
        slow = GPT2LMHeadModel.from_pretrained(folder, dtype=dtype).eval().to(device)
    bandwidth = bytes_per_second(device)
    run: dict[str, Any] = {
        "model": args.model.name if args.model else "random weights of small's shape",
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "bytes_per_second": bandwidth,
    }
    print(", ".join(f"{name} {value}" for name, value in run.items()), flush=True)
    plain_event(slow, context(1))
    run["plain_ms"] = plain_piece(slow)
    run["plain_ms_past_a_window"] = milliseconds(lambda: plain_event(slow, context(MAX_HISTORY_EVENTS)), device)
    run["cached_ms"] = milliseconds(lambda: cached_events(slow, PIECE_EVENTS), device) / PIECE_EVENTS
    print(
        f"\nplain loop: {run['plain_ms']:.0f} ms an event, {run['plain_ms_past_a_window']:.0f} past a full window; ",
        end="",
    )
    print(f"cached loop: {run['cached_ms']:.1f}\n")
    print("| precision | rows | events/s | ms/event | plain loop | cached loop | past a window, ms | plain loop | "
          "of bandwidth | perplexity of tiny |\n" + "|---" * 10 + "|")  # fmt: skip
    run["ours"], facts = [], []
    for dtype in precisions(device):
        fast = build_model(config, weights, dtype, device)
        gap = largest_gap(fast, slow)
        step(begun(fast, 1, 0), 1)
        first = milliseconds(lambda fast=fast: step(begun(fast, 1, 0), 1), device)  # type: ignore[misc]
        facts.append(f"{str(dtype).removeprefix('torch.')}: first event {first:.0f} ms, parity within {gap:.3f} logits")
        for n_rows in args.rows:
            each = measure(fast, dtype, n_rows, bandwidth) | {"first_event_ms": first, "largest_gap": gap}
            each["perplexity_of_tiny"] = quality.get(dtype)
            run["ours"].append(each)
            print(row(each, run), flush=True)
    print("\n" + "\n".join(facts))
    if args.json:
        args.json.write_text(json.dumps(run, indent=1) + "\n")


def row(each: dict[str, Any], run: dict[str, Any]) -> str:
    """One of the table."""
    past, quality = each["ms_per_event_past_a_window"], each["perplexity_of_tiny"]
    cells = [
        each["precision"],
        each["rows"],
        f"{each['events_per_second']:.0f}",
        f"{each['ms_per_event']:.1f}",
        f"{run['plain_ms'] / each['ms_per_event']:.0f} times",
        f"{run['cached_ms'] / each['ms_per_event']:.1f} times",
        f"{past:.1f}",
        f"{run['plain_ms_past_a_window'] / past:.0f} times",
        f"{each['share_of_bandwidth']:.0%}",
        f"{quality:.1f}" if quality else "",
    ]
    return f"| {' | '.join(map(str, cells))} |"


if __name__ == "__main__":
    main()
