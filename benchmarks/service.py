"""What a user waits for: `uv run python -m benchmarks.service`. Starts a service of its own, on the bundled model.

Prints a Markdown table: start to ready, memory, and the median time of requests sent one after another.
"""

import argparse
import platform
import statistics
import time
from collections.abc import Callable

from benchmarks.running import PROJECT, service
from client import AnticipatoryClient

MIDI = PROJECT / "tests/data/golden/midi/freedoom_e1m2.mid"


def seconds(action: Callable[[], object], repeats: int) -> str:
    """Median, least and most."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        action()
        times.append(time.perf_counter() - start)
    return f"{statistics.median(times):.2f} s ({min(times):.2f} to {max(times):.2f})"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args()
    with service("--device", args.device) as running, AnticipatoryClient(running.url) as client:
        rows = [("start to ready", f"{running.wait_until_ready():.1f} s")]
        requests: dict[str, Callable[[], object]] = {
            "generate 20 s": lambda: client.generate(20),
            "generate 20 s, 5 variations": lambda: client.generate(20, num_variations=5),
            "generate 120 s": lambda: client.generate(120),
            "continue 5 s by 20 s": lambda: client.continue_midi(MIDI, 5, 20),
            "embed a file of 26 kB": lambda: client.embed(MIDI),
        }
        rows += [(name, seconds(action, args.repeats)) for name, action in requests.items()]
        rows.append(("memory, all processes (PSS)", f"{running.megabytes():.0f} MB"))
    print(f"{platform.machine()}, device {args.device}, Python {platform.python_version()}\n")
    print("| what | median (least to most) |\n|---|---|")
    for name, value in rows:
        print(f"| {name} | {value} |")


if __name__ == "__main__":
    main()
