"""What an event costs as music goes on: `uv run --group evaluation python -m benchmarks.length [--plot FILE]`.

One sequence of 180 s, eight notes a second, in steps of 10 s; refilling the window whenever it hops is part of it.
Prints a Markdown table of milliseconds per event, for the bundled model and for random weights of size small's shape.
"""

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from amt.checkpoint import read_config, read_weights
from amt.engine import Engine
from amt.gpt2 import GPT2
from amt.sequence import Request
from amt.vocab import TICKS_PER_SECOND
from amt.wishes import Wishes
from benchmarks.decode import random_small
from models import find_device, find_dtype

SECONDS, STEP_SECONDS = 180, 10
TINY = Path(__file__).parent.parent / "weights/tiny"


def milliseconds_per_event(model: GPT2) -> list[float]:
    """In each ten seconds of a piece."""
    engine = Engine(model)
    sequence = engine.add(Request(end_ticks=SECONDS * TICKS_PER_SECOND, wishes=Wishes(density=8)))
    times = np.zeros(SECONDS // STEP_SECONDS)
    counts = np.zeros(len(times))
    while not engine.is_idle:
        before, start = sequence.n_decoded, time.perf_counter()
        engine.step()
        if model.device.type == "cuda":
            torch.cuda.synchronize()
        bucket = min(sequence.current_ticks // (STEP_SECONDS * TICKS_PER_SECOND), len(times) - 1)
        times[bucket] += time.perf_counter() - start
        counts[bucket] += sequence.n_decoded - before
    each: list[float] = (1e3 * times / np.maximum(counts, 1)).tolist()
    return each


def plot(curves: dict[str, list[float]], path: Path) -> None:
    """Milliseconds per event over the length."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 3), layout="constrained")
    axes = figure.subplots()
    for name, times in curves.items():
        axes.plot(np.arange(1, len(times) + 1) * STEP_SECONDS, times, marker="o", markersize=3, label=name)
    axes.set(xlabel="seconds of music so far", ylabel="ms per event", yscale="log")
    axes.legend(frameon=False)
    figure.savefig(path)


def main() -> None:
    """Measure, print and draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--plot", type=Path)
    args = parser.parse_args()
    device = find_device(args.device)
    dtype = find_dtype(args.dtype, device)
    with tempfile.TemporaryDirectory() as temporary:
        folders = {"tiny": TINY, "small's shape": random_small(Path(temporary))}
        curves = {}
        print(f"{device}, {dtype}, {torch.get_num_threads()} threads\n")
        print(f"| ms per event, seconds of music | {' | '.join(map(str, range(10, SECONDS + 1, STEP_SECONDS)))} |")
        print("|---" * (1 + SECONDS // STEP_SECONDS) + "|")
        for name, folder in folders.items():
            model = GPT2(read_config(folder), read_weights(folder), dtype, device)
            curves[name] = milliseconds_per_event(model)
            print(f"| {name} | {' | '.join(f'{each:.1f}' for each in curves[name])} |", flush=True)
    if args.plot:
        plot(curves, args.plot)


if __name__ == "__main__":
    main()
