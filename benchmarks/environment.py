"""Describe what the figures were measured on: the code, the machine, the versions, the set-up."""

import os
import platform
import subprocess
import sys
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import psutil
import torch

PROJECT = Path(__file__).parent.parent

PACKAGES = ("torch", "numba", "numpy", "litserve", "transformers")

CUDA_PACKAGES = ("nvidia", "triton")
"""Folders that only a computer with an NVIDIA GPU needs."""


def commit() -> str:
    """Return the short name of the commit, and whether files have changed since."""
    names = subprocess.run(
        ["git", "describe", "--always", "--abbrev=12", "--dirty", "--exclude=*"],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=False,
    )
    return names.stdout.strip().replace("-dirty", ", with changes") or "unknown (no git)"


def cpu() -> str:
    """Return the model of the CPU, as the system names it."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())


def device_name(device: torch.device) -> str:
    """Return the device, and of a GPU its model too."""
    return f"{device}, {torch.cuda.get_device_name(device)}" if device.type == "cuda" else str(device)


def disk_megabytes(folder: Path) -> float:
    """Return how much of a disk the files below a folder take; what is linked twice counts once."""
    found: dict[tuple[int, int], int] = {}
    for parent, _, names in os.walk(folder):
        for name in names:
            status = os.lstat(os.path.join(parent, name))  # noqa: PTH118 (a Path for each of 50,000 files is slow)
            found[status.st_dev, status.st_ino] = 512 * status.st_blocks
    return sum(found.values()) / 1e6


def cuda_megabytes(environment: Path) -> float:
    """Return how many megabytes of a virtual environment only NVIDIA GPUs need."""
    folders = (folder for name in CUDA_PACKAGES for folder in environment.glob(f"lib/python*/site-packages/{name}"))
    return sum(map(disk_megabytes, folders))


def where(device: torch.device) -> str:
    """Return in a line what was measured on what, and when: the code, the computer, the versions."""
    n_cores = len(psutil.Process().cpu_affinity()) if sys.platform == "linux" else os.cpu_count()
    versions = (f"{name} {version(name)}" for name in PACKAGES)
    return (
        f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC, commit {commit()}; {cpu()}, {n_cores} cores, "
        f"{psutil.virtual_memory().total / 2**30:.1f} GiB; {device_name(device)}, {torch.get_num_threads()} threads; "
        f"{platform.system()} {platform.machine()}, Python {platform.python_version()}, {', '.join(versions)}"
    )
