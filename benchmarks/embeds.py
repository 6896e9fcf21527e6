"""What embedding a folder takes: `uv run python -m benchmarks.embeds FOLDER`.

Files a second of tiny through a service of its own: one request after another with a file each, and with several files
each while two requests are under way, so that files are read while others are embedded. Then what the time goes
to, each part alone in this process. Of the MIDI files below FOLDER those nearest in size to `--kilobytes` are taken, so
that the figures of different folders can be compared; a file that the service refuses is left out before.
"""

import argparse
import base64
import json
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import torch

from amt.decoding.model import load_model
from amt.embedding import embed
from amt.errors import MidiError
from amt.gpt2.device import find_device, find_dtype
from amt.midi import codec, smf
from amt.tokens.windows import Window, take_excerpt
from benchmarks.running import PROJECT, service

LAYER = -3
UNDER_WAY = 2


def nearest_in_size(folder: Path, n_bytes: int, count: int) -> list[Path]:
    """So many MIDI files that hold notes, nearest in size first."""
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


def through_the_service(files: list[bytes], device: str, at_once: int) -> list[tuple[str, float]]:
    """(how, files a second)."""
    encoded = [base64.b64encode(data).decode() for data in files]
    batches = [encoded[start : start + at_once] for start in range(0, len(encoded), at_once)]
    few = encoded[: max(len(encoded) // 5, 1)]
    with service("--device", device) as running, httpx.Client(base_url=running.url, timeout=300) as http:
        running.wait_until_ready()
        predict(http, midi_input=encoded[0])
        one = len(few) / seconds(lambda: [predict(http, midi_input=text) for text in few])
        with ThreadPoolExecutor(UNDER_WAY) as pool:
            many = len(files) / seconds(lambda: list(pool.map(lambda each: predict(http, midi_inputs=each), batches)))
    return [("one at a time", one), (f"{at_once} in a request, {UNDER_WAY} requests under way", many)]


def predict(http: httpx.Client, **fields: Any) -> dict[str, Any]:
    """The service's answer to an embed."""
    response = http.post("/predict", json={"task": "embed", "embed_layer": LAYER, "model_size": "tiny", **fields})
    response.raise_for_status()
    answer: dict[str, Any] = response.json()
    return answer


def seconds(action: Callable[[], Any]) -> float:
    """How long it takes."""
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def parts(files: list[bytes], device_name: str, n_forwarded: int) -> list[tuple[str, float]]:
    """(what, milliseconds a file) of what the service does, each alone; the model for the first few files only."""
    device = find_device(device_name)
    folder = PROJECT / "weights/tiny"
    gpt2 = load_model(folder, find_dtype("auto", device), device)
    notes = [codec.read_notes(data) for data in files]
    windows: list[Window] = [take_excerpt(each).windows[0] for each in notes]
    vectors = [embed(gpt2, [window], LAYER)[0][0].tolist() for window in windows[:2]]
    few = windows[:n_forwarded]
    measured = {
        "bytes to messages": (len(files), lambda: [smf.read(data) for data in files]),
        "messages to notes": (len(files), lambda: [codec.read_notes(data) for data in files]),
        "notes to tokens": (len(files), lambda: [take_excerpt(each) for each in notes]),
        "the model": (len(few), lambda: [embed(gpt2, [window], LAYER) for window in few]),
        "vectors to JSON": (len(files), lambda: [json.dumps(vectors[0]) for _ in files]),
    }
    taken = {name: 1e3 * seconds(action) / count for name, (count, action) in measured.items()}
    taken["messages to notes"] -= taken["bytes to messages"]
    return list(taken.items())


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--files", type=int, default=500)
    parser.add_argument("--kilobytes", type=float, default=30)
    parser.add_argument("--at-once", type=int, default=32, help="files in one request")
    args = parser.parse_args()
    paths = nearest_in_size(args.folder, round(1e3 * args.kilobytes), args.files)
    files = [path.read_bytes() for path in paths]
    sizes = sorted(map(len, files))
    tokens = sum(take_excerpt(codec.read_notes(data)).num_tokens for data in files) / len(files)
    print(f"{len(files)} files of {sizes[0] / 1e3:.0f} to {sizes[-1] / 1e3:.0f} kB, {tokens:.0f} tokens each")
    print(f"on average; {torch.get_num_threads()} threads\n")
    print("| through the service | files/s |\n|---|---|")
    for how, rate in through_the_service(files, args.device, args.at_once):
        print(f"| {how} | {rate:.1f} |", flush=True)
    measured = parts(files, args.device, n_forwarded=50)
    total = sum(milliseconds for _, milliseconds in measured)
    print("\n| alone | ms a file | share |\n|---|---|---|")
    for what, milliseconds in measured:
        print(f"| {what} | {milliseconds:.1f} | {100 * milliseconds / total:.0f} % |")


if __name__ == "__main__":
    main()
