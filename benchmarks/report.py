"""Measure everything, and write docs/performance.md: `uv run --group evaluation python -m benchmarks.report`.

Takes less than half an hour on two cores; leave them to it. The group adds matplotlib, which draws the picture; without
it the page has none. Held-out perplexities need the training corpus, a folder or an archive, else the page says so.
`--quick` only shows that everything runs: its figures mean nothing, so it must be told another place to write to.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from importlib.util import find_spec
from itertools import groupby
from pathlib import Path

import torch

from amt.decoding.model import load_model
from amt.gpt2.device import find_device, find_dtype
from amt.tokens.vocab import CONTEXT_TOKENS
from benchmarks import (
    control,
    decode,
    embeds,
    environment,
    faults,
    harmony,
    length,
    page,
    precision,
    service,
    soak,
    steering,
    throughput,
)
from benchmarks.checkpoints import TINY, random_small
from benchmarks.held_out import CORPUS, held_out_folder
from benchmarks.running import PROJECT
from benchmarks.steering_settings import SETTINGS
from training.corpus import Piece, load

PAGE = PROJECT / "docs/performance.md"
RESULTS = PROJECT / "benchmarks/results"
CPU_DTYPES = (torch.float32, torch.float16, torch.int8)
GOLDEN_MIDI = PROJECT / "tests/data/golden/midi"


@dataclass(frozen=True)
class Sizes:
    """Say how much is measured; the defaults take less than half an hour on two cores."""

    with_small: bool = True
    service_starts: int = 3
    service_repeats: int = 5
    service_long_seconds: float = 120
    load: throughput.Load = field(default_factory=throughput.Load)
    decode_rows: tuple[int, ...] = decode.ROWS
    decode_events: int = decode.PIECE_EVENTS
    length_seconds: int = length.SECONDS
    windows: int = 4
    hops: int = 4
    control_rows: tuple[int, ...] = control.ROWS
    control_steps: int = 100
    steering_seeds: int = 12
    steering_seconds: int | None = None
    harmony_pieces: int = 24
    embed_files: int = 60
    fault_requests: int = 200
    fault_clients: int = 16
    fault_kills: int = 2
    soak_minutes: float = 2
    soak_samples: int = 4
    soak_clients: int = 16


QUICK = Sizes(
    with_small=False,
    service_starts=1,
    service_repeats=1,
    service_long_seconds=5,
    load=throughput.Load(seconds=1, at_a_time=3, repeats=2, long_seconds=10),
    decode_rows=(1, 2),
    decode_events=10,
    length_seconds=20,
    windows=1,
    hops=1,
    control_rows=(1,),
    control_steps=5,
    steering_seeds=1,
    steering_seconds=2,
    harmony_pieces=2,
    embed_files=4,
    fault_requests=16,
    fault_clients=4,
    fault_kills=1,
    soak_minutes=0.05,
    soak_samples=2,
    soak_clients=2,
)


class Report:
    """Measure one section after another.

    Attributes:
        problems: what went wrong where nothing may, in words.
    """

    def __init__(self, sizes: Sizes, device: torch.device, small: Path | None) -> None:
        """`small`: the folder of a model of small's shape, if it takes part."""
        self.problems: list[str] = []
        self._sizes, self._device = sizes, device
        self._dtype = find_dtype("auto", device)
        self._small = small
        self._folders = {"tiny": TINY} | ({"small's shape": small} if small else {})

    def sections(self, corpus: Path | None, results: Path, out: Path) -> Iterator[str]:
        """Yield the texts of all sections, each as soon as it is measured.

        Args:
            corpus: a folder of held-out music, if there is one.
            results: where JSON and the picture go.
            out: where the page will be: links are relative to it.
        """
        sizes, device = self._sizes, str(self._device)
        yield page.of_service(
            service.measure(
                device, sizes.service_repeats, sizes.service_starts, long_seconds=sizes.service_long_seconds
            )
        )
        yield page.of_throughput(throughput.measure(device, sizes.load, self._small), sizes.load)
        pieces = precision.by_collection(load(corpus, corpus.with_suffix(".npz"))) if corpus else []
        found = precision.perplexities(pieces, sizes.windows, self._dtypes(), self._device) if pieces else {}
        decoded = decode.with_perplexities(self._decode(), found)
        yield page.of_decoder(decoded)
        lengths = length.measure(self._folders, self._dtype, self._device, sizes.length_seconds)
        picture = write_results(decoded, lengths, results)
        yield page.of_length(lengths, os.path.relpath(picture, out.parent) if picture else None)
        yield self._precision(pieces, found)
        yield self._control()
        yield self._steering()
        yield self._harmony(corpus)
        yield page.of_embeds(embeds.measure(corpus or GOLDEN_MIDI, device, sizes.embed_files, 30, at_once=32))
        yield self._memory()
        yield self._faults()
        samples = soak.measure(sizes.soak_minutes, sizes.soak_clients, sizes.soak_samples)
        yield page.of_soak(samples, sizes.soak_clients)

    def _dtypes(self) -> list[torch.dtype]:
        """Return the precisions to compare: on a CPU bfloat16 is computed as float16, and need not be measured."""
        if not self._small:
            return [self._dtype]
        return [each for each in decode.precisions(self._device) if each in (*CPU_DTYPES, self._dtype)]

    def _decode(self) -> decode.Figures:
        name, folder = list(self._folders.items())[-1]
        name = f"random weights of {name}" if self._small else name
        return decode.measure(
            folder, name, self._device, self._dtypes(), self._sizes.decode_rows, self._sizes.decode_events
        )

    def _precision(self, pieces: Sequence[Sequence[Piece]], found: Mapping[str, float]) -> str:
        if not pieces:
            return page.WITHOUT_CORPUS
        windows = precision.measure_windows(pieces, self._sizes.hops, torch.float32, self._device)
        return page.of_precision(found, windows, self._sizes.windows)

    def _control(self) -> str:
        rows, n_steps = self._sizes.control_rows, self._sizes.control_steps
        return page.of_control(control.measure(self._folders, self._dtype, self._device, rows, n_steps))

    def _steering(self) -> str:
        sizes = self._sizes
        bench = steering.Bench(load_model(TINY, self._dtype, self._device), sizes.steering_seeds)
        settings = (replace(each, seconds=sizes.steering_seconds or each.seconds) for each in SETTINGS)
        rows = bench.rows(settings)
        groups = [list(group) for _, group in groupby(rows, key=lambda row: row.setting.group)]
        return page.of_steering(groups, sizes.steering_seeds)

    def _harmony(self, corpus: Path | None) -> str:
        if not corpus:
            return page.WITHOUT_HARMONY
        model, n_pieces = load_model(TINY, self._dtype, self._device), self._sizes.harmony_pieces
        return page.of_harmony(list(harmony.measure(model, corpus, n_pieces)), n_pieces)

    def _memory(self) -> str:
        model = load_model(TINY, self._dtype, self._device)
        n_blocks, width = page.CACHE_SHAPES["tiny"]
        return page.of_memory(
            model.row_bytes // (2 * n_blocks * width * CONTEXT_TOKENS), precision.name_of(self._dtype)
        )

    def _faults(self) -> str:
        sizes = self._sizes
        figures = faults.measure(sizes.fault_requests, sizes.fault_clients, sizes.fault_kills, self._small)
        self.problems += figures.problems
        return page.of_faults(figures, sizes.fault_clients)


