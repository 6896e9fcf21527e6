"""Measure what a user waits for: `uv run python -m benchmarks.service`.

Starts services of its own, on the bundled model, and prints a Markdown table: start to ready, memory, and the median
time of requests sent one after another.
"""

import argparse
import platform
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass

from benchmarks.markdown import table
from benchmarks.running import PROJECT, service
from benchmarks.timing import Spread, seconds
from client import AnticipatoryClient

MIDI = PROJECT / "tests/data/golden/midi/freedoom_e1m2.mid"


@dataclass(frozen=True)
class Figures:
    """Hold seconds, and megabytes of all processes.

    Attributes:
        ready: from the start of the command to the first good answer of /health.
        ready_megabytes: memory then, before the first request.
        requests: what each request takes, by its name.
        first_note: from sending a generate to the first note of its stream.
        megabytes: memory after all requests.
    """

    ready: Spread
    ready_megabytes: float
    requests: dict[str, Spread]
    first_note: Spread
    megabytes: float


def start(device: str) -> float:
    """Start a service, and stop it when it is ready; return how many seconds that took."""
    with service("--device", device) as running:
        return running.wait_until_ready()


def first_note(client: AnticipatoryClient, length_seconds: float) -> None:
    """Stream until there is a note, then hang up."""
    with closing(client.stream(length_seconds=length_seconds)) as events:
        next(event for event in events if event.name == "note")


def measure(device: str, repeats: int, starts: int, *, long_seconds: float = 120) -> Figures:
    """Measure `starts` services, and `repeats` requests of each kind of the last; the longest has `long_seconds`."""
    ready = [start(device) for _ in range(starts - 1)]
    with service("--device", device) as running, AnticipatoryClient(running.url) as client:
        ready.append(running.wait_until_ready())
        ready_megabytes = running.megabytes()
        requests: dict[str, Callable[[], object]] = {
            "generate 20 s": lambda: client.generate(20),
            "generate 20 s, 5 variations": lambda: client.generate(20, num_variations=5),
            f"generate {long_seconds:g} s": lambda: client.generate(long_seconds),
            "continue 5 s by 20 s": lambda: client.continue_midi(MIDI, 5, 20),
            "embed a file of 26 kB": lambda: client.embed(MIDI),
        }
        found = {name: Spread.of([seconds(action) for _ in range(repeats)]) for name, action in requests.items()}
        notes = Spread.of([seconds(lambda: first_note(client, 5)) for _ in range(3 * repeats)])
        return Figures(Spread.of(ready), ready_megabytes, found, notes, running.megabytes())


def markdown(figures: Figures) -> str:
    """Return the table."""
    rows = [("start to ready", figures.ready.text(1, 1, "s"))]
    rows += [(name, spread.text(1, 2, "s")) for name, spread in figures.requests.items()]
    rows += [
        ("first note of a streamed generate", figures.first_note.text(1e3, 0, "ms")),
        ("memory when ready, all processes (PSS)", f"{figures.ready_megabytes:.0f} MB"),
        ("memory after these requests (PSS)", f"{figures.megabytes:.0f} MB"),
    ]
    return table(("what", "median (least to most)"), rows)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--starts", type=int, default=3)
    args = parser.parse_args()
    print(f"{platform.machine()}, device {args.device}, Python {platform.python_version()}\n")
    print(markdown(measure(args.device, args.repeats, args.starts)))


if __name__ == "__main__":
    main()
