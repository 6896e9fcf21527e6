"""What batching gains: `uv run python -m benchmarks.throughput`.

The same generates one after another and sixteen at a time, in events per second; and a short generate alone against one
beside five long ones. Three times as many as run at a time, or the densest piece would run alone for most of the time.
"""

import argparse
import statistics
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from benchmarks.decode import random_small
from benchmarks.running import Running, service
from client import AnticipatoryClient

AT_A_TIME = 16
COUNT = 3 * AT_A_TIME


def events_per_second(running: Running, client: AnticipatoryClient, size: str, seconds: float, workers: int) -> float:
    """Of so many generates, so many at a time."""
    before, start = running.metric("anticipatory_events_total"), time.perf_counter()
    with ThreadPoolExecutor(workers) as pool:
        list(pool.map(lambda seed: client.generate(seconds, model_size=size, seed=seed), range(COUNT)))
    return (running.metric("anticipatory_events_total") - before) / (time.perf_counter() - start)


def short_request(running: Running, client: AnticipatoryClient, repeats: int) -> tuple[float, float]:
    """(median seconds of a generate of 2 s, median milliseconds of each of its events)."""
    times, each = [], []
    for _ in range(repeats):
        result = client.generate(2, model_size="tiny")
        times.append(result["metadata"]["queue_seconds"] + result["metadata"]["compute_seconds"])
        each.append(1e3 * times[-1] / max(result["variations"][0]["num_events"], 1))
    return statistics.median(times), statistics.median(each)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--seconds", type=float, default=5, help="of music in each generate")
    parser.add_argument("--repeats", type=int, default=15, help="of the short generate")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        small = str(random_small(Path(folder)))
        with service("--device", args.device, "--model-small", small) as running:
            running.wait_until_ready()
            client = AnticipatoryClient(running.url)
            print("| size | one after another | sixteen at a time | ratio |\n|---|---|---|---|")
            for size in ("tiny", "small"):
                client.generate(2, model_size=size)
                one = events_per_second(running, client, size, args.seconds, 1)
                many = events_per_second(running, client, size, args.seconds, AT_A_TIME)
                print(f"| {size} | {one:.0f} events/s | {many:.0f} events/s | {many / one:.1f} |", flush=True)
            alone, alone_each = short_request(running, client, args.repeats)
            with ThreadPoolExecutor(5) as pool:
                long = [pool.submit(client.generate, 60, model_size="tiny") for _ in range(5)]
                while running.metric("anticipatory_batch_rows") < len(long):
                    time.sleep(0.01)
                beside, beside_each = [], []
                while not any(request.done() for request in long):
                    times = short_request(running, client, 1)
                    beside.append(times[0])
                    beside_each.append(times[1])
            print("\n| generate of 2 s | alone | beside five of 60 s | ratio |\n|---|---|---|---|")
            busy, busy_each = statistics.median(beside), statistics.median(beside_each)
            print(f"| whole | {alone:.2f} s | {busy:.2f} s | {busy / alone:.1f} |")
            print(f"| each event | {alone_each:.1f} ms | {busy_each:.1f} ms | {busy_each / alone_each:.1f} |")


if __name__ == "__main__":
    main()
