"""What constraints cost: `uv run python -m benchmarks.constraints [--device cuda]`.

Median milliseconds per step without any and with all of them, step by step in turns, for the bundled model and for
random weights of size small's shape. Prints a Markdown table.
"""

import argparse
import tempfile
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
from benchmarks.decode import milliseconds, random_small, step

STEPS = 200
TINY = Path(__file__).parent.parent / "weights/tiny"

ALL_WISHES = Constraints(
    groups=(frozenset({0}), frozenset({32, 33}), frozenset(range(40, 48)), frozenset({128})),
    excluded=frozenset({43}),
    balance=1.0,
    pitch_range=(36, 90),
    pitch_ranges={32: (28, 55)},
    max_polyphony=8,
    density=8,
)


def begun(model: GPT2, n_rows: int, sampling: SamplingParams, constraints: Constraints) -> Engine:
    """An engine with so many sequences, a few events in."""
    engine = Engine(model)
    for row in range(n_rows):
        engine.add(DecodeRequest(end_ticks=10**9, sampling=in_every_slot(sampling), constraints=constraints, seed=row))
    step(engine, 5)
    return engine


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--rows", type=int, nargs="+", default=[1, 16])
    args = parser.parse_args()
    device = find_device(args.device)
    dtype = find_dtype(args.dtype, device)
    kinds = {"none": (SamplingParams(), NO_CONSTRAINTS), "all": (SamplingParams(0.9, 0.97, 200, 0.001), ALL_WISHES)}
    print(f"{device}, {dtype}, {torch.get_num_threads()} threads\n")
    print("| model, rows | ms per step without constraints | with all | ratio |\n|---|---|---|---|")
    with tempfile.TemporaryDirectory() as temporary:
        folders = {"tiny": TINY, "small's shape": random_small(Path(temporary))}
        for name, folder in folders.items():
            model = load_model(folder, dtype, device)
            for n_rows in args.rows:
                engines = {kind: begun(model, n_rows, *constraints) for kind, constraints in kinds.items()}
                times: dict[str, list[float]] = {kind: [] for kind in kinds}
                for _ in range(STEPS):
                    for kind, engine in engines.items():
                        times[kind].append(milliseconds(engine.step, device))
                none, wished = median(times["none"]), median(times["all"])
                print(f"| {name}, {n_rows} | {none:.2f} | {wished:.2f} | {wished / none:.3f} |", flush=True)


if __name__ == "__main__":
    main()
