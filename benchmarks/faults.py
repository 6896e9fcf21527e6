"""Many clients, some of them careless, and a worker that dies: `uv run python -m benchmarks.faults`.

A thousand requests from 32 clients, mixed tasks, sizes tiny and a random small; a third malformed, a tenth dropped
half-way, the worker killed twice. Every request must be answered rightly: 200, the 4xx that it deserves, or 429 or 503
with Retry-After. Fails with what was wrong, else prints a Markdown table.
"""

import argparse
import base64
import json
import random
import socket
import tempfile
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx

from benchmarks.decode import random_small
from benchmarks.running import PROJECT, Running, service

MIDI = base64.b64encode((PROJECT / "tests/data/golden/midi/freedoom_e1m2.mid").read_bytes()).decode()

DEATHS = "anticipatory_worker_deaths_total"

MALFORMED: list[dict[str, Any]] = [
    {"length_seconds": 1_000},
    {"task": "compose"},
    {"task": "continue"},
    {"task": "embed", "midi_input": "%"},
    {"task": "embed", "midi_input": "AAAA"},
    {"task": "embed", "midi_input": MIDI, "embed_layer": 99},
    {"task": "continue", "midi_input": MIDI[:4_000], "prime_seconds": -1},
    {"surprise": True},
]


def valid(rng: random.Random) -> dict[str, Any]:
    """A request that deserves a 200."""
    task = rng.choice(["generate", "generate", "continue", "accompany", "infill", "embed"])
    body: dict[str, Any] = {"task": task, "model_size": rng.choice(["tiny", "tiny", "small"])}
    if task != "generate":
        body["midi_input"] = MIDI
    if task != "embed":
        body |= {"length_seconds": rng.uniform(1, 4), "num_variations": rng.randint(1, 3)}
        body |= rng.choice([{}, {"density": 6, "max_polyphony": 4}, {"pitch_range": [40, 80], "temperature": 0.9}])
    if task == "infill":
        body |= {"start_seconds": 3, "end_seconds": rng.uniform(4, 6)}
    return body


class Clients:
    """What the clients have sent and been answered."""

    def __init__(self, running: Running) -> None:
        self._running = running
        self._lock = threading.Lock()
        self.statuses: Counter[str] = Counter()
        self.wrong: list[str] = []
        self.killed_at = float("inf")
        self.slowest_refusal = 0.0

    def one(self, index: int) -> None:
        """Send the request of that number, until it gets the answer that it deserves."""
        rng = random.Random(index)
        if rng.random() < 0.1:
            self._count("dropped")
            return self._drop(valid(rng), rng.uniform(0, 0.5))
        is_malformed = rng.random() < 1 / 3
        body = rng.choice(MALFORMED) if is_malformed else valid(rng)
        while True:
            start = time.perf_counter()
            answer = httpx.post(f"{self._running.url}/predict", json=body, timeout=300)
            self._count(str(answer.status_code))
            if answer.status_code not in (429, 503):
                return self._check(answer, body, is_malformed=is_malformed)
            if "Retry-After" not in answer.headers:
                self.wrong.append(f"{answer.status_code} without Retry-After: {answer.text}")
            if start < self.killed_at < time.perf_counter():
                self.slowest_refusal = max(self.slowest_refusal, time.perf_counter() - self.killed_at)
            time.sleep(float(answer.headers.get("Retry-After", 1)) / 4)

    def _count(self, what: str) -> None:
        with self._lock:
            self.statuses[what] += 1

    def _drop(self, body: dict[str, Any], after_seconds: float) -> None:
        """Go away before the answer."""
        content = json.dumps(body).encode()
        head = f"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(content)}"
        with socket.create_connection(self._running.url.removeprefix("http://").split(":")) as connection:
            connection.sendall(head.encode() + b"\r\n\r\n" + content)
            time.sleep(after_seconds)

    def _check(self, answer: httpx.Response, body: dict[str, Any], *, is_malformed: bool) -> None:
        wanted = 422 if is_malformed else 200
        if answer.status_code != wanted:
            self.wrong.append(f"{answer.status_code} for {str(body)[:100]}: {answer.text[:200]}")
        elif "num_variations" in body and len(answer.json()["variations"]) != body["num_variations"]:
            self.wrong.append(f"wrong number of variations for {str(body)[:100]}")


def kill(running: Running, clients: Clients, after: int) -> float:
    """Kill the worker once so many answers have come; how many seconds until the service is good again."""
    while clients.statuses["200"] + clients.statuses["422"] < after:
        time.sleep(0.05)
    deaths = running.metric(DEATHS)
    clients.killed_at = start = time.perf_counter()
    running.kill_worker()
    while running.metric(DEATHS) == deaths:
        time.sleep(0.02)
    running.wait_until_ready()
    return time.perf_counter() - start


def still_there(processes: list[int], poll_timeout: float = 5) -> list[str]:
    """The command lines of those that have not ended; Python's resource tracker outlives its parent by a moment."""
    deadline = time.monotonic() + poll_timeout
    while True:
        # One that has ended has no command line, even if nobody has asked for its status yet.
        lines = [path.read_bytes().replace(b"\0", b" ").decode() for path in map(_command, processes) if path.exists()]
        if not any(lines) or time.monotonic() > deadline:
            return [line for line in lines if line]
        time.sleep(0.05)


def _command(pid: int) -> Path:
    return Path(f"/proc/{pid}/cmdline")


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=1_000)
    parser.add_argument("--clients", type=int, default=32)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, service("--model-small", str(random_small(Path(folder)))) as running:
        running.wait_until_ready()
        clients = Clients(running)
        with ThreadPoolExecutor(args.clients) as pool:  # every size loaded, every cache grown
            list(pool.map(clients.one, range(100_000, 100_000 + 3 * args.clients)))
        before, start = running.megabytes(), time.perf_counter()
        clients.statuses.clear()
        with ThreadPoolExecutor(args.clients + 1) as pool:
            kills = [pool.submit(kill, running, clients, args.requests * share // 4) for share in (1, 2)]
            list(pool.map(clients.one, range(args.requests)))
            back = [f"{each.result():.1f} s" for each in kills]
        took = time.perf_counter() - start
        deaths = running.metric(DEATHS)
        left = running.metric("anticipatory_batch_rows") + running.metric("anticipatory_queue_depth")
        after, processes = running.megabytes(), running.processes()
    orphans = still_there(processes)
    print("| what | |\n|---|---|")
    print(f"| answers | {', '.join(f'{n} {status}' for status, n in sorted(clients.statuses.items()))} |")
    print(f"| answered wrongly | {len(clients.wrong)} |")
    print(f"| workers killed, and good again after | {deaths:.0f}: {', '.join(back)} |")
    print(f"| what ran was refused, after the kill, within | {clients.slowest_refusal:.2f} s |")
    print(f"| left in the queue or batch at the end | {left:.0f} |")
    print(f"| processes left after stopping | {len(orphans)} |")
    print(f"| memory before and after (PSS) | {before:.0f} MB, {after:.0f} MB |")
    print(f"| took | {took:.0f} s |")
    if clients.wrong or orphans or left:
        raise SystemExit("\n".join(clients.wrong[:10] + orphans) or "something was left behind")


if __name__ == "__main__":
    main()
