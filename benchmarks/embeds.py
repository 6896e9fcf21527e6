"""Measure what embedding a folder takes: `uv run python -m benchmarks.embeds FOLDER`.

Files a second of tiny through a service of its own: one request after another with a file each, and with several files
each while two requests are under way, so that files are read while others are embedded. Then what the time goes
to, each part alone in this process, and how near the vectors are to those of float32. Of the MIDI files below FOLDER
those nearest in size to `--kilobytes` are taken, so that the figures of different folders can be compared; a file that
the service refuses is left out before.
"""

import argparse
import base64
import json
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import torch

from amt.decoding.model import load_model
from amt.embedding import embed
from amt.errors import MidiError
from amt.gpt2.device import find_device, find_dtype
from amt.midi import codec, smf
from amt.tokens.windows import Window, take_excerpt
from benchmarks.checkpoints import TINY
from benchmarks.markdown import table
from benchmarks.running import service
from benchmarks.timing import seconds
from serving.process import collect_seldom

LAYER = -3
UNDER_WAY = 2
FORWARDED = 50
"""Files whose windows the model is timed on."""


@dataclass(frozen=True)
class Figures:
    """Hold what was embedded, and how fast.

    Attributes:
        n_files: how many files.
        kilobytes: of the smallest and of the largest.
        mean_tokens: how many tokens of a file were used.
        at_once: files in one request of the second rate.
        files_per_second: through the service, one at a time and several in a request.
        ms_per_file: what each part of the work takes, by its name.
        smallest_cosine: of a vector and the one that float32 gives.
    """

    n_files: int
    kilobytes: tuple[float, float]
    mean_tokens: float
    at_once: int
    files_per_second: tuple[float, float]
    ms_per_file: dict[str, float]
    smallest_cosine: float

    @property
    def shares(self) -> dict[str, float]:
        """Return the share of each part."""
        total = sum(self.ms_per_file.values())
        return {name: each / total for name, each in self.ms_per_file.items()}


def nearest_in_size(folder: Path, n_bytes: int, count: int) -> list[Path]:
    """Return at most `count` MIDI files that hold notes, nearest in size first."""
    found = sorted(path for path in folder.rglob("*") if path.suffix.lower() in (".mid", ".midi"))
    found.sort(key=lambda path: abs(path.stat().st_size - n_bytes))
    chosen: list[Path] = []
    for path in found:
        if len(chosen) == count:
            break
        try:
            take_excerpt(codec.read_notes(path.read_bytes()))
        except MidiError:
            continue
        chosen.append(path)
    return chosen


