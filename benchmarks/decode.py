"""Measure the decoder against two yardsticks, on the same weights and in the same run.

    uv run python -m benchmarks.decode [--model FOLDER | --shape medium] [--device cuda] [--corpus FOLDER] [--json FILE]

The plain loop is the reference's: the whole context forwarded for each of an event's three tokens. The cached loop is
what transformers offers: keys and values kept, but one sequence, the whole output matrix and a full sort. Both compute
in the device's usual precision: float32 on a CPU. Without a folder the model has random weights of a size's shape.
Checks that the decoder chooses what the plain loop would, then prints a Markdown table of all precisions that the
device has: events a second, milliseconds per event, how many times faster that is, and the share of the speed at which
memory was read in this run. With a corpus it has the held-out perplexity of tiny in each precision too. With `--peers`
it prints what llama.cpp and CTranslate2 take, too: see `benchmarks.peers`.
"""

import argparse
import json
import platform
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import torch
from transformers import GPT2LMHeadModel

from amt.decoding.model import build_model, load_config
from amt.decoding.window import HOP_EVENTS, MAX_HISTORY_EVENTS
from amt.gpt2.checkpoint import read_weights
from amt.gpt2.device import find_device, find_dtype
from amt.gpt2.linear import arithmetic_dtype
from amt.gpt2.network import GPT2
from amt.tokens.vocab import EVENT_TOKENS
from benchmarks.bandwidth import bytes_per_second, step_bytes
from benchmarks.begun import Begun
from benchmarks.checkpoints import SHAPES, random_checkpoint
from benchmarks.markdown import table
from benchmarks.precision import held_out, name_of, perplexities
from benchmarks.timing import milliseconds
from benchmarks.yardsticks import cached_events, context, largest_gap, plain_event, plain_piece

PIECE_EVENTS = 164
"""20 s of music, as the bundled model and others make it."""

ROWS = (1, 5, 16)

HEADER = (
    "precision", "rows", "events/s", "ms/event", "plain loop", "cached loop", "past a window, ms", "plain loop",
    "of bandwidth", "perplexity of tiny",
)  # fmt: skip


@dataclass(frozen=True)
class Row:
    """Hold the figures of the decoder for one precision and number of rows."""

    precision: str
    rows: int
    events_per_second: float
    ms_per_event: float
    ms_per_event_past_a_window: float
    share_of_bandwidth: float
    first_event_ms: float
    largest_gap: float
    perplexity_of_tiny: float | None


@dataclass(frozen=True)
class Figures:
    """Hold the figures of one run: of the yardsticks, and of the decoder."""

    model: str
    device: str
    threads: int
    torch: str
    bytes_per_second: float
    plain_ms: float
    plain_ms_past_a_window: float
    cached_ms: float
    ours: list[Row]


def precisions(device: torch.device) -> list[torch.dtype]:
    """Return those that the device has, the exact one first."""
    if device.type != "cpu":
        return [torch.float32, torch.bfloat16]
    return [torch.float32, torch.bfloat16, torch.float16, torch.int8, torch.int4]


def measure_rows(model: GPT2, dtype: torch.dtype, n_rows: int, bandwidth: float, n_events: int) -> dict[str, float]:
    """Measure `n_rows` of a piece from nothing, and past a full window."""
    begin = Begun.of(model, n_rows, 0)
    begin.decode(1)  # a step of so many rows may have to be recorded, and its kernels compiled
    whole = milliseconds(partial(begin.decode, n_events - 1), model.device) * n_events / (n_events - 1)
    del begin  # whose cache may take a third of a device's memory
    past = Begun.of(model, n_rows, MAX_HISTORY_EVENTS)
    past.decode(1)
    hop = milliseconds(partial(past.decode, HOP_EVENTS), model.device)
    least = 1e3 * step_bytes(model, dtype, n_rows, EVENT_TOKENS * n_events / 2) / bandwidth
    return {
        "events_per_second": 1e3 * n_rows * n_events / whole,
        "ms_per_event": whole / n_rows / n_events,
        "ms_per_event_past_a_window": hop / n_rows / HOP_EVENTS,
        "share_of_bandwidth": least * n_events / whole,
    }


def measure_precision(
    fast: GPT2, dtype: torch.dtype, rows: Sequence[int], bandwidth: float, n_events: int, gap: float
) -> list[Row]:
    """Measure the decoder in one precision; `gap` is how far its choices are from those of the plain loop."""
    Begun.of(fast, 1, 0).decode(1)
    begin = Begun.of(fast, 1, 0)
    first = milliseconds(partial(begin.decode, 1), fast.device)
    return [
        Row(
            precision=name_of(dtype),
            rows=n_rows,
            first_event_ms=first,
            largest_gap=gap,
            perplexity_of_tiny=None,
            **measure_rows(fast, dtype, n_rows, bandwidth, n_events),
        )
        for n_rows in rows
    ]


