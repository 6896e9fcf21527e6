"""Read GPT-2 checkpoints in Hugging Face format: a folder -> configuration and weights.

`GPT2LMHeadModel.from_pretrained` reads the same files, at the price of importing all of transformers' modelling code:
more than half of the service's time to start, and 300 MB. Tests hold the two against each other.
"""

from pathlib import Path
from pickle import UnpicklingError

import torch
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from amt.errors import CheckpointError
from amt.gpt2.config import Config

WEIGHT_FILES = ("model.safetensors", "pytorch_model.bin")
"""In order of preference. Models of this kind are too small to be split over several files."""


def read_config(folder: Path, vocab_size: int, context_tokens: int) -> Config:
    """Return the configuration of a GPT-2 with that vocabulary and at least that context.

    Raises:
        CheckpointError: config.json cannot be read, or describes another model.
    """
    try:
        config = Config.model_validate_json((folder / "config.json").read_bytes())
    except OSError as error:
        raise CheckpointError(f"config.json cannot be read: {error}") from error
    except ValidationError as error:
        problems = "; ".join(": ".join(map(str, (*each["loc"], each["msg"]))) for each in error.errors())
        raise CheckpointError(f"config.json cannot be read: {problems}") from error
    if config.model_type != "gpt2":
        raise CheckpointError(f"it is a {config.model_type} and not a gpt2")
    if config.vocab_size != vocab_size:
        raise CheckpointError(f"its vocabulary has {config.vocab_size} tokens and not {vocab_size}")
    if config.n_positions < context_tokens:
        raise CheckpointError(f"its context has {config.n_positions} tokens and not {context_tokens}")
    return config


def read_weights(folder: Path) -> dict[str, Tensor]:
    """Return every tensor by its name in `GPT2Model`, and `lm_head.weight` if the file has one.

    Raises:
        CheckpointError: there are no weights, or they cannot be read.
    """
    path = next((folder / name for name in WEIGHT_FILES if (folder / name).exists()), None)
    if path is None:
        raise CheckpointError(f"there are no weights beside config.json: {' or '.join(WEIGHT_FILES)}")
    try:
        weights = load_file(path) if path.suffix == ".safetensors" else torch.load(path, weights_only=True)
    except (SafetensorError, UnpicklingError, RuntimeError, EOFError, OSError) as error:
        raise CheckpointError(f"{path.name} cannot be read: {error}") from error
    return {name.removeprefix("transformer."): tensor for name, tensor in weights.items()}
