"""Check recorded steps against plain ones while rows come and go, and measure what recording takes.

    uv run python -m benchmarks.graphs [--device cuda] [--rows 64] [--json FILE]

Two models decode in turns, so that the recordings of both are alive while their caches grow from one row to many. Ends
with exit status 1 if a step waits for the host, a recording fails, or recorded steps decode other events than plain
ones. On other devices than CUDA nothing is recorded, and the same steps are run plainly.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from amt.decoding import step
from amt.decoding.engine import Engine
from amt.decoding.inputs import InputBuffers
from amt.decoding.model import load_model
from amt.decoding.request import DecodeRequest
from amt.decoding.sequence import Sequence
from amt.gpt2.device import find_device, find_dtype
from amt.gpt2.network import GPT2, rounded_length
from amt.tokens.vocab import EVENT_TOKENS
from benchmarks.checkpoints import SHAPES, TINY, random_checkpoint
from benchmarks.markdown import table
from benchmarks.timing import seconds

EVENTS_PER_ROW = 2


@dataclass(frozen=True)
class Kind:
    """Hold what recording one kind of step took."""

    model: str
    rows: int
    attention_length: int
    is_steered: bool
    seconds: float
    megabytes: float


@dataclass(frozen=True)
class Figures:
    """Hold the findings of one run."""

    waits_for_host: list[str]
    differs: list[str]
    failed: list[str]
    kinds: list[Kind]
    seconds: float


@contextmanager
def _no_waiting(device: torch.device) -> Iterator[None]:
    """Raise RuntimeError wherever the host would wait for the device."""
    if device.type == "cuda":
        torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        if device.type == "cuda":
            torch.cuda.set_sync_debug_mode("default")


@torch.inference_mode()
def waits_for_host(model: GPT2, n_rows: int) -> bool:
    """Tell whether the three passes of a plain step wait for the device."""
    cache, inputs = model.new_cache(), InputBuffers(model.device)
    cache.reserve(n_rows)
    inputs.load([Sequence(DecodeRequest(10**6, seed=row)) for row in range(n_rows)])
    everything = inputs.all(n_rows, is_steered=True)
    lengths, length = everything.cache_lengths, rounded_length(EVENT_TOKENS)
    step.decode(model, cache, everything, lengths, length)  # what is set up at first use may wait
    try:
        with _no_waiting(model.device):
            step.decode(model, cache, everything, lengths, length)
    except RuntimeError as error:
        print(error)
        return True
    return False


def grow(models: dict[str, GPT2], max_rows: int, *, as_graphs: bool) -> tuple[dict[str, Engine], list[Sequence]]:
    """Decode with all models in turns while one row after another joins; return the engines and what was decoded."""
    engines = {name: Engine(model, as_graphs=as_graphs) for name, model in models.items()}
    sequences = []
    for row in range(max_rows):
        for engine in engines.values():
            sequences.append(engine.add(DecodeRequest(10**9, seed=row)))
            for _ in range(EVENTS_PER_ROW):
                engine.step()
    return engines, sequences


def measure(models: dict[str, GPT2], max_rows: int) -> Figures:
    """Check and measure."""
    waits = [name for name, model in models.items() if waits_for_host(model, 4)]
    found: dict[str, Engine] = {}
    recorded: list[Sequence] = []

    def run() -> None:
        engines, sequences = grow(models, max_rows, as_graphs=True)
        found.update(engines)
        recorded.extend(sequences)

    took = seconds(run)
    _, plain = grow(models, max_rows, as_graphs=False)
    names = list(models) * max_rows
    pairs = zip(names, recorded, plain, strict=True)
    differs = [f"{name}, seed {one.request.seed}" for name, one, other in pairs if one.decoded != other.decoded]
    graphs = {name: engine.graphs for name, engine in found.items() if engine.graphs}
    kinds = [
        Kind(name, *kind, recording.seconds, recording.n_bytes / 2**20)
        for name, each in graphs.items()
        for kind, recording in each.recordings.items()
    ]
    return Figures(waits, differs, [name for name, each in graphs.items() if each.has_failed], kinds, took)


def markdown(figures: Figures) -> str:
    """Return a table of the kinds."""
    header = ("model", "rows", "attention length", "seconds", "MB")
    rows = [
        (each.model, each.rows, each.attention_length, f"{each.seconds:.2f}", f"{each.megabytes:.0f}")
        for each in figures.kinds
    ]
    return table(header, rows)


def main() -> None:
    """Check, measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--rows", type=int, default=64)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    device = find_device(args.device)
    # Exact sums: bfloat16's last digits may differ between the two ways, and once in a while a choice with them.
    dtype = torch.float32 if device.type == "cuda" else find_dtype("auto", device)
    with tempfile.TemporaryDirectory() as temporary:
        small = random_checkpoint(Path(temporary), SHAPES["small"])
        models = {"tiny": load_model(TINY, dtype, device), "small": load_model(small, dtype, device)}
    figures = measure(models, args.rows)
    print(markdown(figures))
    print(f"{figures.seconds:.1f} s; waits for the host: {figures.waits_for_host}; failed: {figures.failed}")
    print(f"decoded otherwise than plainly: {figures.differs}")
    if args.json:
        args.json.write_text(json.dumps(asdict(figures), indent=1) + "\n")
    if figures.waits_for_host or figures.failed or figures.differs:
        sys.exit(1)


if __name__ == "__main__":
    main()
