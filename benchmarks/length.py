"""Measure what an event costs as music goes on: `uv run python -m benchmarks.length [--json FILE]`.

One sequence of 180 s, eight notes a second, in steps of 10 s; refilling the window whenever it hops is part of it.
Prints a Markdown table of milliseconds per event, for the bundled model and for random weights of size small's shape.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
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
from benchmarks.checkpoints import TINY, random_small
from benchmarks.markdown import table

SECONDS, STEP_SECONDS = 180, 10


@dataclass(frozen=True)
class Figures:
    """Hold milliseconds per event in each step of a piece, by model."""

    step_seconds: int
    ms_per_event: dict[str, list[float]]


def milliseconds_per_event(model: GPT2, seconds: int) -> list[float]:
    """Measure each step of a piece of this length."""
    engine = Engine(model)
    sequence = engine.add(DecodeRequest(end_ticks=seconds * TICKS_PER_SECOND, constraints=Constraints(density=8)))
    times = np.zeros(seconds // STEP_SECONDS)
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


def measure(folders: Mapping[str, Path], dtype: torch.dtype, device: torch.device, seconds: int = SECONDS) -> Figures:
    """Measure each model."""
    curves = {
        name: milliseconds_per_event(load_model(folder, dtype, device), seconds) for name, folder in folders.items()
    }
    return Figures(STEP_SECONDS, curves)


def markdown(figures: Figures) -> str:
    """Return the table."""
    n_steps = max(map(len, figures.ms_per_event.values()))
    return table(
        ["ms per event, seconds of music", *(figures.step_seconds * (1 + step) for step in range(n_steps))],
        ([name, *(f"{each:.1f}" for each in times)] for name, times in figures.ms_per_event.items()),
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--json", type=Path, help="write all figures there")
    args = parser.parse_args()
    device = find_device(args.device)
    dtype = find_dtype(args.dtype, device)
    print(f"{device}, {dtype}, {torch.get_num_threads()} threads\n")
    with tempfile.TemporaryDirectory() as temporary:
        figures = measure({"tiny": TINY, "small's shape": random_small(Path(temporary))}, dtype, device)
    print(markdown(figures))
    if args.json:
        args.json.write_text(json.dumps(asdict(figures), indent=1) + "\n")


if __name__ == "__main__":
    main()
