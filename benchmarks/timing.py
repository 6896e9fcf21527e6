"""Time what is measured."""

import statistics
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple, Self

import torch


def seconds(action: Callable[[], object]) -> float:
    """Return how long an action takes."""
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def milliseconds(action: Callable[[], object], device: torch.device) -> float:
    """Return how long an action takes until the device is done with it."""
    start = time.perf_counter()
    action()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return 1e3 * (time.perf_counter() - start)


class Spread(NamedTuple):
    """Hold the median and the limits of several times."""

    median: float
    shortest: float
    longest: float

    @classmethod
    def of(cls, times: Sequence[float]) -> Self:
        """Return that of at least one time."""
        return cls(statistics.median(times), min(times), max(times))

    def text(self, scale: float, digits: int, unit: str) -> str:
        """Write it in a unit of which there are `scale` to the unit of the times."""
        median, shortest, longest = (f"{scale * each:.{digits}f}" for each in self)
        return f"{median} {unit} ({shortest} to {longest})"
