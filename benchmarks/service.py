"""What a user waits for: `uv run python -m benchmarks.service`. Starts a service of its own, on the bundled model.

Prints a Markdown table: start to ready, memory, and the median time of requests sent one after another.
"""

import argparse
import platform
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from client import AnticipatoryClient

PROJECT = Path(__file__).parent.parent
MIDI = PROJECT / "tests/data/golden/midi/freedoom_e1m2.mid"


def seconds(action: Callable[[], object], repeats: int) -> str:
    """Median, least and most."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        action()
        times.append(time.perf_counter() - start)
    return f"{statistics.median(times):.2f} s ({min(times):.2f} to {max(times):.2f})"


def megabytes(root: int) -> float:
    """Memory of a process and all its descendants in MB, shared pages divided among those that share them (PSS)."""
    total, waiting = 0, [root]
    while waiting:
        process = Path(f"/proc/{waiting.pop()}")
        waiting += map(int, (process / f"task/{process.name}/children").read_text().split())
        rollup = (process / "smaps_rollup").read_text()
        total += int(next(line for line in rollup.splitlines() if line.startswith("Pss:")).split()[1])
    return total / 1_024


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--port", default="2099")
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args()
    command = [sys.executable, "server.py", "--port", args.port, "--default-model", "tiny", "--device", args.device]
    start = time.perf_counter()
    process = subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        with AnticipatoryClient(f"http://127.0.0.1:{args.port}") as client:
            while not client.health():
                time.sleep(0.05)
            rows = [("start to ready", f"{time.perf_counter() - start:.1f} s")]
            requests: dict[str, Callable[[], object]] = {
                "generate 20 s": lambda: client.generate(20),
                "generate 20 s, 5 variations": lambda: client.generate(20, num_variations=5),
                "generate 120 s": lambda: client.generate(120),
                "continue 5 s by 20 s": lambda: client.continue_midi(MIDI, 5, 20),
                "embed a file of 26 kB": lambda: client.embed(MIDI),
            }
            rows += [(name, seconds(action, args.repeats)) for name, action in requests.items()]
            rows.append(("memory, all processes (PSS)", f"{megabytes(process.pid):.0f} MB"))
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait()
    print(f"{platform.machine()}, device {args.device}, Python {platform.python_version()}\n")
    print("| what | median (least to most) |\n|---|---|")
    for name, value in rows:
        print(f"| {name} | {value} |")


if __name__ == "__main__":
    main()
