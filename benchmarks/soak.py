"""Memory over time at full load: `uv run python -m benchmarks.soak --minutes 15`.

Clients send mixed requests without a pause; prints the memory of all processes every minute, and how far it strayed
from the first minute's.
"""

import argparse
import random
import threading
import time

import httpx

from benchmarks.faults import valid
from benchmarks.running import Running, service


def send(running: Running, seed: int, stop: threading.Event) -> None:
    """One request after another."""
    rng = random.Random(seed)
    with httpx.Client(base_url=running.url, timeout=300) as client:
        while not stop.is_set():
            client.post("/predict", json=valid(rng) | {"model_size": "tiny"}).raise_for_status()


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=15)
    parser.add_argument("--clients", type=int, default=16)
    args = parser.parse_args()
    with service() as running:
        running.wait_until_ready()
        stop = threading.Event()
        threads = [threading.Thread(target=send, args=(running, seed, stop)) for seed in range(args.clients)]
        for thread in threads:
            thread.start()
        found = []
        print("| minute | memory (PSS) | requests | events |\n|---|---|---|---|")
        for minute in range(1, round(args.minutes) + 1):
            time.sleep(60)
            found.append(running.megabytes())
            counts = [running.metric(f"anticipatory_{name}_total") for name in ("requests", "events")]
            print(f"| {minute} | {found[-1]:.0f} MB | {counts[0]:.0f} | {counts[1]:.0f} |", flush=True)
        stop.set()
        for thread in threads:
            thread.join()
    print(f"\nfrom {100 * (min(found) / found[0] - 1):+.1f} % to {100 * (max(found) / found[0] - 1):+.1f} %")


if __name__ == "__main__":
    main()
