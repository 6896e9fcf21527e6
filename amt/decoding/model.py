"""Build a GPT-2 that has this vocabulary: an Anticipatory Music Transformer."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from amt.decoding.constraints import Constraints
from amt.decoding.engine import Engine
from amt.decoding.request import DecodeRequest
from amt.gpt2.checkpoint import read_config, read_weights
from amt.gpt2.config import Config
from amt.gpt2.network import GPT2
from amt.harmony.chords import ChordSpan
from amt.midi.grid import Grid
from amt.midi.notes import TICKS_PER_SECOND, Note
from amt.tokens import events as ev
from amt.tokens.vocab import CONTEXT_TOKENS, SLOTS, VOCAB_SIZE


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
    """Decode an event in every way there is, behind a prompt, and read a window.

    What is compiled at first use is compiled now, while no request waits.
    """
    everything = Constraints(
        grid=Grid(np.zeros(1, np.int64), np.zeros(1), np.zeros(1, np.int8)),
        key=frozenset({0}),
        chords=(ChordSpan(0, frozenset({0}), "C"),),
        density=8,
        pitch_range=(36, 90),
    )
    engine = Engine(model, max_rows=1, as_graphs=False)
    prompt = ev.from_notes([Note(0, 1, 60, 0)])
    engine.add(DecodeRequest(end_ticks=TICKS_PER_SECOND, prompt=prompt, constraints=everything))
    engine.step()
    with torch.inference_mode():
        model.hidden_states(torch.zeros(1, CONTEXT_TOKENS // 2, dtype=torch.int64, device=model.device), 1)
