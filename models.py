"""Find models by name: name -> checkpoint (folder or hub) -> loaded model, on first use, once, and kept."""

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from huggingface_hub import HfApi, snapshot_download
from huggingface_hub.errors import HfHubHTTPError

from amt.decoding.model import load_model, warm_up
from amt.errors import ModelUnavailableError
from amt.gpt2.checkpoint import WEIGHT_FILES
from amt.gpt2.device import find_device, find_dtype, free_bytes, release_memory
from amt.gpt2.network import GPT2
from amt.gpt2.threads import share_cores

logger = logging.getLogger("anticipatory")

PROJECT: Final = Path(__file__).parent

HUB_TIMEOUT_SECONDS: Final = 3.0
"""How long the hub may take to answer at all, before a model is called unavailable."""

BUNDLED: Final = "tiny"
PREFERRED: Final = "small"
"""The default where it can be had."""

GENERATION_FILE: Final = "generation_config.json"
"""What a checkpoint recommends for making music, where Hugging Face's library looks for that too."""

_CHECKPOINT_FILES: Final = ["config.json", GENERATION_FILE, *WEIGHT_FILES]


class ModelStore:
    """Load the models on offer to one device, each when it is first asked for."""

    def __init__(
        self, checkpoints: Mapping[str, str], device: str = "auto", dtype: str = "auto", n_sharing: int = 1
    ) -> None:
        """Take name -> checkpoint: a folder, or a hub repository as `repo` or `repo@revision`.

        `n_sharing` stores of as many processes share the device: its memory, and the cores of a CPU.

        Raises:
            ValueError: the device is not there, or cannot compute in that precision.
        """
        self._checkpoints = checkpoints
        self._loaded: dict[str, GPT2] = {}
        self._varieties: dict[str, float | None] = {}
        self.device = find_device(device)
        self.dtype = find_dtype(dtype, self.device)
        self._n_sharing = n_sharing
        if self.device.type == "cpu":
            share_cores(n_sharing)

    def get(self, name: str) -> GPT2:
        """Return the model of a name.

        Raises:
            ModelUnavailableError: it cannot be had or read now, or is not a model that we can run; a later call
                tries again.
        """
        if name not in self._loaded:
            self._loaded[name] = self._load(name)
        return self._loaded[name]

    def variety(self, name: str) -> float | None:
        """Return which variety a loaded model asks for, see `Constraints`; None for none."""
        return self._varieties[name]

    @property
    def loaded(self) -> Mapping[str, GPT2]:
        """The models that have been loaded so far."""
        return dict(self._loaded)

    @property
    def free_bytes(self) -> int:
        """How many bytes this store's process could take on the device now."""
        return free_bytes(self.device) // self._n_sharing

    def describe(self) -> dict[str, dict[str, Any]]:
        """Say of each model where its checkpoint comes from, and whether it is loaded or could be without a network."""
        return {
            name: {
                "checkpoint": source,
                "loaded": name in self._loaded,
                "available": name in self._loaded or _find_locally(source) is not None,
            }
            for name, source in self._checkpoints.items()
        }

    def load_default(self, wanted: str) -> str:
        """Load the default model and return its name: `wanted`, or for auto small if it can be had now, else tiny.

        A model that is wanted by name and cannot be loaded is only warned of; requests will try again.
        """
        name = PREFERRED if wanted == "auto" else wanted
        try:
            self.get(name)
        except ModelUnavailableError as error:
            logger.warning("%s", error)
            if wanted == "auto":
                logger.warning("requests that name no model_size get %s", BUNDLED)
                return self.load_default(BUNDLED)
        return name

    def _load(self, name: str) -> GPT2:
        source = self._checkpoints[name]
        advice = f"set ANTICIPATORY_MODEL_{name.upper()} to a folder with the checkpoint"
        if name != BUNDLED:
            advice = f"use model_size {BUNDLED}, or {advice}"
        try:
            folder = _find(source)
            model = load_model(folder, self.dtype, self.device)
            warm_up(model)
            self._varieties[name] = _read_variety(folder)
        except Exception as error:  # whatever a hub, a disk or a damaged file may come up with
            reason = str(error).strip().splitlines() or [type(error).__name__]
            raise ModelUnavailableError(
                f"size {name} cannot be loaded from {source} ({reason[0]}); {advice}"
            ) from error
        release_memory(self.device)
        logger.info("loaded size %s from %s on %s in %s", name, source, self.device, self.dtype)
        return model


def _find(source: str) -> Path:
    """Return the folder with the checkpoint, fetched from the hub if need be."""
    if folder := _find_locally(source):
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
    has_safetensors = any(file.rfilename.endswith(".safetensors") for file in files)
    fetched = snapshot_download(
        repository,
        revision=revision or None,
        allow_patterns=_CHECKPOINT_FILES,
        ignore_patterns=["*.bin"] if has_safetensors else None,
    )
    return _checked(Path(fetched))


def _find_locally(source: str) -> Path | None:
    """Return the folder with the checkpoint if it is on this machine: as named, or in the hub's cache."""
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
        return _checked(Path(cached))
    except (OSError, RuntimeError, ValueError):  # not there, or not even a name that could be
        return None


def _read_variety(folder: Path) -> float | None:
    file = folder / GENERATION_FILE
    variety = json.loads(file.read_text()).get("variety") if file.exists() else None
    return None if variety is None else float(variety)


def _is_repository(source: str) -> bool:
    return source.count("/") == 1 and not source.startswith(("/", ".", "~"))


def _checked(folder: Path) -> Path:
    """Return the folder if it holds a configuration and weights; raise FileNotFoundError if not."""
    if not (folder / "config.json").exists() or not any((folder / name).exists() for name in WEIGHT_FILES):
        raise FileNotFoundError(f"the checkpoint in {folder.name} is incomplete")
    return folder
