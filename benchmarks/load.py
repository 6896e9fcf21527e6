"""Load the service as many users do: `uv run --group load python -m benchmarks.load`.

Generates of 5 s, embeds and streams, mixed 4 : 2 : 1 by locust, which checks every body. One user after another, then
32 at a time, then 32 with two workers; each on a service of its own. Prints a Markdown table: requests a second, the
times within which half, 95 % and 99 % were answered, and the processor time of a request in all of the service.
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import psutil

from benchmarks.markdown import table
from benchmarks.running import Running, cpu_seconds, service

LOCUSTFILE: Final = Path(__file__).with_name("locustfile.py")

PERCENTILES: Final = (50, 95, 99)

ALL: Final = "all"


@dataclass(frozen=True)
class Answers:
    """Hold how requests of one kind were answered.

    Attributes:
        name: of the kind.
        count: of requests.
        failures: of these.
        seconds: within which each of `PERCENTILES` per cent were answered.
    """

    name: str
    count: int
    failures: int
    seconds: tuple[float, ...]

    @classmethod
    def of(cls, name: str, kinds: Sequence[Mapping[str, Any]]) -> "Answers":
        """Return those of locust's statistics of some kinds."""
        times = sorted((int(time), n) for kind in kinds for time, n in kind["response_times"].items())
        flat = [time for time, n in times for _ in range(n)]
        seconds = (flat[min(len(flat) * percent // 100, len(flat) - 1)] / 1_000 for percent in PERCENTILES)
        return cls(name, len(flat), sum(kind["num_failures"] for kind in kinds), tuple(seconds))


@dataclass(frozen=True)
class Load:
    """Hold what was measured with a number of users and workers."""

    users: int
    workers: int
    seconds: float
    cpu_seconds: float
    answers: tuple[Answers, ...]


def spent_by(running: Running) -> float:
    """Return the processor time of all of a service's processes so far."""
    return cpu_seconds(map(psutil.Process, running.processes()))


def send(url: str, users: int, seconds: float) -> list[dict[str, Any]]:
    """Let users send requests for so long; return locust's statistics. Raise CalledProcessError if it cannot run."""
    command = [sys.executable, "-m", "locust", "-f", str(LOCUSTFILE), "--host", url, "--headless", "--json"]
    command += [
        "--users",
        str(users),
        "--spawn-rate",
        str(users),
        "--run-time",
        f"{seconds:g}s",
        "--stop-timeout",
        "60",
    ]
    command += ["--exit-code-on-error", "0", "--loglevel", "ERROR"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return list(json.loads(done.stdout))


def measure(users: int, workers: int, seconds: float) -> Load:
    """Measure a service of its own."""
    with service("--workers-per-device", str(workers)) as running:
        running.wait_until_ready()
        while running.metric("anticipatory_worker_starts_total") < workers:
            time.sleep(0.1)
        send(running.url, users, 5)
        before = spent_by(running)
        kinds = send(running.url, users, seconds)
        spent = spent_by(running) - before
    answers = [Answers.of(kind["name"], [kind]) for kind in sorted(kinds, key=lambda kind: str(kind["name"]))]
    took = max(kind["last_request_timestamp"] for kind in kinds) - min(kind["start_time"] for kind in kinds)
    return Load(users, workers, took, spent, (*answers, Answers.of(ALL, kinds)))


def markdown(loads: Sequence[Load]) -> str:
    """Return the table."""
    rows = [
        (
            f"{load.users}, {load.workers}",
            each.name,
            f"{each.count / load.seconds:.1f}",
            *(f"{seconds:.2f} s" for seconds in each.seconds),
            each.failures,
            f"{load.cpu_seconds / each.count:.2f} s" if each.name == ALL else "",
        )
        for load in loads
        for each in load.answers
    ]
    times = (f"p{percent}" for percent in PERCENTILES)
    return table(("users, workers", "request", "a second", *times, "failed", "processor time of one"), rows)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--users", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=60)
    args = parser.parse_args()
    print(
        markdown(
            [measure(users, workers, args.seconds) for users, workers in ((1, 1), (args.users, 1), (args.users, 2))]
        )
    )


if __name__ == "__main__":
    main()