def write_results(decoded: decode.Figures, lengths: length.Figures, folder: Path) -> Path | None:
    """Write both as JSON, and if matplotlib is there the picture of them; return its path."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, figures in (("decode", asdict(decoded)), ("length", asdict(lengths))):
        (folder / f"{name}.json").write_text(json.dumps(figures, indent=1) + "\n")
    if not find_spec("matplotlib"):
        print("no picture: matplotlib is in the group `evaluation`", file=sys.stderr)
        return None
    from benchmarks import plot

    plot.draw(asdict(decoded), asdict(lengths), folder / "speed.png")
    return folder / "speed.png"


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=PAGE, help="the page to write")
    parser.add_argument("--results", type=Path, default=RESULTS, help="the folder for JSON and the picture")
    parser.add_argument("--corpus", type=Path, default=CORPUS, help="folder or archive: collections of MIDI files")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--quick", action="store_true", help="show that everything runs, in about a minute")
    args = parser.parse_args(arguments)
    if args.quick and (args.out == PAGE or args.results == RESULTS):
        parser.error("--quick measures nothing of use: give --out and --results, so that nothing is overwritten")
    return args


def main() -> None:
    """Measure, print each section as it is known, and write the page."""
    args = parse_arguments()
    start = time.perf_counter()
    device = find_device(args.device)
    facts = environment.facts(device)  # now, for results that are written change what git says
    with tempfile.TemporaryDirectory() as temporary, held_out_folder(args.corpus) as corpus:
        sizes = QUICK if args.quick else Sizes()
        small = random_small(Path(temporary)) if sizes.with_small else None
        report = Report(sizes, device, small)
        sections = []
        for section in report.sections(corpus, args.results, args.out):
            print(f"{section}\n", flush=True)
            sections.append(section)
    opening = page.opening(facts, (time.perf_counter() - start) / 60)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text("\n\n".join([opening, *sections, page.THREADS]) + "\n")
    if report.problems:
        raise SystemExit("\n".join(report.problems[:10]))


if __name__ == "__main__":
    main()
