"""Measure what requests cost beside the model: `uv run python -m benchmarks.overhead`.

Starts the service with four workers of a scripted model that costs nothing: whatever is asked, it answers in one step
with the same 80 events of 5 s, so that all the rest is real, from the socket to the MIDI file and back. Clients in one
process keep many generates of 5 s under way, as cheaply as a client can be. Prints requests and events a second, the
processor time of a request in each process, and what its parts take in the API process, called one by one.
"""

import argparse
import asyncio
import json
import multiprocessing
import pickle
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

import httpx
import numpy as np
import psutil

from amt.tokens.vocab import DURATION, NOTE, ONSET
from api import AnticipatoryAPI
from benchmarks.markdown import table
from benchmarks.running import cpu_seconds
from serving.batching import Report
from serving.limits import Limits
from serving.messages import Done, FromWorker, Ready
from serving.server import Server
from tasks.body import read_body
from tasks.documentation import DOCUMENTATION
from tasks.encoding import ResultEncoder
from tasks.rendering import rendering
from worker.jobs import GeneratedVariation, GenerateJob

N_WORKERS: Final = 4
N_EVENTS: Final = 80
LENGTH_SECONDS: Final = 5

BODY: Final = json.dumps({"task": "generate", "length_seconds": LENGTH_SECONDS}).encode()


class ScriptedRunner:
    """Answer each job in the next step, with the same events for each sequence; a `BatchRunner`."""

    def __init__(self) -> None:
        self._jobs: dict[int, GenerateJob] = {}
        self._is_told = False
        steps = np.arange(N_EVENTS)
        onsets = ONSET.offset + 100 * LENGTH_SECONDS * steps // N_EVENTS
        self._events = np.stack([onsets, DURATION.offset + 20 + steps % 40, NOTE.offset + 40 + steps % 48], axis=1)

    @property
    def poll_timeout(self) -> float:
        """Return how long to wait for messages."""
        return 0.0 if self._jobs or not self._is_told else 0.2

    def add(self, uid: int, job: GenerateJob) -> None:
        """Let a job join."""
        self._jobs[uid] = job

    def cancel(self, uid: int) -> None:
        """Let a job leave."""
        self._jobs.pop(uid, None)

    def load(self, group: str, headers: Mapping[str, str], instead_of: str | None) -> None:
        """Load nothing: there is one model."""

    def results(self, job: GenerateJob) -> list[GeneratedVariation]:
        """Return the result of any job."""
        return [GeneratedVariation(self._events, each.seed, 1, None) for each in job.sequences]

    def step(self) -> Iterator[FromWorker]:
        """Yield the results of all jobs."""
        if not self._is_told:
            self._is_told = True
            known = {"loaded": True, "available": True, "parameters": 0, "controls": True, "bytes": 0}
            sizes = {"tiny": {"checkpoint": "scripted", **known}}
            yield Ready({"device": "scripted", "default_size": "tiny", "sizes": sizes, "capacity": {"tiny": 1_000}})
        for uid, job in self._jobs.items():
            result = self.results(job)
            yield Done(uid, result, {"events": N_EVENTS * len(result)})
        self._jobs = {}


class ScriptedAPI(AnticipatoryAPI):
    """Serve what `AnticipatoryAPI` serves, with workers that have no model."""

    def __init__(self) -> None:
        super().__init__({"tiny": "scripted"}, "tiny", "auto", 1, "auto")

    def find_devices(self) -> list[str]:
        """Return the workers' devices."""
        return ["scripted"] * N_WORKERS

    def setup(self, device: str) -> None:
        """Set a worker up."""
        self._runner = ScriptedRunner()  # type: ignore[assignment]


def serve(port: int, n_encoders: int) -> None:
    """Run the service."""
    limits = Limits(
        host="127.0.0.1",
        port=port,
        timeout_seconds=60,
        max_payload_bytes=2**20,
        max_batch=32,
        max_waiting=64,
        max_loaded=None,
        encoders=n_encoders,
        step_timeout_seconds=60,
        drain_seconds=5,
        public_metrics=False,
        cors_origins=(),
    )
    Server(ScriptedAPI(), limits, DOCUMENTATION, rendering(None), None).run()


@dataclass(frozen=True)
class Figures:
    """Hold rates, and the processor time of one request by process and by part."""

    requests_per_second: float
    events_per_second: float
    cpu_ms: Mapping[str, float]
    part_ms: Mapping[str, float]


