"""Real objects that several tests share."""

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import settings
from prometheus_client.parser import text_string_to_metric_families

from amt.decoding.model import load_model
from tests.client import scripted as by_script

# Nothing listens there: tests need no network, and never wait for one. Read when huggingface_hub is imported.
os.environ["HF_ENDPOINT"] = "http://127.0.0.1:9"
os.environ["HF_HOME"] = tempfile.mkdtemp()

# Nothing here speaks TLS: httpx need not read all certificates for each of its clients, which takes 20 ms.
os.environ["SSL_CERT_DIR"] = tempfile.mkdtemp()
os.environ.pop("SSL_CERT_FILE", None)

# The same examples in every run: a test fails because of a change, not by chance.
settings.register_profile("deterministic", derandomize=True, deadline=None, max_examples=60)
settings.load_profile("deterministic")

PROJECT = Path(__file__).parent.parent
GOLDEN = Path(__file__).parent / "data" / "golden"


@pytest.fixture(scope="session")
def golden() -> Callable[[str], Any]:
    """The contents of one of the reference's golden files."""
    return lambda name: json.loads((GOLDEN / name).read_text())


@pytest.fixture(scope="session")
def hf_model() -> Any:
    """The golden model as Hugging Face runs it: 3 layers, width 32, random weights, float32."""
    import torch
    from transformers import GPT2LMHeadModel

    return GPT2LMHeadModel.from_pretrained(GOLDEN / "model", dtype=torch.float32).eval()


@pytest.fixture(scope="session")
def gpt2() -> Any:
    """The golden model as we run it."""
    import torch

    folder = GOLDEN / "model"
    return load_model(folder, torch.float32, torch.device("cpu"))


@pytest.fixture(scope="session")
def tiny() -> Any:
    """The bundled model as the service runs it on a CPU."""
    from models import ModelStore

    return ModelStore({"tiny": "weights/tiny"}, "cpu").get("tiny")


class Collector:
    """An OTLP collector on this machine that keeps the spans and metrics it is sent."""

    def __init__(self) -> None:
        self.spans: list[Any] = []
        self.metrics: dict[str, Any] = {}
        self._arrived = threading.Condition()
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                collector.take(self.path, body)
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *args: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self._thread = threading.Thread(target=self.server.serve_forever)
        self._thread.start()

    def take(self, path: str, body: bytes) -> None:
        """Keep what an exporter has sent."""
        from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
        from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

        with self._arrived:
            if path == "/v1/traces":
                traces = ExportTraceServiceRequest.FromString(body)
                scopes = [scope for resource in traces.resource_spans for scope in resource.scope_spans]
                self.spans += [span for scope in scopes for span in scope.spans]
            else:
                metrics = ExportMetricsServiceRequest.FromString(body)
                groups = [scope for resource in metrics.resource_metrics for scope in resource.scope_metrics]
                self.metrics |= {metric.name: metric for group in groups for metric in group.metrics}
            self._arrived.notify_all()

    def of_trace(self, trace_id: str, count: int) -> list[Any]:
        """The spans of a trace, once so many have arrived."""

        def found() -> list[Any]:
            return [span for span in self.spans if span.trace_id.hex() == trace_id]

        with self._arrived:
            self._arrived.wait_for(lambda: len(found()) >= count, timeout=20)
            return found()

    def metric(self, name: str) -> Any:
        """A metric, once it has arrived."""
        with self._arrived:
            self._arrived.wait_for(lambda: name in self.metrics, timeout=20)
            return self.metrics[name]

    def close(self) -> None:
        self.server.shutdown()
        self._thread.join()
        self.server.server_close()


@pytest.fixture(scope="session")
def collector() -> Iterator[Collector]:
    """An OTLP collector that the service exports to."""
    running = Collector()
    yield running
    running.close()


def reserved_port() -> int:
    """Return a free port that nobody else on this machine is given until the tests end.

    Linux lets a service bind and listen where another socket with SO_REUSEADDR is bound and does not listen. Elsewhere
    the port is merely free, and somebody may take it first.
    """
    holder = socket.socket()
    holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    holder.bind(("127.0.0.1", 0))
    port: int = holder.getsockname()[1]
    if sys.platform == "linux":
        holder.detach()  # stays open as long as this process
    else:
        holder.close()
    return port


