"""Estimate what a run will take: memory, and how many windows fit at once."""

import math
from dataclasses import dataclass

from transformers import GPT2Config

from amt.tokens.vocab import CONTEXT_TOKENS, MAX_WINDOW_EVENTS, SLOTS

LIBRARY_BYTES = 1.1e9
"""Of Python and the libraries."""

TRAINED_BYTES, FROZEN_BYTES = 16, 4
"""Of a parameter in float32: itself, and if it is trained its gradient and two moments."""

ADAPTER_COST = 1.7
"""What a window takes with an adapter, where it takes 1 without one; measured with small's shape."""

MAX_WINDOWS = 4
"""At once: as many as a step has by default."""

CHECKPOINTED_WIDTH = 1_280
"""From this width on (large), activations are computed a second time instead of being kept."""


@dataclass(frozen=True)
class Needs:
    """Hold the number of windows in a pass, and the bytes that a run takes at its peak."""

    n_windows: int
    n_bytes: float

    @property
    def max_events(self) -> int:
        """Return the events of a pass."""
        return self.n_windows * MAX_WINDOW_EVENTS


def is_checkpointed(config: GPT2Config) -> bool:
    """Return whether activations are computed again in the backward pass."""
    return config.n_embd >= CHECKPOINTED_WIDTH


def estimate(config: GPT2Config, n_trained: int, n_frozen: int, free_bytes: float, *, on_cpu: bool) -> Needs:
    """Return what a run takes where this many bytes are free; at least one window at once, even if that is too much.

    On a CPU one window fills the cores, and more would only take memory.
    """
    fixed = LIBRARY_BYTES + TRAINED_BYTES * n_trained + FROZEN_BYTES * n_frozen + _gradient_bytes(config, n_trained)
    of_window = window_bytes(config) * (ADAPTER_COST if n_frozen else 1)
    most = 1 if on_cpu else MAX_WINDOWS
    fitting = math.floor((0.8 * free_bytes - fixed) / of_window)
    n_windows = max(min(fitting, most), 1)
    return Needs(n_windows, fixed + n_windows * of_window)


def window_bytes(config: GPT2Config) -> float:
    """Return the bytes that a window's activations and their gradients take."""
    layer = 4 * CONTEXT_TOKENS * config.n_embd
    # Of a block's tensors as wide as the model that its backward pass needs; the MLP is four times as wide.
    blocks = layer * (config.n_layer + 24 if is_checkpointed(config) else 24 * config.n_layer)
    logits = 4 * MAX_WINDOW_EVENTS * sum(slot.size for slot in SLOTS)
    return blocks + 3 * logits


def _gradient_bytes(config: GPT2Config, n_trained: int) -> float:
    """Return what the two gradients of the tied matrix take before they are added up; none where it is frozen."""
    matrix = config.vocab_size * config.n_embd
    return 8 * matrix if n_trained > matrix else 0
