"""How many threads decode."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

import torch

LEAST_GAIN: Final = 0.05
"""By this share of the time another number must be faster, or it is noise."""

TRIALS_SHARE: Final = 0.05
"""Trials of slower numbers may cost this share of the time."""

LEAST_PAUSE_SECONDS: Final = 1.0

_TURNS: Final = (False, False, True, True, False)
"""Whether a trial's step is the rival's. The first is not counted; the others cancel what grows with time."""


class Threads:
    """As many as have been fastest lately.

    PyTorch's threads wait for one another many times a step, spinning. Where there is little to compute, or where other
    programs keep cores busy, that can take ten times as long as more threads gain, and nobody can know beforehand. So
    from time to time a few steps are timed with half or twice as many.
    """

    def __init__(self, most: int, clock: Callable[[], float] = time.perf_counter) -> None:
        """`most`: as many as there may be; it begins with one, for too many cost more than too few."""
        self._counts = [1 << power for power in range((most - 1).bit_length())] + [most]
        self._clock = clock
        self._chosen = 0
        self._step = 1
        self._pause = 0.0
        self._times: list[float] = []
        self._n_rows = 0

    @property
    def chosen(self) -> int:
        """How many decode at present."""
        return self._counts[self._chosen]

    @contextmanager
    def measured(self, n_rows: int) -> Iterator[None]:
        """Everything in this context, a step of so many rows, takes the number that has been chosen or is tried."""
        if n_rows != self._n_rows:
            self._n_rows = n_rows
            self._times.clear()
        is_trial = self._pause <= 0 and len(self._counts) > 1
        is_rivals = is_trial and _TURNS[len(self._times)]
        before = torch.get_num_threads()
        torch.set_num_threads(self._counts[self._rival] if is_rivals else self.chosen)
        start = self._clock()
        try:
            yield
        finally:
            torch.set_num_threads(before)
        took = self._clock() - start
        self._pause -= took
        if is_trial:
            self._times.append(took)
            if len(self._times) == len(_TURNS):
                self._judge()

    @property
    def _rival(self) -> int:
        rival = self._chosen + self._step
        return rival if 0 <= rival < len(self._counts) else self._chosen - self._step

    def _judge(self) -> None:
        _, *counted = zip(_TURNS, self._times, strict=True)
        own, rivals = (sum(took for turn, took in counted if turn is whose) for whose in (False, True))
        self._times.clear()
        rival = self._rival
        self._step = rival - self._chosen
        if rivals < (1 - LEAST_GAIN) * own:
            self._chosen = rival  # and at once try the next one in that direction
        else:
            self._step = -self._step
            self._pause = max(LEAST_PAUSE_SECONDS, (rivals - own) / TRIALS_SHARE)
