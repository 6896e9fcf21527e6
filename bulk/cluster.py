"""Start Ray here, or join a cluster, and find how many workers it has room for."""

import logging
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final, NamedTuple

import ray

from bulk.errors import BulkError
from checkpoints import PROJECT

WORKER_CPUS: Final = 0.75
STAGE_CPUS: Final = 0.25
"""Of a core, as Ray counts them: one worker a core leaves room for stages, which take little."""

CONNECT_SECONDS: Final = 10.0
"""In which whatever listens at an address answers."""

_NOT_SENT: Final = [".git", ".venv", "docs", "tests", "site", "benchmarks", "training/data", "**/__pycache__"]
"""Of the project, what other machines need not have."""


class Pool(NamedTuple):
    """Say how many workers there are, and what each takes.

    Attributes:
        n_workers: on all nodes.
        n_gpus: that each has for itself.
        is_alone: whether a worker has its device for itself.
    """

    n_workers: int
    n_gpus: int
    is_alone: bool

    @property
    def resources(self) -> dict[str, float]:
        """What Ray reserves for a worker."""
        return {"num_cpus": 1, "num_gpus": 1} if self.n_gpus else {"num_cpus": WORKER_CPUS}


@contextmanager
def connected(address: str | None) -> Iterator[None]:
    """Have Ray run while the block does: on this machine alone, or the cluster at an address.

    Raises:
        BulkError: there is no cluster at the address.
    """
    options: dict[str, Any] = {"include_dashboard": False}
    if address is not None:
        _check(address)
        options = {"runtime_env": {"working_dir": str(PROJECT), "excludes": _NOT_SENT}}
    try:
        ray.init(address or "local", logging_level=logging.ERROR, log_to_driver=False, **options)
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise BulkError(f"no cluster of Ray can be joined at {address}: {error}") from error
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # Ray has set one that aborts
    try:
        yield
    finally:
        ray.shutdown()


def _check(address: str) -> None:
    """Raise BulkError if nothing answers at an address: Ray would wait for minutes."""
    host, colon, port = address.rpartition(":")
    if address == "auto":
        return
    if not (host and colon and port.isdecimal()) or "/" in host:
        raise BulkError(f"the address of a cluster is auto or host:port, got {address!r}")
    try:
        socket.create_connection((host, int(port)), CONNECT_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise BulkError(f"no cluster of Ray answers at {address}: {error}") from error


def nodes() -> set[str]:
    """Return the nodes that are alive."""
    return {node["NodeID"] for node in ray.nodes() if node["Alive"]}


def has_gpus() -> bool:
    """Return whether any node has a GPU."""
    return "GPU" in ray.cluster_resources()


def find_pool(device: str, wanted: int | None) -> Pool:
    """Return the workers that there is room for now: one on each GPU, or on each core of a CPU.

    Args:
        device: the kind that a worker has found.
        wanted: at most this many; None: all.
    """
    resources = ray.cluster_resources()
    n_gpus = int(resources.get("GPU", 0)) if device == "cuda" else 0
    n_devices = n_gpus or (max(1, int(resources.get("CPU", 1))) if device == "cpu" else 1)
    return Pool(min(n_devices, wanted or n_devices), min(n_gpus, 1), is_alone=device != "cpu")
