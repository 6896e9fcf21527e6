"""Start processes that work for this one, each at the other end of a pipe."""

import multiprocessing
import signal
from collections.abc import Callable
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from typing import Any


def start_child(target: Callable[..., None], *args: Any, name: str) -> tuple[SpawnProcess, Connection]:
    """Return a process that calls `target` with `args` and one end of a pipe, and the other end.

    Raises:
        OSError: the system has no room for another process.
    """
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=target, args=(*args, theirs), name=name, daemon=True)
    # It inherits the mask: Ctrl-C and some supervisors signal every process, but only this one acts on it.
    resource_tracker.ensure_running()  # when it is started, it unblocks these signals
    signals = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    try:
        process.start()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, signals)
        theirs.close()  # or the end of the pipe would never be seen
    return process, ours
