"""Measure, and write docs/performance.md: `uv run python -m benchmarks.report`.

Takes less than an hour on two cores; leave them to it. `--only decoder memory` measures some sections, and leaves the
others of the page as they are: each says of which commit it is. With `--group evaluation` matplotlib draws the
picture, with `--group load` locust loads the service, with `--group audio` it makes sound, with `--group peers` other
engines decode; without these, or Chromium, the page lacks what needs them. Some sections need the training corpus, a
folder or an archive, else they say so.
`--quick` only shows that everything runs: its figures mean nothing, so it must be told another place to write to.
"""

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from functools import cached_property
from importlib.util import find_spec
from itertools import groupby
from pathlib import Path

import torch

from amt.decoding.model import load_model
from amt.gpt2.cache import Cache
from amt.gpt2.cpu.cache import RoundedCache
from amt.gpt2.device import find_device, find_dtype
from amt.gpt2.linear import arithmetic_dtype, is_reproducible
from amt.gpt2.network import GPT2
from amt.tokens.vocab import CONTEXT_TOKENS
from benchmarks import (
    control,
    decode,
    embeds,
    environment,
    faults,
    harmony,
    length,
    load,
    overhead,
    page,
    playground,
    precision,
    rendering,
    sections,
    service,
    soak,
    steering,
    throughput,
    variations,
)
from benchmarks.checkpoints import SHAPES, TINY, TINY_SHAPE, Shape, random_small
from benchmarks.held_out import CORPUS, held_out_folder
from benchmarks.running import PROJECT
from benchmarks.sizes import QUICK, Sizes
from benchmarks.steering_settings import SETTINGS
from training.corpus import Piece
from training.corpus import load as load_pieces

PAGE = PROJECT / "docs/performance.md"
RESULTS = PROJECT / "benchmarks/results"
CPU_DTYPES = (torch.float32, torch.float16, torch.int8, torch.int4)
GOLDEN_MIDI = PROJECT / "tests/data/golden/midi"


class Report:
    """Measure the sections of the page.

    Attributes:
        sections: what measures and writes each, by name, in the page's order.
        problems: what went wrong where nothing may, in words.
    """

    def __init__(
        self, sizes: Sizes, device: torch.device, small: Path | None, corpus: Path | None, results: Path, out: Path
    ) -> None:
        """Take what is measured on what.

        Args:
            sizes: how much.
            device: on which the models are.
            small: the folder of a model of small's shape, if it takes part.
            corpus: a folder of held-out music, if there is one.
            results: where JSON and the picture go.
            out: where the page will be: links are relative to it.
        """
        self.sections: Mapping[str, Callable[[], str]] = {
            "service": self._service,
            "playground": self._playground,
            "rendering": self._rendering,
            "throughput": self._throughput,
            "load": self._load,
            "overhead": self._overhead,
            "decoder": self._decoder,
            "peers": self._peers,
            "precision": self._precision,
            "control": self._control,
            "steering": self._steering,
            "harmony": self._harmony,
            "variations": self._variations,
            "embeds": self._embeds,
            "memory": self._memory,
            "faults": self._faults,
            "soak": self._soak,
        }
        self.problems: list[str] = []
        self._sizes, self._device = sizes, device
        self._dtype = find_dtype("auto", device)
        self._small, self._corpus, self._results, self._out = small, corpus, results, out
        self._folders = {"tiny": TINY} | ({"small's shape": small} if small else {})

    @cached_property
    def _pieces(self) -> Sequence[Sequence[Piece]]:
        corpus = self._corpus
        return precision.by_collection(load_pieces(corpus, corpus.with_suffix(".npz"))) if corpus else []

    @cached_property
    def _perplexities(self) -> Mapping[str, float]:
        """By precision; empty without a corpus."""
        if not self._pieces:
            return {}
        return precision.perplexities(self._pieces, self._sizes.windows, self._dtypes(), self._device)

    @cached_property
    def _tiny(self) -> GPT2:
        return load_model(TINY, self._dtype, self._device)

    def _service(self) -> str:
        sizes, device = self._sizes, str(self._device)
        starts, repeats = sizes.service_starts, sizes.service_repeats
        return page.of_service(
            service.measure(device, repeats, starts, long_seconds=sizes.service_long_seconds),
            environment.disk_megabytes(Path(sys.prefix)),
            environment.cuda_megabytes(Path(sys.prefix)),
        )

    def _playground(self) -> str:
        chromium = find_spec("playwright") and playground.find_chromium()
        if not chromium:
            return page.WITHOUT_BROWSER
        sizes = self._sizes
        return page.of_playground(playground.measure(sizes.page_clicks, sizes.page_seconds, chromium))

    def _rendering(self) -> str:
        if not (find_spec("tinysoundfont") and find_spec("soundfile")):
            return page.WITHOUT_AUDIO
        return page.of_rendering(rendering.measure(self._sizes.service_repeats))

    def _throughput(self) -> str:
        sizes = self._sizes
        return page.of_throughput(throughput.measure(str(self._device), sizes.load, self._small), sizes.load)

    def _load(self) -> str:
        if not find_spec("locust"):
            return page.WITHOUT_LOAD
        users, seconds = self._sizes.users, self._sizes.users_seconds
        return page.of_load([load.measure(*each, seconds) for each in ((1, 1), (users, 1), (users, 2))])

    def _overhead(self) -> str:
        return page.of_overhead(overhead.measure(self._sizes.overhead_requests, self._sizes.users))

    def _decoder(self) -> str:
        decoded = decode.with_perplexities(self._decode(), self._perplexities)
        lengths = length.measure(self._folders, self._dtype, self._device, self._sizes.length_seconds)
        picture = write_results(decoded, lengths, self._results)
        address = os.path.relpath(picture, self._out.parent) if picture else None
        return f"{page.of_decoder(decoded)}\n\n{page.of_length(lengths, address)}"

    def _peers(self) -> str:
        if not (find_spec("llama_cpp") and find_spec("ctranslate2") and self._device.type == "cpu"):
            return page.WITHOUT_PEERS
        from benchmarks import peers  # whose packages are in a dependency group of their own

        name, folder = list(self._folders.items())[-1]
        rows, n_events = self._sizes.decode_rows, self._sizes.peers_events
        engines = [*peers.measure_ours(folder, rows, n_events), *peers.measure(folder, rows, n_events)]
        return page.of_peers(name, n_events, peers.markdown(engines))

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

    def _precision(self) -> str:
        if not self._pieces:
            return page.WITHOUT_CORPUS
        windows = precision.measure_windows(self._pieces, self._sizes.hops, torch.float32, self._device)
        return page.of_precision(self._perplexities, windows, self._sizes.windows)

    def _control(self) -> str:
        rows, n_steps = self._sizes.control_rows, self._sizes.control_steps
        return page.of_control(control.measure(self._folders, self._dtype, self._device, rows, n_steps))

    def _steering(self) -> str:
        sizes = self._sizes
        bench = steering.Bench(self._tiny, sizes.steering_seeds)
        settings = (replace(each, seconds=sizes.steering_seconds or each.seconds) for each in SETTINGS)
        rows = bench.rows(settings)
        groups = [list(group) for _, group in groupby(rows, key=lambda row: row.setting.group)]
        return page.of_steering(groups, sizes.steering_seeds)

    def _harmony(self) -> str:
        if not self._corpus:
            return page.WITHOUT_HARMONY
        n_pieces = self._sizes.harmony_pieces
        return page.of_harmony(list(harmony.measure(self._tiny, self._corpus, n_pieces)), n_pieces)

    def _variations(self) -> str:
        if not self._corpus:
            return page.WITHOUT_VARIATIONS
        found = variations.excerpts(self._corpus, self._sizes.variation_pieces)
        return page.of_variations(variations.measure(self._tiny, found, seed=1), len(found))

    def _embeds(self) -> str:
        corpus, n_files = self._corpus or GOLDEN_MIDI, self._sizes.embed_files
        return page.of_embeds(embeds.measure(corpus, str(self._device), n_files, 30, at_once=32))

    def _memory(self) -> str:
        rows = [
            (size, *(row_bytes(shape, dtype, self._device) for dtype in (self._dtype, torch.float32)))
            for size, shape in {"tiny": TINY_SHAPE, **SHAPES}.items()
        ]
        return page.of_memory(rows, precision.name_of(self._dtype))

    def _faults(self) -> str:
        sizes = self._sizes
        figures = faults.measure(sizes.fault_requests, sizes.fault_clients, sizes.fault_kills, self._small)
        self.problems += figures.problems
        return page.of_faults(figures, sizes.fault_clients)

    def _soak(self) -> str:
        sizes = self._sizes
        return page.of_soak(
            soak.measure(sizes.soak_minutes, sizes.soak_clients, sizes.soak_samples), sizes.soak_clients
        )


