"""Measure what batching gains: `uv run python -m benchmarks.throughput`.

The same generates one after another and many at a time, in events per second; and a short generate alone against one
beside five long ones. Several times as many as run at a time, or the densest piece would run alone for most of it.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import psutil

from benchmarks.checkpoints import random_small
from benchmarks.markdown import table
from benchmarks.running import Running, cpu_seconds, service
from client import AnticipatoryClient

AT_A_TIME = 16
MOST_ALONE = 48
LONG_REQUESTS = 5


@dataclass(frozen=True)
class Rate:
    """Hold the events per second of one size, and how busy the API process is with those together, 1 for a core."""

    size: str
    one_after_another: float
    together: float
    n_together: int
    busy: float


@dataclass(frozen=True)
class Short:
    """Hold what a generate of 2 s takes: all of it, and per event."""

    seconds: float
    ms_per_event: float


@dataclass(frozen=True)
class Figures:
    """Hold all figures of one run."""

    rates: list[Rate]
    alone: Short
    beside: Short


@dataclass(frozen=True)
class Load:
    """Say what is sent.

    Attributes:
        seconds: of music in each generate.
        at_a_time: of these generates.
        rounds: how many times as many are sent, but one after another no more than `MOST_ALONE`.
        repeats: of the short generate, when it is alone.
        long_seconds: of music in each of the long ones beside it.
    """

    seconds: float = 5
    at_a_time: int = AT_A_TIME
    rounds: int = 3
    repeats: int = 15
    long_seconds: float = 60


def events_per_second(
    running: Running, client: AnticipatoryClient, size: str, load: Load, workers: int
) -> tuple[float, float]:
    """Measure the generates, `workers` at a time; return how busy the API process is, too."""
    api = [psutil.Process(running.process.pid)]
    before, busy, start = running.metric("anticipatory_events_total"), cpu_seconds(api), time.perf_counter()
    with ThreadPoolExecutor(workers) as pool:
        n_requests = load.rounds * load.at_a_time
        seeds = range(n_requests if workers > 1 else min(n_requests, MOST_ALONE))
        list(pool.map(lambda seed: client.generate(load.seconds, model_size=size, seed=seed), seeds))
    seconds = time.perf_counter() - start
    return (running.metric("anticipatory_events_total") - before) / seconds, (cpu_seconds(api) - busy) / seconds


def warm_up(client: AnticipatoryClient, size: str, n_together: int) -> None:
    """Let the service load a model, and make room for so many."""
    with ThreadPoolExecutor(n_together) as pool:
        list(pool.map(lambda seed: client.generate(2, model_size=size, seed=seed), range(n_together)))


def short_request(client: AnticipatoryClient) -> Short:
    """Measure one generate of 2 s in the service, without the way there and back."""
    result = client.generate(2, model_size="tiny")
    seconds = result["metadata"]["queue_seconds"] + result["metadata"]["compute_seconds"]
    return Short(seconds, 1e3 * seconds / max(result["variations"][0]["num_events"], 1))


def median(shorts: Sequence[Short]) -> Short:
    """Return the medians of either figure."""
    return Short(
        statistics.median(each.seconds for each in shorts), statistics.median(each.ms_per_event for each in shorts)
    )


def beside_long(running: Running, client: AnticipatoryClient, seconds: float) -> list[Short]:
    """Measure short generates as long as all of the long ones run."""
    with ThreadPoolExecutor(LONG_REQUESTS) as pool:
        long = [pool.submit(client.generate, seconds, model_size="tiny") for _ in range(LONG_REQUESTS)]
        while running.metric("anticipatory_batch_rows") < len(long):
            time.sleep(0.01)
        found = [short_request(client)]
        while not any(request.done() for request in long):
            found.append(short_request(client))
    return found


def measure(device: str, load: Load, small: Path | None, encoders: int = 0) -> Figures:
    """Measure a service of its own; `small`: the folder of a model of small's shape, if it takes part."""
    flags = ["--max-batch", str(max(32, load.at_a_time)), "--encoders", str(encoders)]
    if small:
        flags += ["--model-small", str(small)]
    with service("--device", device, *flags) as running, AnticipatoryClient(running.url) as client:
        running.wait_until_ready()
        rates = []
        for size in ("tiny", "small") if small else ("tiny",):
            warm_up(client, size, load.at_a_time)
            one, _ = events_per_second(running, client, size, load, 1)
            many, busy = events_per_second(running, client, size, load, load.at_a_time)
            rates.append(Rate(size, one, many, load.at_a_time, busy))
        alone = median([short_request(client) for _ in range(load.repeats)])
        return Figures(rates, alone, median(beside_long(running, client, load.long_seconds)))


def markdown(figures: Figures) -> str:
    """Return both tables."""
    alone, beside = figures.alone, figures.beside
    rates = table(
        ("size", "one after another", f"{figures.rates[0].n_together} at a time", "ratio", "API process"),
        (
            (
                each.size,
                f"{each.one_after_another:.0f} events/s",
                f"{each.together:.0f} events/s",
                f"{each.together / each.one_after_another:.1f}",
                f"{each.busy:.0%} of a core",
            )
            for each in figures.rates
        ),
    )
    whole, event = beside.seconds / alone.seconds, beside.ms_per_event / alone.ms_per_event
    short = table(
        ("generate of 2 s", "alone", "beside five long ones", "ratio"),
        (
            ("whole", f"{alone.seconds:.2f} s", f"{beside.seconds:.2f} s", f"{whole:.1f}"),
            ("each event", f"{alone.ms_per_event:.1f} ms", f"{beside.ms_per_event:.1f} ms", f"{event:.1f}"),
        ),
    )
    return f"{rates}\n\n{short}"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--seconds", type=float, default=5, help="of music in each generate")
    parser.add_argument("--repeats", type=int, default=15, help="of the short generate")
    parser.add_argument("--at-a-time", type=int, default=AT_A_TIME, help="generates, for the rate of many")
    parser.add_argument("--rounds", type=int, default=3, help="how many times as many generates are sent")
    parser.add_argument("--encoders", type=int, default=0, help="processes of the service that make answers")
    args = parser.parse_args()
    load = Load(seconds=args.seconds, at_a_time=args.at_a_time, rounds=args.rounds, repeats=args.repeats)
    with tempfile.TemporaryDirectory() as folder:
        print(markdown(measure(args.device, load, random_small(Path(folder)), args.encoders)))


if __name__ == "__main__":
    main()
