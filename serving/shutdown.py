"""Stopping without leaving anything behind; see LitServe's `run`, which only knows KeyboardInterrupt."""

import os
import signal
import sys
from collections.abc import Sequence
from multiprocessing.process import BaseProcess
from types import FrameType


def stop_gracefully_on_signals() -> None:
    """In the main process: SIGTERM and SIGINT finish what is running, and then exit.

    LitServe's processes inherit the handler's process id and not its job: in them SIGTERM kills, as it expects.
    """
    main = os.getpid()

    def stop(signum: int, frame: FrameType | None) -> None:
        if os.getpid() != main:
            signal.signal(signum, signal.SIG_DFL)
            os.kill(os.getpid(), signum)
            return
        for each in (signal.SIGTERM, signal.SIGINT):
            signal.signal(each, signal.SIG_IGN)
        raise KeyboardInterrupt

    for each in (signal.SIGTERM, signal.SIGINT):
        signal.signal(each, stop)


def leave_interrupts_to_main() -> None:
    """In a worker: Ctrl-C reaches the whole process group, but only the main process acts on it.

    SIGTERM ends the worker by way of `exit`, so that spans that wait to be exported are.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda signum, frame: sys.exit(0))


def end_workers(workers: Sequence[BaseProcess], patience_seconds: float = 5) -> None:
    """In the main process: end workers that are not serving yet, whatever they are doing."""
    for worker in workers:
        worker.terminate()
    for worker in workers:
        worker.join(patience_seconds)
        worker.kill()
