"""Size -> checkpoint -> a model ready to decode: loaded on first use, once, and kept."""

import contextlib
import ctypes
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import psutil
import torch
from huggingface_hub import HfApi, snapshot_download
from huggingface_hub.errors import HfHubHTTPError

from amt.checkpoint import WEIGHT_FILES, read_config, read_weights
from amt.errors import ModelUnavailableError
from amt.gpt2 import BLOCK_TOKENS, GPT2, Cache
from amt.linear import HAS_HALF_KERNEL, HAS_INT8_KERNEL
from amt.sampling import Choice, kept
from amt.vocab import AUTOREGRESS, SLOTS
from schemas import ModelSize

logger = logging.getLogger("anticipatory")

PROJECT: Final = Path(__file__).parent
HUB_TIMEOUT_SECONDS: Final = 3.0
"""How long the hub may take to answer at all, before a size is called unavailable."""

_PAGE_OUT: Final = 21
"""MADV_PAGEOUT of Linux 5.4 and later."""

_CGROUP: Final = Path("/sys/fs/cgroup")
_CHECKPOINT_FILES: Final = ["config.json", *WEIGHT_FILES]


@dataclass(frozen=True)
class LoadedModel:
    """A model and what to call it in an answer."""

    size: ModelSize
    model_id: str
    gpt2: GPT2


class ModelStore:
    """The models of the sizes on offer, on one device."""

    def __init__(self, checkpoints: Mapping[ModelSize, str], device: str = "auto", dtype: str = "auto") -> None:
        """`checkpoints`: size -> a folder, or a hub repository as `repo` or `repo@revision`.

        Raises:
            ValueError: the device is not there, or cannot compute in that precision.
        """
        self._checkpoints = checkpoints
        self._loaded: dict[ModelSize, LoadedModel] = {}
        self.device = find_device(device)
        self.dtype = find_dtype(dtype, self.device)

    def get(self, size: ModelSize) -> LoadedModel:
        """The model of a size.

        Raises:
            ModelUnavailableError: it cannot be had or read now, or is not a model that we can run; a later call
                tries again.
        """
        if size not in self._loaded:
            self._loaded[size] = self._load(size)
        return self._loaded[size]

    @property
    def loaded(self) -> Mapping[ModelSize, LoadedModel]:
        """What has been loaded so far."""
        return dict(self._loaded)

    def describe(self) -> dict[ModelSize, dict[str, Any]]:
        """Of each size: where its checkpoint comes from, and whether it is loaded or could be without a network."""
        return {
            size: {
                "checkpoint": source,
                "loaded": size in self._loaded,
                "available": size in self._loaded or _find_here(source) is not None,
            }
            for size, source in self._checkpoints.items()
        }

    def default_size(self, wanted: ModelSize | Literal["auto"]) -> ModelSize:
        """Load the size that `wanted` stands for: itself, or for auto small if it can be had now, else tiny.

        A size that is wanted by name and cannot be loaded is only warned of; requests will try again.
        """
        size: ModelSize = "small" if wanted == "auto" else wanted
        try:
            self.get(size)
        except ModelUnavailableError as error:
            logger.warning("%s", error)
            if wanted == "auto":
                logger.warning("requests that name no model_size get tiny")
                return self.default_size("tiny")
        return size

    def _load(self, size: ModelSize) -> LoadedModel:
        source = self._checkpoints[size]
        advice = f"set ANTICIPATORY_MODEL_{size.upper()} to a folder with the checkpoint"
        if size != "tiny":
            advice = f"use model_size tiny, or {advice}"
        try:
            folder = _find(source)
            gpt2 = GPT2(read_config(folder), read_weights(folder), self.dtype, self.device)
            _try(gpt2)
        except Exception as error:  # whatever a hub, a disk or a damaged file may come up with
            reason = str(error).strip().splitlines() or [type(error).__name__]
            raise ModelUnavailableError(
                f"size {size} cannot be loaded from {source} ({reason[0]}); {advice}"
            ) from error
        _give_back_memory(self.device)
        logger.info("loaded size %s from %s on %s in %s", size, source, self.device, self.dtype)
        return LoadedModel(size, source, gpt2)


