"""Load what is fine-tuned, and write what comes of it: a Hugging Face folder, or a LoRA adapter of one."""

import json
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import GPT2LMHeadModel

from amt.errors import TrainingError
from amt.gpt2.checkpoint import read_config
from amt.tokens.vocab import CONTEXT_TOKENS, VOCAB_SIZE
from checkpoints import GENERATION_FILE, PROJECT, fetch, is_named_without_controls
from server import Settings

ADAPTER_FILE = "adapter_config.json"

ADAPTED = ["c_attn", "c_fc", "c_proj"]
"""The matrices that an adapter changes: all four of each block."""

_FUSED = {"gelu_new": "gelu_pytorch_tanh"}


@dataclass(frozen=True)
class Base:
    """Hold where a checkpoint comes from, and what it says beside its weights."""

    source: str
    """A folder, from the project's if it is within, else absolute; or a hub repository, `repo` or `repo@revision`."""
    folder: Path
    has_controls: bool

    def load(self) -> GPT2LMHeadModel:
        """Return the model with float32 weights, on the CPU.

        Training takes less memory and time without dropout in attention, which needs a matrix of all pairs of tokens
        for each head, and with one function for GELU instead of seven operations: the same, but for rounding.
        """
        said = self.config
        activation = said.get("activation_function", "gelu_new")
        lean = {"attn_pdrop": 0.0, "activation_function": _FUSED.get(activation, activation)}
        return GPT2LMHeadModel.from_pretrained(self.folder, dtype=torch.float32, **lean)

    @property
    def config(self) -> dict[str, Any]:
        """What config.json says."""
        said: dict[str, Any] = json.loads((self.folder / "config.json").read_text())
        return said

    @property
    def generation(self) -> dict[str, Any]:
        """What the checkpoint recommends for making music, the `variety` above all."""
        file = self.folder / GENERATION_FILE
        return json.loads(file.read_text()) if file.exists() else {}


def find_base(name: str) -> Base:
    """Return the checkpoint of a name that the service offers, of a folder, or of a hub repository.

    Raises:
        TrainingError: there is none, or it is an adapter.
        CheckpointError: it is no model that the service could run.
    """
    offered = Settings().checkpoints
    source = offered.get(name, name)
    folder = next((path for path in (Path(source).expanduser(), PROJECT / source) if path.is_dir()), None)
    if folder:
        folder = folder.resolve()
        source = str(folder.relative_to(PROJECT) if folder.is_relative_to(PROJECT) else folder)
    else:
        folder = _fetch(source, offered)
    if (folder / ADAPTER_FILE).exists():
        raise TrainingError(f"{name} is an adapter, and only whole models can be fine-tuned: name its base")
    config = read_config(folder, VOCAB_SIZE, CONTEXT_TOKENS)
    if not config.tie_word_embeddings:
        raise TrainingError(f"{name} has an output matrix apart from its embeddings, which cannot be fine-tuned here")
    said = json.loads((folder / "config.json").read_text())
    has_controls = said.get("anticipation", not is_named_without_controls(source))
    return Base(source, folder, bool(has_controls))


def _fetch(source: str, offered: Mapping[str, str]) -> Path:
    """Return the folder of a hub repository, fetched if need be."""
    try:
        return fetch(source)
    except OSError as error:
        raise TrainingError(f"{error}: name {', '.join(offered)}, a folder, or a hub repository") from error


def add_adapter(model: GPT2LMHeadModel, base: Base, rank: int) -> PeftModel:
    """Return the model with its weights frozen, and with an adapter that changes nothing yet."""
    config = LoraConfig(r=rank, lora_alpha=2 * rank, target_modules=ADAPTED, fan_in_fan_out=True, task_type="CAUSAL_LM")
    with _old_names():
        adapted = get_peft_model(model, config)
    own = adapted.peft_config["default"]
    own.base_model_name_or_path, _, revision = base.source.partition("@")
    own.revision = revision or None
    return adapted


def plain(model: GPT2LMHeadModel | PeftModel) -> GPT2LMHeadModel:
    """Return the network itself, in which an adapter may work."""
    return model.get_base_model() if isinstance(model, PeftModel) else model


def write_model(model: GPT2LMHeadModel | PeftModel, base: Base, folder: Path) -> None:
    """Write a model, or an adapter, so that the service can load the folder.

    Weights stay float32: where the base's are bfloat16, rounding would take many of them back to what they were.
    """
    if isinstance(model, PeftModel):
        model.save_pretrained(folder, save_embedding_layers=False)
    else:
        model.save_pretrained(folder)
        said = base.config | {"dtype": "float32"}
        _write_json(folder / "config.json", said if base.has_controls else said | {"anticipation": False})
    _write_json(folder / GENERATION_FILE, base.generation)


def read_model(base: Base, folder: Path) -> GPT2LMHeadModel:
    """Return the model that was written, with its adapter merged; float32, on the CPU."""
    if not (folder / ADAPTER_FILE).exists():
        return GPT2LMHeadModel.from_pretrained(folder, dtype=torch.float32)
    with _old_names():
        return PeftModel.from_pretrained(base.load(), folder).merge_and_unload()


def _old_names() -> warnings.catch_warnings:
    """Ignore that PEFT asks models for something by its old name."""
    return warnings.catch_warnings(action="ignore", category=FutureWarning)


def _write_json(file: Path, value: dict[str, Any]) -> None:
    """Write a file as a whole or not at all."""
    part = file.with_suffix(".part")
    part.write_text(json.dumps(value, indent=2, sort_keys=True) + "\n")
    part.replace(file)
