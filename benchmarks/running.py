"""Start a service of its own to measure, and look at its processes."""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import psutil
from prometheus_client.parser import text_string_to_metric_families

PROJECT = Path(__file__).parent.parent

MAX_WARNINGS = 10
"""Of the service's log that are shown when it has ended."""


class Running:
    """Hold a service that runs in a process of its own, on this machine only."""

    def __init__(self, url: str, process: subprocess.Popen[bytes]) -> None:
        self.url, self.process = url, process

    def is_ready(self) -> bool:
        """Return whether /health says so."""
        try:
            return httpx.get(f"{self.url}/health").status_code == 200
        except httpx.TransportError:
            return False

    def wait_until_ready(self) -> float:
        """Return how many seconds that took. Raise RuntimeError if the service ends instead."""
        start = time.perf_counter()
        while not self.is_ready():
            if self.process.poll() is not None:
                raise RuntimeError(f"the service ended with status {self.process.returncode}")
            time.sleep(0.02)
        return time.perf_counter() - start

    def metric(self, name: str) -> float:
        """Return the sum of a metric's samples."""
        families = text_string_to_metric_families(httpx.get(f"{self.url}/metrics").text)
        return sum(sample.value for family in families for sample in family.samples if sample.name == name)

    def processes(self) -> list[int]:
        """Return the service's process and all below it."""
        found, waiting = [], [self.process.pid]
        while waiting:
            pid = waiting.pop()
            found.append(pid)
            waiting += map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())
        return found

    def kill_worker(self) -> None:
        """Send SIGKILL to a worker, as the system does when memory runs out."""
        for pid in self.processes():
            if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes():
                os.kill(pid, signal.SIGKILL)
                return

    def megabytes(self) -> float:
        """Return the memory of all processes, shared pages divided among those that share them (PSS)."""
        total = 0
        for pid in self.processes():
            rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
            total += int(next(line for line in rollup.splitlines() if line.startswith("Pss:")).split()[1])
        return total / 1_024


def cpu_seconds(processes: Iterable[psutil.Process]) -> float:
    """Return the processor time of processes so far."""
    times = [process.cpu_times() for process in processes if process.is_running()]
    return sum(each.user + each.system for each in times)


@contextmanager
def service(*flags: str) -> Iterator[Running]:
    """Run a service with tiny as its default, on a free port; stop it at the end."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    command = [sys.executable, "server.py", "--port", port, "--default-model", "tiny", *flags]
    with tempfile.TemporaryFile("w+") as log:
        process = subprocess.Popen(command, cwd=PROJECT, stdout=log, stderr=subprocess.STDOUT)
        try:
            yield Running(f"http://127.0.0.1:{port}", process)
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait()
            log.seek(0)
            warned = [line for line in log if " WARNING " in line and ", job " not in line]  # not of single requests
            sys.stderr.writelines(warned[:MAX_WARNINGS])
