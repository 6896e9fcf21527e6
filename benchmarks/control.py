"""Measure what constraints cost: `uv run python -m benchmarks.control [--device cuda]`.

Median milliseconds per step without any and with them, step by step in turns, for the bundled model and for random
weights of size small's shape: those that allow and weigh instruments, pitches and times, then each that steers alone,
then all. Prints a Markdown table.
"""

import argparse
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import count, islice
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
from amt.midi.notes import TICKS_PER_SECOND
from benchmarks.checkpoints import TINY, TINY_VARIETY, random_small
from benchmarks.markdown import table
from benchmarks.steering_settings import C_MAJOR, POP, Setting
from benchmarks.timing import milliseconds

STEPS = 200
WARM_UP_STEPS = 20
"""Which are not counted: variety has nothing to hold back before some notes have come."""

ROWS = (1, 16)

SECONDS = 120
"""Of the requests: as much as the service decodes, so that its tables are as long."""

LIMITS = Constraints(
    groups=(frozenset({0}), frozenset({32, 33}), frozenset(range(40, 48)), frozenset({128})),
    excluded=frozenset({43}),
    balance=1.0,
    pitch_range=(36, 90),
    pitch_ranges={32: (28, 55)},
    max_polyphony=8,
    density=8,
)
STEERED = Setting(
    "", "", seconds=SECONDS, has_grid=True, key=C_MAJOR, progression=POP, variety=TINY_VARIETY
).constraints

PLAIN = SamplingParams()
TRUNCATED = SamplingParams(0.9, 0.97, 200, 0.001)

KINDS: Mapping[str, tuple[Constraints, SamplingParams]] = {
    "none": (NO_CONSTRAINTS, PLAIN),
    "limits": (LIMITS, TRUNCATED),
    "grid": (Constraints(grid=STEERED.grid), PLAIN),
    "key": (Constraints(key=STEERED.key), PLAIN),
    "chords": (Constraints(chords=STEERED.chords), PLAIN),
    "variety": (Constraints(variety=STEERED.variety), PLAIN),
    "these four": (STEERED, PLAIN),
    "all": (
        replace(LIMITS, grid=STEERED.grid, key=STEERED.key, chords=STEERED.chords, variety=STEERED.variety),
        TRUNCATED,
    ),
}
"""What is measured, by its column; the first is what the others are compared with."""


@dataclass(frozen=True)
class Row:
    """Hold the median milliseconds of a step of one model and number of rows, by kind."""

    model: str
    rows: int
    ms: Mapping[str, float]


class Stepper:
    """Step sequences of one kind, and begin new ones where some have ended."""

    def __init__(self, model: GPT2, n_rows: int, constraints: Constraints, sampling: SamplingParams) -> None:
        self._engine, self._constraints, self._sampling = Engine(model), constraints, in_every_slot(sampling)
        self._seeds = count()
        self._add(n_rows)

    def step(self) -> None:
        """Decode an event of every row."""
        self._add(len(self._engine.step()))

    def _add(self, n_rows: int) -> None:
        for seed in islice(self._seeds, n_rows):
            self._engine.add(
                DecodeRequest(
                    SECONDS * TICKS_PER_SECOND, sampling=self._sampling, constraints=self._constraints, seed=seed
                )
            )


def measure(
    folders: Mapping[str, Path], dtype: torch.dtype, device: torch.device, rows: Sequence[int], n_steps: int = STEPS
) -> list[Row]:
    """Measure each model with each number of rows."""
    found = []
    for name, folder in folders.items():
        model = load_model(folder, dtype, device)
        for n_rows in rows:
            steppers = [Stepper(model, n_rows, *kind) for kind in KINDS.values()]
            times = [
                [milliseconds(stepper.step, device) for stepper in steppers] for _ in range(WARM_UP_STEPS + n_steps)
            ]
            medians = map(median, zip(*times[WARM_UP_STEPS:], strict=True))
            found.append(Row(name, n_rows, dict(zip(KINDS, medians, strict=True))))
    return found


def markdown(rows: Sequence[Row]) -> str:
    """Return the table: milliseconds without constraints, and how many times as long a step takes with each kind."""
    first, *others = KINDS
    return table(
        ("model, rows", "ms per step without constraints", *others),
        (
            (
                f"{row.model}, {row.rows}",
                f"{row.ms[first]:.2f}",
                *(f"{row.ms[kind] / row.ms[first]:.3f}" for kind in others),
            )
            for row in rows
        ),
    )


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
