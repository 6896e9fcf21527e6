"""Merge LoRA adapters, as PEFT writes them, into the weights of their base: W + scale * B A, once, at loading.

What is merged costs nothing more when it decodes, and needs no library. Tests hold it against PEFT's own merge.
Source: Hu et al. 2021; of the scale also Kalajdzievski 2023 (rank-stabilized).
"""

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel, Field, ValidationError, model_validator
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from amt.errors import CheckpointError

CONFIG_FILE: Final = "adapter_config.json"
WEIGHT_FILE: Final = "adapter_model.safetensors"

_KINDS: Final = {
    "use_dora": "DoRA",
    "use_qalora": "QA-LoRA",
    "use_bdlora": "BD-LoRA",
    "alora_invocation_tokens": "activated LoRA",
    "kasa_config": "KaSA",
    "arrow_config": "Arrow",
    "monteclora_config": "MonteCLoRA",
    "lora_bias": "biases of LoRA",
    "modules_to_save": "modules that are saved whole (modules_to_save)",
    "trainable_token_indices": "tokens that are trained",
    "target_parameters": "target_parameters",
    "layer_replication": "layers that are repeated",
}
"""Settings that must be off, and what they would switch on."""

_CHANGES_BASE: Final = ("pissa", "olora", "corda", "loftq", "lora_ga", "mica")
"""Initial weights that go with a changed base, which is not in the adapter's folder."""

_PREFIX: Final = "base_model.model."
_FACTOR: Final = re.compile(r"(?P<module>.+)\.lora_(?P<factor>[AB])\.weight")
_MATRIX: Final = re.compile(r"h\.\d+\.(attn\.c_attn|attn\.c_proj|mlp\.c_fc|mlp\.c_proj)")


class AdapterConfig(BaseModel, frozen=True, protected_namespaces=()):
    """Hold what adapter_config.json says that matters for merging; what cannot be merged is refused."""

    base_model_name_or_path: str = Field(min_length=1)
    revision: str | None = None
    lora_alpha: float = 8
    alpha_pattern: dict[str, float] | None = None
    use_rslora: bool = False

    @model_validator(mode="before")
    @classmethod
    def _check_kind(cls, fields: Any) -> Any:
        if not isinstance(fields, dict):
            return fields
        kind, bias, initial = (fields.get(name) for name in ("peft_type", "bias", "init_lora_weights"))
        if kind != "LORA":
            raise ValueError(f"it is an adapter of kind {kind}, and only LORA can be merged")
        used = [text for name, text in _KINDS.items() if fields.get(name)]
        if bias not in (None, "none"):
            used.append(f"bias {bias}")
        if isinstance(initial, str) and initial.startswith(_CHANGES_BASE):
            used.append(f"init_lora_weights {initial}, which changes the base")
        if used:
            raise ValueError(f"it uses {', '.join(used)}, and only plain LoRA can be merged")
        return fields

    @property
    def base(self) -> str:
        """What the adapter is for: a name, a folder or a hub repository, with its revision if one is given."""
        return f"{self.base_model_name_or_path}@{self.revision}" if self.revision else self.base_model_name_or_path

    def scale(self, module: str, rank: int) -> float:
        """Return what the product of a module's factors is multiplied by."""
        patterns = self.alpha_pattern or {}
        own = (alpha for pattern, alpha in patterns.items() if re.match(rf"(.*\.)?({pattern})$", module))
        alpha = next(own, self.lora_alpha)
        return alpha / (math.sqrt(rank) if self.use_rslora else rank)


def is_adapter(folder: Path) -> bool:
    """Tell whether a folder holds an adapter, and not a model."""
    return (folder / CONFIG_FILE).exists()


def read_adapter_config(folder: Path) -> AdapterConfig:
    """Return what an adapter says of itself. Raise CheckpointError if it cannot be read or merged."""
    try:
        return AdapterConfig.model_validate_json((folder / CONFIG_FILE).read_bytes())
    except OSError as error:
        raise CheckpointError(f"{CONFIG_FILE} cannot be read: {error}") from error
    except ValidationError as error:
        problem = error.errors()[0]
        where = "".join(f"{part}: " for part in problem["loc"])
        raise CheckpointError(f"{CONFIG_FILE}: {where}{problem['msg'].removeprefix('Value error, ')}") from error


def merge_adapter(weights: Mapping[str, Tensor], folder: Path) -> dict[str, Tensor]:
    """Return a base's weights with an adapter's product added to each matrix that it is for.

    Args:
        weights: by their names in Hugging Face's `GPT2Model`; its matrices have shape = (in, out).
        folder: with the adapter.

    Raises:
        CheckpointError: the adapter cannot be read or merged, or is for another base.
    """
    config = read_adapter_config(folder)
    merged = dict(weights)
    for module, (first, second) in _read_factors(folder).items():
        name = f"{module.removeprefix('transformer.')}.weight"
        if not _MATRIX.fullmatch(name.removesuffix(".weight")):
            raise CheckpointError(f"the adapter changes {module}: only the matrices of blocks can be merged")
        if name not in merged:
            raise CheckpointError(f"the adapter changes {module}, and its base has none")
        delta = (second.float() @ first.float()).T * config.scale(module, len(first))
        if delta.shape != merged[name].shape:
            shape, own = (" x ".join(map(str, each.shape)) for each in (delta, merged[name]))
            raise CheckpointError(f"the adapter's {module} is {shape}, and its base's {own}")
        merged[name] = merged[name].float() + delta
    return merged


def _read_factors(folder: Path) -> dict[str, tuple[Tensor, Tensor]]:
    """Return by module A, shape = (rank, in), and B, shape = (out, rank)."""
    try:
        tensors = load_file(folder / WEIGHT_FILE)
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{WEIGHT_FILE} cannot be read: {error}") from error
    factors: dict[str, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        found = _FACTOR.fullmatch(name.removeprefix(_PREFIX))
        if not found or tensor.ndim != 2:
            raise CheckpointError(f"the adapter holds {name}, which cannot be merged: only lora_A and lora_B can")
        factors.setdefault(found["module"], {})[found["factor"]] = tensor
    for module, pair in factors.items():
        if pair.keys() != {"A", "B"} or len(pair["A"]) != pair["B"].shape[1]:
            raise CheckpointError(f"the adapter's lora_A and lora_B of {module} do not belong together")
    if not factors:
        raise CheckpointError(f"{WEIGHT_FILE} holds nothing to merge")
    return {module: (pair["A"], pair["B"]) for module, pair in factors.items()}
