"""Conversions to test the converter with; its process imports them from here."""

import os
import signal
import sys
from pathlib import Path


def convert(body: bytes, name: str, path: Path) -> None:
    """Do what the name says."""
    match name:
        case "pid":
            path.write_text(str(os.getpid()))
        case "niceness":
            path.write_text(str(os.getpriority(os.PRIO_PROCESS, 0)))
        case "policy":
            path.write_text(str(os.sched_getscheduler(0)))
        case "fail":
            raise ValueError(body.decode())
        case "crash":
            os.kill(os.getpid(), signal.SIGSEGV)
        case "exit":
            sys.exit(3)
        case "hang":
            path.write_text(str(os.getpid()))
            signal.pause()
        case _:
            path.write_bytes(body)


def explain(error: Exception) -> tuple[int, str]:
    """Call every error one of the caller's."""
    return 422, f"no: {error}"
