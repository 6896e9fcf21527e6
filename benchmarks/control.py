"""Measure what constraints cost: `uv run python -m benchmarks.control [--device cuda]`.

Median milliseconds per step without any and with all of them, step by step in turns, for the bundled model and for
random weights of size small's shape. Prints a Markdown table.
"""

import argparse
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import torch

from amt.decoding.constraints import NO_CONSTRAINTS, Constraints
from amt.decoding.engine import Engine
from amt.decoding.model import load_model
from amt.decoding.request import DecodeRequest, in_every_slot
from amt.gpt2.device import find_device, find_dtype
from amt.gpt2.network import GPT2
from amt.gpt2.sampling_params import SamplingParams
from benchmarks.checkpoints import TINY, random_small
from benchmarks.markdown import table
from benchmarks.timing import milliseconds

STEPS = 200
ROWS = (1, 16)

ALL_CONSTRAINTS = Constraints(
    groups=(frozenset({0}), frozenset({32, 33}), frozenset(range(40, 48)), frozenset({128})),
    excluded=frozenset({43}),
    balance=1.0,
    pitch_range=(36, 90),
    pitch_ranges={32: (28, 55)},
    max_polyphony=8,
    density=8,
)


@dataclass(frozen=True)
class Row:
    """Hold the medians of one model and number of rows."""

    model: str
    rows: int
    ms_without: float
    ms_with_all: float


def begun(model: GPT2, n_rows: int, sampling: SamplingParams, constraints: Constraints) -> Engine:
    """Return an engine with `n_rows` sequences, a few events in."""
    engine = Engine(model)
    for row in range(n_rows):
        engine.add(DecodeRequest(end_ticks=10**9, sampling=in_every_slot(sampling), constraints=constraints, seed=row))
    for _ in range(5):
        engine.step()
    return engine


def measure(
    folders: Mapping[str, Path], dtype: torch.dtype, device: torch.device, rows: Sequence[int], n_steps: int = STEPS
) -> list[Row]:
    """Measure each model with each number of rows."""
    found = []
    for name, folder in folders.items():
        model = load_model(folder, dtype, device)
        for n_rows in rows:
            free = begun(model, n_rows, SamplingParams(), NO_CONSTRAINTS)
            bound = begun(model, n_rows, SamplingParams(0.9, 0.97, 200, 0.001), ALL_CONSTRAINTS)
            times = [(milliseconds(free.step, device), milliseconds(bound.step, device)) for _ in range(n_steps)]
            found.append(Row(name, n_rows, *map(median, zip(*times, strict=True))))
    return found


def markdown(rows: Sequence[Row]) -> str:
    """Return the table."""
    return table(
        ("model, rows", "ms per step without constraints", "with all", "ratio"),
        (
            (f"{row.model}, {row.rows}", f"{row.ms_without:.2f}", f"{row.ms_with_all:.2f}", f"{_ratio(row):.3f}")
            for row in rows
        ),
    )


def _ratio(row: Row) -> float:
    return row.ms_with_all / row.ms_without


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--rows", type=int, nargs="+", default=ROWS)
    args = parser.parse_args()
    device = find_device(args.device)
    dtype = find_dtype(args.dtype, device)
    print(f"{device}, {dtype}, {torch.get_num_threads()} threads\n")
    with tempfile.TemporaryDirectory() as temporary:
        folders = {"tiny": TINY, "small's shape": random_small(Path(temporary))}
        print(markdown(measure(folders, dtype, device, args.rows)))


if __name__ == "__main__":
    main()
