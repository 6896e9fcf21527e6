"""Keep the models on offer: name -> checkpoint -> loaded model, on first use, once, until it is unloaded."""

import gc
import logging
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple, TypeVar

from amt.decoding.model import build_model, warm_up
from amt.errors import AMTError, ModelUnavailableError
from amt.gpt2.device import empty_device_cache, find_device, find_dtype, free_bytes, release_memory
from amt.gpt2.network import GPT2
from amt.gpt2.threads import share_cores
from checkpoints import Checkpoint, fetch, find_checkpoint, find_locally, is_named_without_controls

T = TypeVar("T")

logger = logging.getLogger("anticipatory")

BUNDLED: Final = "tiny"
PREFERRED: Final = "small"
"""The default where it can be had."""

SIZES: Final = (BUNDLED, PREFERRED, "medium", "large")
"""Names that are always on offer, each with a setting of its own for its checkpoint."""


class _Known(NamedTuple):
    """Hold what is known of a checkpoint without a network; None: not known."""

    is_here: bool
    n_parameters: int | None
    has_controls: bool | None


class _Loaded(NamedTuple):
    """Hold a model, and what its checkpoint says of it."""

    model: GPT2
    variety: float | None
    has_controls: bool


class ModelStore:
    """Load the models on offer to one device, each when it is first asked for.

    `get`, `find`, `load_default` and `survey` wait for disks and hubs; the rest does not, and may be called beside them
    from another thread.
    """

    def __init__(
        self, checkpoints: Mapping[str, str], device: str = "auto", dtype: str = "auto", n_sharing: int = 1
    ) -> None:
        """Take name -> source: a folder, or a hub repository as `repo` or `repo@revision`; of a model or an adapter.

        `n_sharing` stores of as many processes share the device: its memory, and the cores of a CPU.

        Raises:
            ValueError: the device is not there, or cannot compute in that precision.
        """
        self._sources = checkpoints
        self._loaded: dict[str, _Loaded] = {}
        self._known = {name: _Known(False, None, None) for name in checkpoints}
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
        return self._loaded[name].model

    def find(self, name: str) -> None:
        """Fetch what a model is loaded from, if that is not here yet.

        Raises:
            ModelUnavailableError: it cannot be had now, or is not a model that we can run.
        """
        self._attempt(name, lambda checkpoint: checkpoint.config)

    def unload(self, name: str) -> None:
        """Forget a model that nobody else holds any more, and give its memory back to the system."""
        if self._loaded.pop(name, None):
            if self.device.type != "cpu":  # what is recorded there holds itself; on a CPU 0.2 s would be for nothing
                gc.collect()
            empty_device_cache(self.device)
            release_memory(self.device)
            logger.info("unloaded model %s", name)

    def variety(self, name: str) -> float | None:
        """Return which variety a loaded model asks for, see `Constraints`; None for none."""
        return self._loaded[name].variety

    def has_controls(self, name: str) -> bool:
        """Tell whether a loaded model was trained with controls: without, it must not be sent any."""
        return self._loaded[name].has_controls

    @property
    def loaded(self) -> Mapping[str, GPT2]:
        """The models that are loaded."""
        loaded = self._loaded.copy()  # at once, while others are loaded
        return {name: each.model for name, each in loaded.items()}

    @property
    def free_bytes(self) -> int:
        """How many bytes this store's process could take on the device now."""
        return free_bytes(self.device) // self._n_sharing

    def describe(self) -> dict[str, dict[str, Any]]:
        """Say of each model where it comes from and what was known when it was loaded or surveyed; None: not known.

        "loaded" says whether it is, "available" whether it could be without a network; "bytes" what its weights take
        while it is, "controls" whether it was trained with them.
        """
        return {name: self._describe(name, source) for name, source in self._sources.items()}

    def _describe(self, name: str, source: str) -> dict[str, Any]:
        loaded, known = self._loaded.get(name), self._known[name]
        return {
            "checkpoint": source,
            "loaded": loaded is not None,
            "available": known.is_here,
            "parameters": known.n_parameters,
            "controls": known.has_controls,
            "bytes": loaded.model.weight_bytes if loaded else None,
        }

    def survey(self) -> None:
        """Find out what is known of the models that are not loaded."""
        for name in self._sources.keys() - self._loaded.keys():
            self._known[name] = self._find_out(self._sources[name])

    def _find_out(self, source: str) -> _Known:
        try:
            checkpoint = find_checkpoint(source, self._sources, find_locally)
        except (AMTError, OSError):
            return _Known(False, None, False if is_named_without_controls(source) else None)
        try:
            return _Known(True, checkpoint.config.n_parameters, checkpoint.has_controls)
        except AMTError:  # loading will say what is wrong
            return _Known(True, None, None)

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

    def _load(self, name: str) -> _Loaded:
        loaded, self._known[name] = self._attempt(name, self._build)
        release_memory(self.device)
        logger.info("loaded model %s from %s on %s in %s", name, self._sources[name], self.device, self.dtype)
        return loaded

    def _attempt(self, name: str, use: Callable[[Checkpoint], T]) -> T:
        """Return what is made of a model's checkpoint; whatever goes wrong becomes a ModelUnavailableError."""
        source = self._sources[name]
        try:
            return use(find_checkpoint(source, self._sources, fetch))
        except Exception as error:  # whatever a hub, a disk or a damaged file may come up with
            reason = str(error).strip().splitlines() or [type(error).__name__]
            raise ModelUnavailableError(
                f"model {name} cannot be loaded from {source} ({reason[0]}); {_advise(name)}"
            ) from error

    def _build(self, checkpoint: Checkpoint) -> tuple[_Loaded, _Known]:
        config, has_controls, variety = checkpoint.config, checkpoint.has_controls, checkpoint.variety
        model = build_model(config, checkpoint.read_weights(), self.dtype, self.device)
        warm_up(model)
        return _Loaded(model, variety, has_controls), _Known(True, config.n_parameters, has_controls)


def _advise(name: str) -> str:
    """Say what to do when a model cannot be loaded."""
    if name not in SIZES:
        return f"use another model_size, or name another source in --model {name}=SOURCE"
    advice = f"set ANTICIPATORY_MODEL_{name.upper()} to a folder with the checkpoint"
    return advice if name == BUNDLED else f"use model_size {BUNDLED}, or {advice}"
