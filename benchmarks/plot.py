"""Draw what `decode` and `length` have measured.

uv run --group evaluation python -m benchmarks.plot DECODE.json LENGTH.json OUT.svg
"""

import argparse
import json
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure


def draw_rows(axes: Axes, run: dict[str, Any]) -> None:
    """Draw events a second over rows."""
    for precision in dict.fromkeys(each["precision"] for each in run["ours"]):
        points = [each for each in run["ours"] if each["precision"] == precision]
        rows, rates = zip(*((each["rows"], each["events_per_second"]) for each in points), strict=True)
        axes.plot(rows, rates, marker="o", markersize=3, label=precision)
    axes.axhline(1e3 / run["cached_ms"], color="grey", linestyle="--", label="cached loop, one row")
    axes.axhline(1e3 / run["plain_ms"], color="grey", linestyle=":", label="plain loop, one row")
    axes.set(xlabel="sequences at a time", ylabel="events a second", yscale="log", title=run["model"])
    axes.legend(frameon=False, fontsize="small")


def draw_length(axes: Axes, run: dict[str, Any]) -> None:
    """Draw milliseconds per event over the length."""
    for name, times in run["ms_per_event"].items():
        seconds = [run["step_seconds"] * (1 + index) for index in range(len(times))]
        axes.plot(seconds, times, marker="o", markersize=3, label=name)
    axes.set(xlabel="seconds of music so far", ylabel="ms an event", ylim=0, title="one sequence")
    axes.legend(frameon=False, fontsize="small")


def draw(decode: dict[str, Any], length: dict[str, Any], out: Path) -> None:
    """Draw both side by side, and write the picture in the format of its suffix."""
    figure = Figure(figsize=(9, 3.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    draw_rows(left, decode)
    draw_length(right, length)
    figure.savefig(out)


def main() -> None:
    """Read and draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("decode", type=Path)
    parser.add_argument("length", type=Path)
    parser.add_argument("out", type=Path)
    args = parser.parse_args()
    draw(json.loads(args.decode.read_text()), json.loads(args.length.read_text()), args.out)


if __name__ == "__main__":
    main()
