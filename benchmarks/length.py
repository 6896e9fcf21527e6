"""What an event costs as music goes on: `uv run python -m benchmarks.length [--json FILE]`.

One sequence of 180 s, eight notes a second, in steps of 10 s; refilling the window whenever it hops is part of it.
Prints a Markdown table of milliseconds per event, for the bundled model and for random weights of size small's shape.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from amt.decoding.constraints import Constraints
from amt.decoding.engine import Engine
from amt.decoding.model import load_model
from amt.decoding.request import DecodeRequest
from amt.gpt2.device import find_device, find_dtype
from amt.gpt2.network import GPT2
from amt.midi.notes import TICKS_PER_SECOND
from benchmarks.decode import random_small

SECONDS, STEP_SECONDS = 180, 10
TINY = Path(__file__).parent.parent / "weights/tiny"


def milliseconds_per_event(model: GPT2) -> list[float]:
    """In each ten seconds of a piece."""
    engine = Engine(model)
    sequence = engine.add(DecodeRequest(end_ticks=SECONDS * TICKS_PER_SECOND, constraints=Constraints(density=8)))
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


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--json", type=Path, help="write all figures there")
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
            model = load_model(folder, dtype, device)
            curves[name] = milliseconds_per_event(model)
            print(f"| {name} | {' | '.join(f'{each:.1f}' for each in curves[name])} |", flush=True)
    if args.json:
        args.json.write_text(json.dumps({"step_seconds": STEP_SECONDS, "ms_per_event": curves}, indent=1) + "\n")


if __name__ == "__main__":
    main()
