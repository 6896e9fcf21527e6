"""End a process that hangs: Ray then starts another, and the file that it hangs on is found as one that crashes it."""

import faulthandler
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

PAUSE_SECONDS: Final = 1.0
"""Between two signs of life; to give one takes longer than some steps of a decoder."""


@contextmanager
def limited(seconds: float) -> Iterator[None]:
    """End the process if the block takes longer; the log of Ray's worker says where it was."""
    faulthandler.dump_traceback_later(seconds, exit=True)
    try:
        yield
    finally:
        faulthandler.cancel_dump_traceback_later()


class Watchdog:
    """End the process if what should give a sign of life again and again does not."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._last = float("-inf")

    def is_alive(self) -> None:
        """Give a sign of life."""
        now = time.monotonic()
        if now - self._last > PAUSE_SECONDS:
            self._last = now
            faulthandler.dump_traceback_later(self._seconds + PAUSE_SECONDS, exit=True)

    def rest(self) -> None:
        """Expect none before the next one."""
        self._last = float("-inf")
        faulthandler.cancel_dump_traceback_later()
