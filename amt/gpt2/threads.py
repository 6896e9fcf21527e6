"""Find how many threads decode fastest."""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

import torch

MIN_GAIN: Final = 0.05
"""Share of the time by which another number must be faster; less is noise."""

TRIALS_SHARE: Final = 0.05
"""Share of the time that trials of slower numbers may cost."""

MIN_PAUSE_SECONDS: Final = 1.0

_TURNS: Final = (False, False, True, True, False)
"""Whether a trial's step is the candidate's. The first is not counted; the others cancel what grows with time."""


def share_cores(n_processes: int) -> None:
    """Leave as many processes like this one their part of the cores, unless OMP_NUM_THREADS says how many threads."""
    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(max(1, torch.get_num_threads() // n_processes))


class ThreadTuner:
    """Use as many threads as have been fastest lately.

    PyTorch's threads wait for one another many times a step, spinning. Where there is little to compute, or where other
    programs keep cores busy, that can take ten times as long as more threads gain, and nobody can know beforehand. So
    from time to time a few steps are timed with half or twice as many.
    """

    def __init__(self, max_threads: int, clock: Callable[[], float] = time.perf_counter) -> None:
        """Begin with one thread, for too many cost more than too few; use at most `max_threads`."""
        self._counts = [1 << power for power in range((max_threads - 1).bit_length())] + [max_threads]
        self._clock = clock
        self._chosen = 0
        self._step = 1
        self._pause = 0.0
        self._times: list[float] = []
        self._n_rows = 0

    @property
    def chosen(self) -> int:
        """How many threads decode at present."""
        return self._counts[self._chosen]

    @contextmanager
    def measured(self, n_rows: int) -> Iterator[None]:
        """Run a step of `n_rows` in this context with the chosen number of threads, or with one on trial."""
        if n_rows != self._n_rows:
            self._n_rows = n_rows
            self._times.clear()
        is_trial = self._pause <= 0 and len(self._counts) > 1
        is_candidate_turn = is_trial and _TURNS[len(self._times)]
        before = torch.get_num_threads()
        torch.set_num_threads(self._counts[self._candidate] if is_candidate_turn else self.chosen)
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
                self._decide()

    @property
    def _candidate(self) -> int:
        candidate = self._chosen + self._step
        return candidate if 0 <= candidate < len(self._counts) else self._chosen - self._step

    def _decide(self) -> None:
        _, *counted = zip(_TURNS, self._times, strict=True)
        chosen_time, candidate_time = (sum(took for turn, took in counted if turn is whose) for whose in (False, True))
        self._times.clear()
        candidate = self._candidate
        self._step = candidate - self._chosen
        if candidate_time < (1 - MIN_GAIN) * chosen_time:
            self._chosen = candidate  # and at once try the next one in that direction
        else:
            self._step = -self._step
            self._pause = max(MIN_PAUSE_SECONDS, (candidate_time - chosen_time) / TRIALS_SHARE)