async def _client(port: int, bodies: Iterator[bytes], take: Callable[[bytes], None]) -> None:
    """Send bodies over one connection, each when the last one has been answered."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for body in bodies:
        head = f"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
        writer.write(head.encode() + b"\r\n\r\n" + body)
        answered = await reader.readuntil(b"\r\n\r\n")
        status = answered.split(b" ", 2)[1]
        length = int(answered.lower().partition(b"content-length:")[2].split(b"\r\n", 1)[0])
        answer = await reader.readexactly(length)
        if status != b"200":
            raise RuntimeError(answer.decode())
        take(answer)
    writer.close()


def send(port: int, n_requests: int, n_clients: int) -> list[bytes]:
    """Send so many requests by so many clients; return the answers."""
    answers: list[bytes] = []
    bodies = iter([BODY] * n_requests)

    async def run() -> None:
        await asyncio.gather(*(_client(port, bodies, answers.append) for _ in range(n_clients)))

    asyncio.run(run())
    return answers


def measure(n_requests: int, n_clients: int, n_encoders: int = 0) -> Figures:
    """Measure a service of its own."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    service = multiprocessing.get_context("spawn").Process(target=serve, args=(port, n_encoders))
    service.start()
    try:
        _wait_for_workers(port)
        send(port, max(n_requests // 10, n_clients), n_clients)
        process = psutil.Process(service.pid)
        watched = {"API process": [process], "other processes": process.children(), "client": [psutil.Process()]}
        before, start = {name: cpu_seconds(those) for name, those in watched.items()}, time.perf_counter()
        answers = send(port, n_requests, n_clients)
        seconds = time.perf_counter() - start
        spent = {name: cpu_seconds(those) - before[name] for name, those in watched.items()}
    finally:
        service.terminate()
        service.join()
    n_events = sum(json.loads(answer)["variations"][0]["num_events"] for answer in answers)
    cpu_ms = {name: 1e3 * each / n_requests for name, each in spent.items()}
    return Figures(n_requests / seconds, n_events / seconds, cpu_ms, measure_parts(n_requests // 10))


def measure_parts(repeats: int) -> dict[str, float]:
    """Return the processor time in milliseconds of what the API process does with a request, by name."""
    api, runner = ScriptedAPI(), ScriptedRunner()
    (ready,) = runner.step()
    assert isinstance(ready, Ready)
    request = read_body(json.loads(BODY))
    job = api.decode_request(request, ready.info, {}, streams=False)
    result, report = runner.results(job), Report("0" * 32, "0" * 16, 0.0, 0.0, 0.0)
    answer = api.encode_response(request, job, result, ready.info, report)
    encoder = ResultEncoder(request, job, job.plan)
    notes = encoder.find_new(result[0].events)

    def shape() -> None:
        shaper = encoder.new_shaper(0)
        for note in notes:
            shaper.shape(note)

    parts: dict[str, Callable[[], object]] = {
        "JSON to request": lambda: read_body(json.loads(BODY)),
        "decode, request to job": lambda: api.decode_request(request, ready.info, {}, streams=False),
        "pickle, job and result": lambda: (pickle.dumps(job.for_worker()), pickle.loads(pickle.dumps(result))),
        "encode, result to answer": lambda: api.encode_response(request, job, result, ready.info, report),
        "of that, velocities": shape,
        "of that, the MIDI file": lambda: encoder.midi(notes),
        "answer to JSON": answer.model_dump_json,
    }
    return {name: _cpu_ms(action, repeats) for name, action in parts.items()}


def _cpu_ms(action: Callable[[], object], repeats: int) -> float:
    action()
    start = time.process_time()
    for _ in range(repeats):
        action()
    return 1e3 * (time.process_time() - start) / repeats


def _wait_for_workers(port: int) -> None:
    while True:
        try:
            workers = httpx.get(f"http://127.0.0.1:{port}/info").json()["workers"]
            if [each["ready"] for each in workers] == [True] * N_WORKERS:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.05)


def markdown(figures: Figures) -> str:
    """Return the table."""
    rows = [
        ("requests", f"{figures.requests_per_second:.0f} a second"),
        ("events", f"{figures.events_per_second:.0f} a second"),
        *((f"processor time of a request, {name}", f"{each:.2f} ms") for name, each in figures.cpu_ms.items()),
        *((name, f"{each:.3f} ms") for name, each in figures.part_ms.items()),
    ]
    return table(("generate of 5 s, scripted model", ""), rows)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=4_000)
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--encoders", type=int, default=0, help="processes that encode besides the API's")
    args = parser.parse_args()
    print(markdown(measure(args.requests, args.clients, args.encoders)))


if __name__ == "__main__":
    main()