def row_bytes(shape: Shape, dtype: torch.dtype, device: torch.device) -> int:
    """Return how much memory the keys and values of a sequence take."""
    row = shape.n_head, CONTEXT_TOKENS, shape.n_embd // shape.n_head
    if is_reproducible(dtype, device):
        return RoundedCache(shape.n_layer, row).row_bytes
    return Cache(shape.n_layer, row, arithmetic_dtype(dtype, device), device).row_bytes


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
    parser.add_argument("--only", nargs="+", default=[], help="the sections to measure")
    parser.add_argument("--quick", action="store_true", help="show that everything runs, in about a minute")
    args = parser.parse_args(arguments)
    if args.quick and (args.out == PAGE or args.results == RESULTS):
        parser.error("--quick measures nothing of use: give --out and --results, so that nothing is overwritten")
    return args


def measured(report: Report, names: Iterable[str], device: torch.device) -> Iterator[tuple[str, str]]:
    """Yield the name and the text of each section as soon as it is measured."""
    where = environment.where(device)  # now, for results that are written change what git says
    for name in names:
        yield name, f"{report.sections[name]()}\n\n*{where}.*"


def main() -> None:
    """Measure, print each section as it is known, and write the page."""
    args = parse_arguments()
    device, sizes = find_device(args.device), QUICK if args.quick else Sizes()
    found = sections.read(args.out.read_text()) if args.only and args.out.exists() else {}
    args.out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as temporary, held_out_folder(args.corpus) as corpus:
        small = random_small(Path(temporary)) if sizes.with_small else None
        report = Report(sizes, device, small, corpus, args.results, args.out)
        if unknown := set(args.only) - set(report.sections):
            raise SystemExit(f"no section {', '.join(unknown)}: there are {', '.join(report.sections)}")
        for name, text in measured(report, args.only or report.sections, device):
            print(f"{text}\n", flush=True)
            found[name] = text
            in_order = {each: found[each] for each in report.sections if each in found}
            args.out.write_text(sections.join(page.OPENING, in_order))
    if report.problems:
        raise SystemExit("\n".join(report.problems[:10]))


if __name__ == "__main__":
    main()