def through_the_service(files: Sequence[bytes], device: str, at_once: int) -> tuple[float, float]:
    """Return files a second: one in a request, and `at_once` in a request with two requests under way."""
    encoded = [base64.b64encode(data).decode() for data in files]
    batches = [encoded[start : start + at_once] for start in range(0, len(encoded), at_once)]
    few = encoded[: max(len(encoded) // 5, 1)]
    with service("--device", device) as running, httpx.Client(base_url=running.url, timeout=300) as http:
        running.wait_until_ready()
        predict(http, midi_input=encoded[0])
        one = len(few) / seconds(lambda: [predict(http, midi_input=text) for text in few])
        with ThreadPoolExecutor(UNDER_WAY) as pool:
            many = len(files) / seconds(lambda: list(pool.map(lambda each: predict(http, midi_inputs=each), batches)))
    return one, many


def predict(http: httpx.Client, **fields: Any) -> dict[str, Any]:
    """Return the service's answer to an embed."""
    response = http.post("/predict", json={"task": "embed", "embed_layer": LAYER, "model_size": "tiny", **fields})
    response.raise_for_status()
    answer: dict[str, Any] = response.json()
    return answer


def smallest_cosine(files: Sequence[bytes], device_name: str) -> float:
    """Return the smallest cosine of a vector of the first files and the one that float32 gives."""
    device = find_device(device_name)
    windows = [take_excerpt(codec.read_notes(data)).windows[0] for data in files[:FORWARDED]]
    usual, exact = (
        np.concatenate([embed(model, [window], LAYER)[0] for window in windows], dtype=np.float64)
        for model in (load_model(TINY, dtype, device) for dtype in (find_dtype("auto", device), torch.float32))
    )
    cosines = (usual * exact).sum(axis=1) / np.linalg.norm(usual, axis=1) / np.linalg.norm(exact, axis=1)
    return float(cosines.min())


def parts(files: Sequence[bytes], device_name: str, at_once: int) -> dict[str, float]:
    """Return the milliseconds a file of what the service does, each part alone.

    The model takes the first files only on a CPU, one after another, and elsewhere all, `at_once` of about one length
    together.
    """
    device = find_device(device_name)
    gpt2 = load_model(TINY, find_dtype("auto", device), device)
    together, n_forwarded = (1, FORWARDED) if device.type == "cpu" else (at_once, len(files))
    notes = [codec.read_notes(data) for data in files]
    windows: list[Window] = [take_excerpt(each).windows[0] for each in notes]
    vectors = [embed(gpt2, [window], LAYER)[0][0].tolist() for window in windows[:2]]
    few = sorted(windows[:n_forwarded], key=lambda window: window.num_tokens)

    def forward() -> None:
        for start in range(0, len(few), together):
            embed(gpt2, few[start : start + together], LAYER)

    forward()  # whatever is compiled or chosen for a length
    collect_seldom()  # as in the service
    measured = {
        "bytes to messages": (len(files), lambda: for_each(smf.read, files)),
        "messages to notes": (len(files), lambda: for_each(codec.read_notes, files)),
        "notes to tokens": (len(files), lambda: for_each(take_excerpt, notes)),
        "the model": (len(few), forward),
        "vectors to JSON": (len(files), lambda: for_each(json.dumps, [vectors[0]] * len(files))),
    }
    taken = {name: 1e3 * seconds(action) / count for name, (count, action) in measured.items()}
    taken["messages to notes"] -= taken["bytes to messages"]
    return taken


def for_each(function: Callable[[Any], Any], items: Iterable[Any]) -> None:
    """Call a function with each item, and keep nothing: the service keeps one piece at a time."""
    deque(map(function, items), maxlen=0)


def measure(folder: Path, device: str, n_files: int, kilobytes: float, at_once: int) -> Figures:
    """Measure the files below a folder that are nearest in size. Raise ValueError if there is none."""
    files = [path.read_bytes() for path in nearest_in_size(folder, round(1e3 * kilobytes), n_files)]
    if not files:
        raise ValueError(f"there is no MIDI file with notes below {folder}")
    sizes = sorted(map(len, files))
    n_tokens = sum(take_excerpt(codec.read_notes(data)).num_tokens for data in files)
    return Figures(
        n_files=len(files),
        kilobytes=(sizes[0] / 1e3, sizes[-1] / 1e3),
        mean_tokens=n_tokens / len(files),
        at_once=at_once,
        files_per_second=through_the_service(files, device, at_once),
        ms_per_file=parts(files, device, at_once),
        smallest_cosine=smallest_cosine(files, device),
    )


def markdown(figures: Figures) -> str:
    """Return both tables, and the smallest cosine below them."""
    how = "one at a time", f"{figures.at_once} in a request, {UNDER_WAY} requests under way"
    rates = zip(how, (f"{rate:.1f}" for rate in figures.files_per_second), strict=True)
    shares = (
        (what, f"{each:.1f}", f"{share:.0%}")
        for (what, each), share in zip(figures.ms_per_file.items(), figures.shares.values(), strict=True)
    )
    tables = table(("through the service", "files/s"), rates), table(("alone", "ms a file", "share"), shares)
    return "\n\n".join([*tables, f"Cosine with the vector that float32 gives: {figures.smallest_cosine:.5f} or more."])


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--files", type=int, default=500)
    parser.add_argument("--kilobytes", type=float, default=30)
    parser.add_argument("--at-once", type=int, default=32, help="files in one request")
    args = parser.parse_args()
    figures = measure(args.folder, args.device, args.files, args.kilobytes, args.at_once)
    smallest, largest = figures.kilobytes
    print(f"{figures.n_files} files of {smallest:.0f} to {largest:.0f} kB, {figures.mean_tokens:.0f} tokens each")
    print(f"on average; {torch.get_num_threads()} threads\n\n{markdown(figures)}")


if __name__ == "__main__":
    main()
