"""Find a device, the precision it computes best in, and its memory."""

import contextlib
import ctypes
from pathlib import Path
from typing import Final

import psutil
import torch

_PAGE_OUT: Final = 21
"""MADV_PAGEOUT of Linux 5.4 and later."""

_CGROUP: Final = Path("/sys/fs/cgroup")


def find_device(name: str) -> torch.device:
    """Return the device of that name; auto is CUDA (or ROCm), then Apple's MPS, then the CPU.

    Raises:
        ValueError: there is no such device here.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ValueError(f"device {name} is not available here: use auto, cpu, cuda, cuda:N or mps") from error
    return device


def find_devices(wanted: str) -> list[torch.device]:
    """Return the devices that are wanted: a number of CUDA devices, or names such as `cuda:0,cuda:2`.

    auto is all CUDA devices; where there are none, the one that `find_device` finds counts as all.

    Raises:
        ValueError: they are not there, or one is named twice.
    """
    n_cuda = torch.cuda.device_count() if torch.cuda.is_available() else 0
    cuda = [torch.device("cuda", index) for index in range(n_cuda)]
    if wanted != "auto" and not wanted.isdecimal():
        # One that is known to be there is not tried: this process would keep memory on each.
        known = {str(device): device for device in cuda}
        named = [known.get(name) or find_device(name) for name in map(str.strip, wanted.split(","))]
        if len({(each.type, each.index or 0) for each in named}) < len(named):
            raise ValueError(f"{wanted} names a device twice: name it once, and ask for more workers on each device")
        return named
    here = cuda or [find_device("auto")]
    if wanted == "auto":
        return here
    if not 1 <= int(wanted) <= len(here):
        raise ValueError(f"{wanted} devices are not available here: there are {len(here)}, of kind {here[0].type}")
    return here[: int(wanted)]


def find_dtype(name: str, device: torch.device) -> torch.dtype:
    """Return the weights' precision of that name; auto is the fastest that costs hardly any quality.

    That is int8 on a CPU, bfloat16 on a CUDA device that supports it, else float32.

    Raises:
        ValueError: the device cannot compute in it.
    """
    if name in ("int8", "int4") and device.type != "cpu":
        raise ValueError(f"dtype {name} is not available on {device} here: use auto, float32, bfloat16 or float16")
    if name != "auto":
        return getattr(torch, name)  # type: ignore[no-any-return]
    if device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False):
        return torch.bfloat16
    return torch.int8 if device.type == "cpu" else torch.float32


def free_bytes(device: torch.device) -> int:
    """Return how many bytes could be taken on a device now; in a container no more than it has left."""
    if device.type == "cuda":
        unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + unused
    free: int = psutil.virtual_memory().available
    try:
        limit, used = (int((_CGROUP / name).read_text()) for name in ("memory.max", "memory.current"))
    except (OSError, ValueError):  # no container, or one without a limit
        return free
    return min(free, limit - used)


def empty_device_cache(device: torch.device) -> None:
    """Give back what PyTorch keeps of a device's memory and does not use."""
    if device.type == "cuda":
        with torch.cuda.device(device):
            torch.cuda.empty_cache()
    elif device.type == "mps":
        torch.mps.empty_cache()


def release_memory(device: torch.device) -> None:
    """Give the system back what loading has freed again, and, on a CPU, the pages of PyTorch's libraries for GPUs.

    glibc keeps hundreds of megabytes, and those libraries touch 150 to find that there is nothing to do; what is
    asked for again comes from their files. Other systems have no such functions.
    """
    with contextlib.suppress(OSError, AttributeError):
        system = ctypes.CDLL(None)
        system.malloc_trim(0)
        if device.type != "cpu":
            return
        for line in Path("/proc/self/maps").read_text(errors="replace").splitlines():
            if "-packages/nvidia/" in line or "libtorch_cuda" in line:
                start, end = (int(address, 16) for address in line.split(maxsplit=1)[0].split("-"))
                system.madvise(ctypes.c_void_p(start), ctypes.c_size_t(end - start), _PAGE_OUT)
