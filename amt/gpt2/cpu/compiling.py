"""Compile functions for CPUs by numba, and share their loops among as many threads as PyTorch uses."""

import hashlib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from threading import Lock, local
from types import ModuleType
from typing import Any, Final

import numba
import torch
from numba import njit

_TORCH_THREADS: Final = torch.get_num_threads()
_MAX_THREADS: Final[int] = numba.get_num_threads()
torch.set_num_threads(_TORCH_THREADS)  # numba's start lets OpenMP, and so PyTorch, use all cores

_alone: Final = Lock()
"""Where there is no libgomp, numba's threads serve one caller at a time, and end the process if there are two."""

_used = local()
"""How many threads each caller uses, so that numba is told only if that changes: telling it takes 10 us."""


def share(function: Callable[..., Any], *arguments: Any) -> Any:
    """Call what shares loops among threads, compiled functions or what calls them, with as many as PyTorch uses."""
    number = min(torch.get_num_threads(), _MAX_THREADS)
    with _alone:
        if getattr(_used, "number", None) != number:
            numba.set_num_threads(number)
            _used.number = number
        return function(*arguments)


def compiled(
    fastmath: frozenset[str] = frozenset(), *, is_part: bool = False, **options: bool
) -> Callable[[Callable[..., Any]], Any]:
    """Return a decorator that compiles a function when it is first called; options are those of `numba.njit`.

    What is compiled is kept on disk, with all that it calls, until its own file changes; `is_part` is for functions
    that are only called by such ones, and not kept by themselves.
    """
    # Python's division would look for zeros, one by one.
    compiled = partial(njit, nogil=True, error_model="numpy", fastmath=set(fastmath), **options)

    def compile_once(function: Callable[..., Any]) -> Any:
        if is_part:
            return compiled()(function)
        try:
            return compiled(cache=True)(function)
        except RuntimeError:  # neither this folder nor the user's can be written to: some seconds at each start
            return compiled()(function)

    return compile_once


def digest(*modules: ModuleType) -> str:
    """Return what is another when the code of modules is, for functions that call theirs."""
    return hashlib.sha256(b"".join(Path(str(module.__file__)).read_bytes() for module in modules)).hexdigest()
