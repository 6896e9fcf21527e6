"""Let a kernel begin on a GPU while the one before it still runs, for what it can do without its results.

From Hopper on a kernel may be launched when all programs of the one before it have called `wait`, or ended; there it
waits until the one before it is done. That one has waited too, so before it calls `wait` a kernel may read what is
older than the kernel before it, if that is one of these, or of a kind that lets no other begin early. A program may end
without a call if another one of its kernel makes it.
Source: CUDA C++ Programming Guide, "Programmatic Dependent Launch and Synchronization".
"""

from functools import cache
from typing import Any

import torch
import triton
import triton.language as tl

_HOPPER = 9, 0


@cache
def overlap(device: torch.device) -> dict[str, Any]:
    """Return how to launch a kernel that calls `wait`, and whose last argument is called `is_overlapped`."""
    can = device.type == "cuda" and torch.version.hip is None and torch.cuda.get_device_capability(device) >= _HOPPER
    return {"is_overlapped": True, "launch_pdl": True} if can else {"is_overlapped": False}


@triton.jit
def wait(is_overlapped: tl.constexpr):
    """Wait until the kernel before is done, and let the one behind begin."""
    if is_overlapped:
        tl.extra.cuda.gdc_wait()
        tl.extra.cuda.gdc_launch_dependents()
