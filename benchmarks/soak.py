"""Measure memory over time at full load: `uv run python -m benchmarks.soak --minutes 15`.

Clients send mixed requests without a pause; prints the memory of all processes at even distances, and how far it went
from that of the first time.
"""

import argparse
import random
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import httpx

from benchmarks.faults import valid
from benchmarks.markdown import table
from benchmarks.running import Running, service


@dataclass(frozen=True)
class Sample:
    """Hold what is known after some minutes of load."""

    minutes: float
    megabytes: float
    requests: float
    events: float


def send(running: Running, seed: int, stop: threading.Event) -> None:
    """Send one request after another until told to stop. Raise if one is not answered well."""
    rng = random.Random(seed)
    with httpx.Client(base_url=running.url, timeout=300) as client:
        while not stop.is_set():
            client.post("/predict", json=valid(rng) | {"model_size": "tiny"}).raise_for_status()


def sample(running: Running, minutes: float) -> Sample:
    """Read memory and counters."""
    counts = [running.metric(f"anticipatory_{name}_total") for name in ("requests", "events")]
    return Sample(minutes, running.megabytes(), *counts)


def measure(minutes: float, n_clients: int, n_samples: int) -> list[Sample]:
    """Load a service of its own, and take samples at even distances."""
    stop = threading.Event()
    with service() as running, ThreadPoolExecutor(n_clients) as pool:
        running.wait_until_ready()
        sending = [pool.submit(send, running, seed, stop) for seed in range(n_clients)]
        found = []
        try:
            for index in range(1, n_samples + 1):
                time.sleep(60 * minutes / n_samples)
                found.append(sample(running, minutes * index / n_samples))
        finally:
            stop.set()
        for each in sending:
            each.result()
    return found


def strayed(samples: Sequence[Sample]) -> tuple[float, float]:
    """Return by which share of the first memory the least and the most lie apart from it."""
    megabytes = [each.megabytes for each in samples]
    return min(megabytes) / megabytes[0] - 1, max(megabytes) / megabytes[0] - 1


def markdown(samples: Sequence[Sample]) -> str:
    """Return the table."""
    return table(
        ("minutes", "memory (PSS)", "requests", "events"),
        (
            (f"{each.minutes:.2g}", f"{each.megabytes:.0f} MB", f"{each.requests:.0f}", f"{each.events:.0f}")
            for each in samples
        ),
    )


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=15)
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--samples", type=int, default=15)
    args = parser.parse_args()
    samples = measure(args.minutes, args.clients, args.samples)
    least, most = strayed(samples)
    print(f"{markdown(samples)}\n\nfrom {least:+.1%} to {most:+.1%}")


if __name__ == "__main__":
    main()
