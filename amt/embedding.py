"""Pieces as vectors: the mean hidden state over their events."""

from collections.abc import Sequence

import torch

from amt.errors import LayerError
from amt.excerpt import Excerpt
from amt.gpt2 import GPT2


def find_depth(model: GPT2, layer: int) -> int:
    """After how many blocks a layer's hidden state is taken.

    Args:
        model: whose layers to count.
        layer: 0 is the embeddings, -1 the last block's output after the final norm; as Hugging Face counts
            `hidden_states`.

    Raises:
        LayerError: the model has no such layer.
    """
    n_states = len(model.layers) + 1
    if not -n_states <= layer < n_states:
        raise LayerError(f"embed_layer must be in range {-n_states}..{n_states - 1} for this model, got {layer}")
    return layer % n_states


@torch.inference_mode()
def embed(model: GPT2, excerpts: Sequence[Excerpt], layer: int) -> list[list[float]]:
    """Mean hidden state over the event tokens of each excerpt, computed as one batch.

    Raises:
        LayerError: the model has no such layer.
    """
    depth = find_depth(model, layer)
    longest = max(len(excerpt.tokens) for excerpt in excerpts)
    # What is behind an excerpt's end cannot be seen from within it.
    rows = [excerpt.tokens + [0] * (longest - len(excerpt.tokens)) for excerpt in excerpts]
    hidden = model.hidden_states(torch.tensor(rows, device=model.device), depth)
    means = [row[1 : len(each.tokens)].float().mean(dim=0) for row, each in zip(hidden, excerpts, strict=True)]
    vectors: list[list[float]] = torch.stack(means).tolist()
    return vectors