def measure(
    folder: Path,
    name: str,
    device: torch.device,
    dtypes: Sequence[torch.dtype],
    rows: Sequence[int] = ROWS,
    n_events: int = PIECE_EVENTS,
) -> Figures:
    """Measure a checkpoint, called `name` in the figures, in these precisions and numbers of rows."""
    config, weights = load_config(folder), read_weights(folder)
    dtype = arithmetic_dtype(find_dtype("auto", device), device)
    exact = GPT2LMHeadModel.from_pretrained(folder, dtype=torch.float32).eval().to(device)
    gaps = {each: largest_gap(build_model(config, weights, each, device), exact) for each in dtypes}
    slow = exact.to(dtype)
    bandwidth = bytes_per_second(device)
    plain_event(slow, context(1))
    plain_ms = plain_piece(slow, n_events)
    plain_ms_past_a_window = milliseconds(lambda: plain_event(slow, context(MAX_HISTORY_EVENTS)), device)
    cached_ms = milliseconds(lambda: cached_events(slow, n_events), device) / n_events
    ours: list[Row] = []
    for dtype in dtypes:
        fast = build_model(config, weights, dtype, device)
        ours += measure_precision(fast, dtype, rows, bandwidth, n_events, gaps[dtype])
    return Figures(
        model=name,
        device=torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine(),
        threads=torch.get_num_threads(),
        torch=torch.__version__,
        bytes_per_second=bandwidth,
        plain_ms=plain_ms,
        plain_ms_past_a_window=plain_ms_past_a_window,
        cached_ms=cached_ms,
        ours=ours,
    )


def with_perplexities(figures: Figures, found: Mapping[str, float]) -> Figures:
    """Return the figures with the perplexity of tiny, by the name of the precision."""
    rows = [Row(**asdict(row) | {"perplexity_of_tiny": found.get(row.precision)}) for row in figures.ours]
    return Figures(**vars(figures) | {"ours": rows})


def markdown(figures: Figures) -> str:
    """Return the table of the decoder, and facts about each precision below it."""
    facts = [
        f"{row.precision}: first event {row.first_event_ms:.0f} ms, parity within {row.largest_gap:.3f} logits"
        for row in figures.ours
        if row.rows == figures.ours[0].rows
    ]
    return "\n".join([table(HEADER, (_cells(row, figures) for row in figures.ours)), "", *facts])


def _cells(row: Row, figures: Figures) -> list[object]:
    past, quality = row.ms_per_event_past_a_window, row.perplexity_of_tiny
    return [
        row.precision,
        row.rows,
        f"{row.events_per_second:.0f}",
        f"{row.ms_per_event:.1f}",
        f"{figures.plain_ms / row.ms_per_event:.0f} times",
        f"{figures.cached_ms / row.ms_per_event:.1f} times",
        f"{past:.1f}",
        f"{figures.plain_ms_past_a_window / past:.0f} times",
        f"{row.share_of_bandwidth:.0%}",
        f"{quality:.1f}" if quality else "",
    ]


def measured_peers(folder: Path, rows: Sequence[int], n_events: int) -> str:
    """Return the table of what others take for the same checkpoint."""
    from benchmarks import peers  # whose packages are in a dependency group of their own

    return peers.markdown(list(peers.measure(folder, rows, n_events)))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--shape", choices=SHAPES, default="small", help="of random weights")
    parser.add_argument("--events", type=int, default=PIECE_EVENTS, help="of the piece that is timed")
    parser.add_argument("--device", default="auto")
    names = [name_of(each) for each in precisions(torch.device("cpu"))]
    parser.add_argument("--precision", action="append", choices=names, help="of those the device has; repeat it")
    parser.add_argument("--rows", type=int, nargs="+", default=ROWS)
    parser.add_argument("--corpus", type=Path, help="for the perplexities: see training")
    parser.add_argument("--windows", type=int, default=24, help="of each collection, for the perplexities")
    parser.add_argument("--json", type=Path, help="write all figures there")
    parser.add_argument("--peers", action="store_true", help="measure llama.cpp and CTranslate2, too")
    args = parser.parse_args()
    if args.events < 2:
        parser.error("the first event is not timed: ask for two or more")
    device = find_device(args.device)
    dtypes = [each for each in precisions(device) if not args.precision or name_of(each) in args.precision]
    found = perplexities(held_out(args.corpus), args.windows, dtypes, device) if args.corpus else {}
    with tempfile.TemporaryDirectory() as temporary:
        folder = args.model or random_checkpoint(Path(temporary), SHAPES[args.shape])
        name = args.model.name if args.model else f"random weights of {args.shape}'s shape"
        figures = with_perplexities(measure(folder, name, device, dtypes, args.rows, args.events), found)
        beside = measured_peers(folder, args.rows, args.events) if args.peers else ""
    for key in ("model", "device", "threads", "torch", "bytes_per_second"):
        print(f"{key} {getattr(figures, key)}")
    print(
        f"\nplain loop: {figures.plain_ms:.0f} ms an event, {figures.plain_ms_past_a_window:.0f} past a full window; "
        f"cached loop: {figures.cached_ms:.1f}\n\n{markdown(figures)}"
    )
    if beside:
        print(f"\n{beside}")
    if args.json:
        args.json.write_text(json.dumps(asdict(figures), indent=1) + "\n")


if __name__ == "__main__":
    main()
