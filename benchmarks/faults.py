"""Send requests of many clients, some careless, while the worker is killed: `uv run python -m benchmarks.faults`.

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
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from benchmarks.checkpoints import random_small
from benchmarks.markdown import table
from benchmarks.running import PROJECT, Running, service

MIDI = base64.b64encode((PROJECT / "tests/data/golden/midi/freedoom_e1m2.mid").read_bytes()).decode()

SIZES = ("tiny", "tiny", "small")

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


def valid(rng: random.Random, sizes: Sequence[str] = SIZES) -> dict[str, Any]:
    """Return a request that deserves a 200."""
    task = rng.choice(["generate", "generate", "continue", "accompany", "infill", "embed"])
    body: dict[str, Any] = {"task": task, "model_size": rng.choice(sizes)}
    if task != "generate":
        body["midi_input"] = MIDI
    if task != "embed":
        body |= {"length_seconds": rng.uniform(1, 4), "num_variations": rng.randint(1, 3)}
        body |= rng.choice([{}, {"density": 6, "max_polyphony": 4}, {"pitch_range": [40, 80], "temperature": 0.9}])
    if task == "infill":
        body |= {"start_seconds": 3, "end_seconds": rng.uniform(4, 6)}
    return body


class Clients:
    """Send requests, and hold what was answered."""

    def __init__(self, running: Running, sizes: Sequence[str]) -> None:
        self._running, self._sizes = running, sizes
        self._lock = threading.Lock()
        self.statuses: Counter[str] = Counter()
        self.wrong: list[str] = []
        self.killed_at = float("inf")
        self.slowest_refusal = 0.0

    def one(self, index: int) -> None:
        """Send the request of this number until it gets an answer that is not "come back later", and check that."""
        rng = random.Random(index)
        if rng.random() < 0.1:
            self._count("dropped")
            return self._drop(valid(rng, self._sizes), rng.uniform(0, 0.5))
        is_malformed = rng.random() < 1 / 3
        body = rng.choice(MALFORMED) if is_malformed else valid(rng, self._sizes)
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
        """Send a request, and go away before its answer."""
        content = json.dumps(body).encode()
        head = f"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(content)}"
        url = httpx.URL(self._running.url)
        with socket.create_connection((url.host, url.port)) as connection:
            connection.sendall(head.encode() + b"\r\n\r\n" + content)
            time.sleep(after_seconds)

    def _check(self, answer: httpx.Response, body: dict[str, Any], *, is_malformed: bool) -> None:
        wanted = 422 if is_malformed else 200
        if answer.status_code != wanted:
            self.wrong.append(f"{answer.status_code} for {str(body)[:100]}: {answer.text[:200]}")
        elif "num_variations" in body and len(answer.json()["variations"]) != body["num_variations"]:
            self.wrong.append(f"wrong number of variations for {str(body)[:100]}")


def kill(running: Running, clients: Clients, after: int) -> float:
    """Kill a worker once `after` answers have come; return how many seconds later the service is good again."""
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
    """Return the command lines of those that have not ended.

    Python's resource tracker outlives its parent by a moment, so they get some seconds.
    """
    deadline = time.monotonic() + poll_timeout
    while True:
        # One that has ended has no command line, even if nobody has asked for its status yet.
        lines = [path.read_bytes().replace(b"\0", b" ").decode() for path in map(_command, processes) if path.exists()]
        if not any(lines) or time.monotonic() > deadline:
            return [line for line in lines if line]
        time.sleep(0.05)


def _command(pid: int) -> Path:
    return Path(f"/proc/{pid}/cmdline")


@dataclass(frozen=True)
class Figures:
    """Hold what became of the requests, and of the service.

    Attributes:
        answers: how many there were, by status; requests whose client went away count as dropped.
        wrong: what was answered wrongly, in words.
        recovery_seconds: from each kill to the next good answer of /health.
        deaths: how many workers died, as the service counts them.
        slowest_refusal_seconds: from the last kill to the last refusal of what ran then.
        left: requests in the queue or the batch at the end.
        orphans: command lines of processes that outlived the service.
        megabytes: memory of all processes before and after.
        seconds: of the whole.
    """

    answers: dict[str, int]
    wrong: list[str]
    recovery_seconds: list[float]
    deaths: int
    slowest_refusal_seconds: float
    left: int
    orphans: list[str]
    megabytes: tuple[float, float]
    seconds: float

    @property
    def problems(self) -> list[str]:
        """Return all that must not be; empty if all went well."""
        left = [f"{self.left} requests are left in the queue or the batch"] if self.left else []
        return self.wrong + left + [f"still running: {each}" for each in self.orphans]


def measure(n_requests: int, n_clients: int, n_kills: int, small: Path | None, n_workers: int = 1) -> Figures:
    """Send requests to a service of its own, and kill a worker of it `n_kills` times in their first half.

    `small`: the folder of a model of small's shape, if it takes part.
    """
    flags = ("--model-small", str(small)) if small else ()
    with service("--workers-per-device", str(n_workers), *flags) as running:
        running.wait_until_ready()
        clients = Clients(running, SIZES if small else ("tiny",))
        with ThreadPoolExecutor(n_clients) as pool:  # every size loaded, every cache grown
            list(pool.map(clients.one, range(100_000, 100_000 + 3 * n_clients)))
        before, start = running.megabytes(), time.perf_counter()
        clients.statuses.clear()
        with ThreadPoolExecutor(n_clients + n_kills) as pool:
            moments = [n_requests * share // (2 * n_kills) for share in range(1, n_kills + 1)]
            kills = [pool.submit(kill, running, clients, after) for after in moments]
            list(pool.map(clients.one, range(n_requests)))
            recovery = [each.result() for each in kills]
        seconds = time.perf_counter() - start
        deaths = running.metric(DEATHS)
        left = running.metric("anticipatory_batch_rows") + running.metric("anticipatory_queue_depth")
        after, processes = running.megabytes(), running.processes()
    return Figures(
        answers=dict(sorted(clients.statuses.items())),
        wrong=clients.wrong,
        recovery_seconds=recovery,
        deaths=round(deaths),
        slowest_refusal_seconds=clients.slowest_refusal,
        left=round(left),
        orphans=still_there(processes),
        megabytes=(before, after),
        seconds=seconds,
    )


def markdown(figures: Figures) -> str:
    """Return the table."""
    before, after = figures.megabytes
    recovery = ", ".join(f"{each:.1f} s" for each in figures.recovery_seconds)
    rows = (
        ("answers", ", ".join(f"{count} {status}" for status, count in figures.answers.items())),
        ("answered wrongly", len(figures.wrong)),
        ("workers killed, and good again after", f"{figures.deaths}: {recovery}"),
        ("what ran was refused, after the kill, within", f"{figures.slowest_refusal_seconds:.2f} s"),
        ("left in the queue or batch at the end", figures.left),
        ("processes left after stopping", len(figures.orphans)),
        ("memory before and after (PSS)", f"{before:.0f} MB, {after:.0f} MB"),
        ("took", f"{figures.seconds:.0f} s"),
    )
    return table(("what", ""), rows)


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=1_000)
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--workers", type=int, default=1)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        figures = measure(args.requests, args.clients, 2, random_small(Path(folder)), args.workers)
    print(markdown(figures))
    if figures.problems:
        raise SystemExit("\n".join(figures.problems[:10]))


if __name__ == "__main__":
    main()