class Service:
    """The service in a subprocess of its own."""

    def __init__(self, *flags: str, **environment: str) -> None:
        port = reserved_port()
        self.url = f"http://127.0.0.1:{port}"
        self._log = Path(tempfile.mkdtemp()) / "service.log"
        with self._log.open("w") as log:
            self.process = subprocess.Popen(
                [sys.executable, "server.py", "--port", str(port), *flags],
                cwd=PROJECT,
                env=os.environ | environment,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def wait_until_listening(self) -> None:
        """Return once /health says anything."""
        self._wait_for_health({"ok", "not ready"})

    def wait_until_ready(self) -> None:
        """Return once /health says ok."""
        self._wait_for_health({"ok"})

    def _wait_for_health(self, wanted: set[str]) -> None:
        """Fail with the log when the service ends or three minutes pass first."""
        deadline = time.monotonic() + 180
        while time.monotonic() < deadline and self.process.poll() is None:
            with suppress(httpx.TransportError):
                if httpx.get(f"{self.url}/health").text in wanted:
                    return
            time.sleep(0.05)
        raise RuntimeError(f"the service did not start:\n{self.output()}")

    @property
    def worker(self) -> int:
        """The process id of the worker that was started first, of those that run.

        Multiprocessing has spawned it, as it has the process that renders, which is nicer than the service.
        """
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        niceness = os.getpriority(os.PRIO_PROCESS, self.process.pid)
        while True:
            for pid in map(int, children.read_text().split()):  # in the order of their start
                with suppress(FileNotFoundError, ProcessLookupError):
                    is_spawned = b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()
                    if is_spawned and os.getpriority(os.PRIO_PROCESS, pid) == niceness:
                        return pid
            assert self.process.poll() is None, self.output()
            time.sleep(0.01)

    def metrics(self) -> dict[str, float]:
        """What /metrics says now: name, or name{label=value,...} with sorted labels -> value.

        What each worker has of its own is there with the label `worker`, and without it as the sum.
        """
        text = httpx.get(f"{self.url}/metrics").text
        samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
        found: dict[str, float] = {}
        for sample in samples:
            of_all = {name: value for name, value in sample.labels.items() if name != "worker"}
            for labels in (of_all, sample.labels) if of_all != sample.labels else (of_all,):
                text = ",".join(f"{name}={value}" for name, value in sorted(labels.items()))
                name = sample.name + (f"{{{text}}}" if text else "")
                found[name] = found.get(name, 0) + sample.value
        return found

    def wait_for(self, metric: str, value: float) -> None:
        """Return once a metric has a value."""
        deadline = time.monotonic() + 60
        while (found := self.metrics().get(metric)) != value:
            assert time.monotonic() < deadline, f"{metric} is {found}, not {value}"
            time.sleep(0.01)

    def output(self) -> str:
        """What the service has printed so far."""
        return self._log.read_text()

    def stop(self) -> int:
        """Ask the service to stop, and return its exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=40)


def descendants(pid: int) -> set[int]:
    """All processes below one, itself included."""
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except FileNotFoundError:  # it has just ended
        return set()
    return {pid}.union(*(descendants(int(child)) for child in children))


def still_running(pids: set[int]) -> set[int]:
    """Return those that still run five seconds later; Python's resource tracker outlives its parent by a moment."""
    deadline = time.monotonic() + 5
    while (left := {pid for pid in pids if _has_command(pid)}) and time.monotonic() < deadline:
        time.sleep(0.05)
    return left


def _has_command(pid: int) -> bool:
    """Return whether a process runs: one that has ended has no command line, even if nobody asks for its status."""
    try:
        return bool(Path(f"/proc/{pid}/cmdline").read_bytes())
    except (FileNotFoundError, ProcessLookupError):
        return False


@pytest.fixture
def start() -> Iterator[Callable[..., Service]]:
    """Starts services; those that a failing test leaves behind are killed."""
    started: list[Service] = []

    def start_one(*flags: str, **environment: str) -> Service:
        started.append(Service(*flags, **environment))
        return started[-1]

    yield start_one
    for each in started:
        if each.process.poll() is None:
            os.killpg(each.process.pid, signal.SIGKILL)
            each.process.wait()


@pytest.fixture(scope="session")
def service(collector: Collector) -> Iterator[Service]:
    """The service with the bundled model as default, and the golden one as size small."""
    running = Service(
        *("--default-model", "tiny", "--model-small", str(GOLDEN / "model")),
        OTEL_EXPORTER_OTLP_ENDPOINT=collector.url,
        OTEL_BSP_SCHEDULE_DELAY="200",
        OTEL_METRIC_EXPORT_INTERVAL="500",
    )
    running.wait_until_ready()
    yield running
    assert running.stop() == 0


@pytest.fixture(scope="session")
def locked() -> Iterator[Service]:
    """The service with a key, for pages of two origins; it has room for five sequences, and nothing waits."""
    running = Service(
        *("--default-model", "tiny", "--max-batch", "5", "--max-waiting", "0"),
        LIT_SERVER_API_KEY="secret",
        ANTICIPATORY_CORS_ORIGINS="https://music.example.org, http://localhost:3000",
    )
    running.wait_until_ready()
    yield running
    assert running.stop() == 0


@pytest.fixture
def scripted() -> Iterator[by_script.Scripted]:
    """A server that answers by script."""
    with by_script.running() as server:
        yield server