def _try(gpt2: GPT2) -> None:
    """Decode one token: what is compiled at first use shall be compiled now, and not while a request waits."""
    neutral = Choice(*torch.ones(4, 1, device=gpt2.device))
    cache = Cache(gpt2)
    cache.reserve(1)
    hidden = gpt2.decode(torch.tensor([AUTOREGRESS], device=gpt2.device), 0, BLOCK_TOKENS, cache)
    for slot in SLOTS:
        kept(gpt2.logits(hidden, slot), neutral)


def find_device(name: str) -> torch.device:
    """The device of that name; auto is CUDA (or ROCm), then Apple's MPS, then the CPU.

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


def find_dtype(name: str, device: torch.device) -> torch.dtype:
    """The weights' precision of that name; auto is the fastest that costs hardly any quality.

    That is bfloat16 on a CUDA device that supports it, int8 or at least float16 on a CPU that has the kernels for it,
    else float32.

    Raises:
        ValueError: the device cannot compute in it.
    """
    has_int8 = device.type == "cpu" and HAS_INT8_KERNEL
    if name == "int8" and not has_int8:
        raise ValueError(f"dtype int8 is not available on {device} here: use auto, float32, bfloat16 or float16")
    if name != "auto":
        return getattr(torch, name)  # type: ignore[no-any-return]
    if device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False):
        return torch.bfloat16
    if has_int8:
        return torch.int8
    return torch.float16 if device.type == "cpu" and HAS_HALF_KERNEL else torch.float32


def free_bytes(device: torch.device) -> int:
    """How much memory could be taken on a device now; of a container's no more than it has left."""
    if device.type == "cuda":
        unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + unused
    free: int = psutil.virtual_memory().available
    try:
        limit, used = (int((_CGROUP / name).read_text()) for name in ("memory.max", "memory.current"))
    except (OSError, ValueError):  # no container, or one without a limit
        return free
    return min(free, limit - used)


def _give_back_memory(device: torch.device) -> None:
    """Give the system back what loading has taken and freed again, and, on a CPU, PyTorch's libraries for GPUs.

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


def _find(source: str) -> Path:
    """The folder with the checkpoint, fetched from the hub if need be."""
    if folder := _find_here(source):
        return folder
    if not _is_repository(source):
        raise FileNotFoundError(f"there is no folder {source}")
    repository, _, revision = source.partition("@")
    try:
        files = HfApi().model_info(repository, revision=revision or None, timeout=HUB_TIMEOUT_SECONDS).siblings or []
    except HfHubHTTPError as error:
        raise ConnectionError(f"the model hub refused it: {error.response.status_code}") from error
    except Exception as error:
        raise ConnectionError(f"there is no folder {PROJECT / source}, and the model hub cannot be reached") from error
    logger.info("fetching %s from the model hub", source)
    safetensors = any(file.rfilename.endswith(".safetensors") for file in files)
    ignored = ["*.bin"] if safetensors else None
    fetched = snapshot_download(
        repository, revision=revision or None, allow_patterns=_CHECKPOINT_FILES, ignore_patterns=ignored
    )
    return _complete(Path(fetched))


def _find_here(source: str) -> Path | None:
    """The folder with the checkpoint if it is on this machine: as named, or in the hub's cache."""
    repository, _, revision = source.partition("@")
    try:
        folder = PROJECT / Path(source).expanduser()
        if folder.is_dir():
            return folder
        if not _is_repository(source):
            return None
        cached = snapshot_download(
            repository, revision=revision or None, allow_patterns=_CHECKPOINT_FILES, local_files_only=True
        )
        return _complete(Path(cached))
    except (OSError, RuntimeError, ValueError):  # not there, or not even a name that could be
        return None


def _is_repository(source: str) -> bool:
    return source.count("/") == 1 and not source.startswith(("/", ".", "~"))


def _complete(folder: Path) -> Path:
    """The folder, if it holds a configuration and weights."""
    if not (folder / "config.json").exists() or not any((folder / name).exists() for name in WEIGHT_FILES):
        raise FileNotFoundError(f"the checkpoint in {folder.name} is incomplete")
    return folder
