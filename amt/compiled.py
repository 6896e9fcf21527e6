"""How numba compiles what CPUs need and PyTorch has only slowly: once, kept beside the source for the next start."""

from collections.abc import Callable
from functools import partial
from threading import Lock
from typing import Any, Final

import numba
from numba import njit

alone: Final = Lock()
"""To hold while threads share a loop: without libgomp there may be one such loop at a time, or the process ends."""

_MOST_THREADS: Final[int] = numba.get_num_threads()


def compiled(*, reorders: bool = False, parallel: bool = False) -> Callable[[Callable[..., Any]], Any]:
    """A decorator. Numbers are finite, and whole rows of them at a time are what vectors are for.

    Args:
        reorders: whether sums may be taken in whatever order suits vectors; else results are the same to the bit
            wherever the function stands.
        parallel: whether it shares loops among threads.
    """
    freedom = {"reassoc", "contract"} if reorders else {"nnan", "nsz"}
    # Python's division would look for zeros, one by one.
    compile_with = partial(njit, nogil=True, error_model="numpy", fastmath=freedom, parallel=parallel)

    def compile_once(function: Callable[..., Any]) -> Any:
        try:
            return compile_with(cache=True)(function)
        except RuntimeError:  # neither this folder nor the user's can be written to: some seconds at each start
            return compile_with()(function)

    return compile_once


def use_threads(number: int) -> None:
    """Share loops among so many from now on, or among as many as there are cores."""
    numba.set_num_threads(min(number, _MOST_THREADS))
