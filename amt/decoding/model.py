"""Build a GPT-2 that has this vocabulary: an Anticipatory Music Transformer."""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from amt.gpt2.checkpoint import read_config, read_weights
from amt.gpt2.config import Config
from amt.gpt2.network import GPT2, rounded_length
from amt.gpt2.sampling import SamplingTensors, truncated_probabilities
from amt.tokens.vocab import AUTOREGRESS, CONTEXT_TOKENS, SLOTS, VOCAB_SIZE


def load_config(folder: Path) -> Config:
    """Return a checkpoint's configuration. Raise CheckpointError if it is not of such a model."""
    return read_config(folder, VOCAB_SIZE, CONTEXT_TOKENS)


def load_model(folder: Path, dtype: torch.dtype, device: torch.device) -> GPT2:
    """Load a checkpoint in Hugging Face format, see `GPT2`. Raise CheckpointError if it cannot be run."""
    return build_model(load_config(folder), read_weights(folder), dtype, device)


def build_model(config: Config, weights: Mapping[str, Tensor], dtype: torch.dtype, device: torch.device) -> GPT2:
    """Return the network whose output ranges are the slots of an event, in the order of `SLOTS`."""
    return GPT2(
        config,
        weights,
        dtype,
        device,
        output_ranges=[slot.slice for slot in SLOTS],
        context_tokens=CONTEXT_TOKENS,
    )


def warm_up(model: GPT2) -> None:
    """Decode one token, so that what is compiled at first use is compiled now, and not while a request waits."""
    params = SamplingTensors(*torch.ones(4, 1, device=model.device))
    cache = model.new_cache()
    cache.reserve(1)
    hidden = model.decode(torch.tensor([AUTOREGRESS], device=model.device), 0, rounded_length(1), cache)
    for index, _ in enumerate(SLOTS):
        truncated_probabilities(model.logits(hidden, index), params)
