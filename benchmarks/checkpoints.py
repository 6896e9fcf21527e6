"""Provide the models that are measured: the bundled one, and random ones of the shapes of Stanford's sizes."""

import json
from pathlib import Path
from typing import Final, NamedTuple

import torch
from transformers import GPT2Config, GPT2LMHeadModel

from amt.tokens.vocab import ONSET, VOCAB_SIZE

TINY = Path(__file__).parent.parent / "weights/tiny"

TINY_VARIETY: Final = float(json.loads((TINY / "generation_config.json").read_text())["variety"])
"""What it asks for, see `Constraints`."""

MEAN_STEP_TICKS = 12
"""From one onset to the next, in random music and in the prompts that go with it."""


class Shape(NamedTuple):
    """Say how large a GPT-2 is."""

    n_layer: int
    n_embd: int
    n_head: int


TINY_SHAPE: Final = Shape(8, 256, 8)

SHAPES: Final = {"small": Shape(12, 768, 12), "medium": Shape(24, 1_024, 16), "large": Shape(36, 1_280, 20)}
"""Of Stanford's sizes."""


def random_small(folder: Path) -> Path:
    """Write a checkpoint of the shape of size small, see `random_checkpoint`."""
    return random_checkpoint(folder, SHAPES["small"])


def random_checkpoint(folder: Path, shape: Shape) -> Path:
    """Write a checkpoint of a shape, and return its folder.

    Its weights are random, but its onsets follow one another about as those of music do.
    """
    config = GPT2Config(
        vocab_size=VOCAB_SIZE,
        bos_token_id=None,
        eos_token_id=None,
        tie_word_embeddings=False,
        **shape._asdict(),
    )
    torch.manual_seed(0)
    model = GPT2LMHeadModel(config)
    with torch.no_grad():
        # One hidden dimension is always 1, and by it a later onset is less likely than an earlier one.
        model.transformer.ln_f.weight[0], model.transformer.ln_f.bias[0] = 0, 1
        model.lm_head.weight[ONSET.slice, 0] = -torch.arange(ONSET.size) / MEAN_STEP_TICKS
    model.save_pretrained(folder)
    return folder
