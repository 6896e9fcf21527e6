"""Find checkpoints: a source, which is a folder or a hub repository -> the files of a model, and of its adapters."""

import json
import logging
from collections.abc import Callable, Mapping
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, Final, NamedTuple

from huggingface_hub import HfApi, snapshot_download
from huggingface_hub.errors import HfHubHTTPError
from torch import Tensor

from amt.decoding.model import load_config
from amt.errors import CheckpointError
from amt.gpt2 import adapter
from amt.gpt2.adapter import is_adapter, merge_adapter, read_adapter_config
from amt.gpt2.checkpoint import WEIGHT_FILES, read_weights
from amt.gpt2.config import Config

logger = logging.getLogger("anticipatory")

PROJECT: Final = Path(__file__).parent

HUB_TIMEOUT_SECONDS: Final = 3.0
"""How long the hub may take to answer at all, before a model is called unavailable."""

GENERATION_FILE: Final = "generation_config.json"
"""What a checkpoint recommends for making music, where Hugging Face's library looks for that too."""

WITHOUT_CONTROLS: Final = "music-*-ar-*"
"""Names of Stanford's models that were trained without controls."""

_FILES: Final = ["config.json", GENERATION_FILE, *WEIGHT_FILES, adapter.CONFIG_FILE, adapter.WEIGHT_FILE]

Locate = Callable[[str], Path]
"""A source -> its folder. Raises FileNotFoundError or ConnectionError if it cannot be had."""


class Checkpoint(NamedTuple):
    """Hold where the files of a model are.

    Attributes:
        source: of the model itself.
        folder: with its configuration and weights.
        adapters: folders with what is merged into it, in this order.
    """

    source: str
    folder: Path
    adapters: tuple[Path, ...] = ()

    @property
    def config(self) -> Config:
        """The model's configuration. Raise CheckpointError if it is not of a model that can be run here."""
        return load_config(self.folder)

    def read_weights(self) -> Mapping[str, Tensor]:
        """Return the model's weights, adapters merged. Raise CheckpointError if they cannot be read or merged."""
        weights: Mapping[str, Tensor] = read_weights(self.folder)
        for folder in self.adapters:
            weights = merge_adapter(weights, folder)
        return weights

    @property
    def variety(self) -> float | None:
        """Which variety it asks for, see `Constraints`: the last of its adapters that asks, else the model; or None."""
        for folder in (*reversed(self.adapters), self.folder):
            if (variety := _read_object(folder / GENERATION_FILE).get("variety")) is not None:
                return float(variety)
        return None

    @property
    def has_controls(self) -> bool:
        """Whether it was trained with controls: config.json says so by `anticipation`, else its name; most were.

        Raises:
            CheckpointError: `anticipation` is neither true nor false.
        """
        said = _read_object(self.folder / "config.json").get("anticipation")
        if said is None:
            return not is_named_without_controls(self.source)
        if not isinstance(said, bool):
            raise CheckpointError(f"anticipation in config.json must be true or false, and is {json.dumps(said)[:40]}")
        return said


def find_checkpoint(source: str, offered: Mapping[str, str], locate: Locate) -> Checkpoint:
    """Return where the files of a source are; an adapter's base is found too.

    Args:
        source: a folder, or a hub repository as `repo` or `repo@revision`.
        offered: name -> source of all models: a base may be one of them. It may also be a folder beside the adapter.
        locate: `fetch`, or `find_locally`.

    Raises:
        CheckpointError: an adapter cannot be read, or is its own base.
        OSError: files are missing.
    """
    folder, found, seen = locate(source), list[Path](), {source}
    while is_adapter(folder):
        found.append(folder)
        base = read_adapter_config(folder).base
        source = offered.get(base) or (str((folder / base).resolve()) if (folder / base).is_dir() else base)
        if source in seen:
            raise CheckpointError(f"the base of the adapter in {folder.name} is {base}, which is the adapter itself")
        seen.add(source)
        folder = locate(source)
    return Checkpoint(source, folder, tuple(reversed(found)))


def fetch(source: str) -> Path:
    """Return the folder of a source, fetched from the hub if need be.

    Raises:
        FileNotFoundError: there is no such folder, or it lacks files.
        ConnectionError: the hub cannot be reached, or does not give it.
    """
    if folder := _find_on_this_machine(source):
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
        allow_patterns=_FILES,
        ignore_patterns=["*.bin"] if has_safetensors else None,
    )
    return _checked(Path(fetched))


def find_locally(source: str) -> Path:
    """Return the folder of a source without a network. Raise FileNotFoundError if it is not on this machine."""
    if folder := _find_on_this_machine(source):
        return folder
    raise FileNotFoundError(f"{source} is not on this machine")


def is_named_without_controls(source: str) -> bool:
    """Tell whether a source has a name of Stanford's for models that were trained without controls."""
    return fnmatch(Path(source).name.partition("@")[0], WITHOUT_CONTROLS)


def _find_on_this_machine(source: str) -> Path | None:
    """Return the folder as named, or the one in the hub's cache; None if there is neither."""
    repository, _, revision = source.partition("@")
    try:
        folder = PROJECT / Path(source).expanduser()
        if folder.is_dir():
            return folder
        if not _is_repository(source):
            return None
        cached = snapshot_download(repository, revision=revision or None, allow_patterns=_FILES, local_files_only=True)
        return _checked(Path(cached))
    except (OSError, RuntimeError, ValueError):  # not there, or not even a name that could be
        return None


def _is_repository(source: str) -> bool:
    return source.count("/") == 1 and not source.startswith(("/", ".", "~"))


def _checked(folder: Path) -> Path:
    """Return the folder if it holds a model or an adapter; raise FileNotFoundError if not."""
    is_model = (folder / "config.json").exists() and any((folder / name).exists() for name in WEIGHT_FILES)
    if not is_model and not (is_adapter(folder) and (folder / adapter.WEIGHT_FILE).exists()):
        raise FileNotFoundError(f"the checkpoint in {folder.name} is incomplete")
    return folder


def _read_object(file: Path) -> dict[str, Any]:
    """Return the JSON object of a file, empty if there is no file. Raise CheckpointError if it cannot be read."""
    try:
        value = json.loads(file.read_bytes()) if file.exists() else {}
    except ValueError as error:
        raise CheckpointError(f"{file.name} cannot be read: {error}") from error
    if not isinstance(value, dict):
        raise CheckpointError(f"{file.name} holds no JSON object")
    return value
