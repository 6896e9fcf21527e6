"""Embed windows: hidden states of their events, pooled."""

from collections.abc import Sequence

import torch
from torch import Tensor

from amt.errors import LayerError
from amt.gpt2.network import GPT2
from amt.pooling import Pooling, Vectors
from amt.tokens.vocab import AUTOREGRESS
from amt.tokens.windows import Window


def find_depth(model: GPT2, layer: int) -> int:
    """Return after how many blocks a layer's hidden state is taken.

    Args:
        model: whose layers to count.
        layer: 0 is the embeddings, -1 the last block's output after the final norm; as Hugging Face counts
            `hidden_states`.

    Raises:
        LayerError: the model has no such layer.
    """
    n_states = len(model.blocks) + 1
    if not -n_states <= layer < n_states:
        raise LayerError(f"embed_layer must be in range {-n_states}..{n_states - 1} for this model, got {layer}")
    return layer % n_states


@torch.inference_mode()
def embed(model: GPT2, windows: Sequence[Window], layer: int, pooling: Pooling = "mean") -> list[Vectors]:
    """Compute the hidden states of each window's event tokens, as one batch, and pool them.

    Returns:
        for each window an array of shape (1, width), or (num_tokens, width) without pooling.

    Raises:
        LayerError: the model has no such layer.
    """
    depth = find_depth(model, layer)
    lengths = torch.tensor([window.num_tokens for window in windows])
    # What is behind a window's end cannot be seen from within it.
    tokens = torch.zeros(len(windows), 1 + int(lengths.max()), dtype=torch.int64)
    tokens[:, 0] = AUTOREGRESS
    for row, window in zip(tokens, windows, strict=True):
        row[1 : 1 + window.num_tokens] = torch.from_numpy(window.events.reshape(-1))
    hidden = model.hidden_states(tokens.to(model.device), depth)[:, 1:]
    if pooling == "none":
        return [row[:length].float().numpy(force=True) for row, length in zip(hidden, lengths.tolist(), strict=True)]
    pooled = _pool(hidden, lengths.to(model.device), pooling).numpy(force=True)
    return [row[None] for row in pooled]


def _pool(hidden: Tensor, lengths: Tensor, pooling: Pooling) -> Tensor:
    """Return one vector of the first `lengths` tokens of each row; shape = (n_rows, width), float32.

    Args:
        hidden: shape = (n_rows, n_tokens, width).
        lengths: shape = (n_rows,).
        pooling: any but none.
    """
    if pooling == "last":
        return hidden[torch.arange(len(hidden), device=hidden.device), lengths - 1].float()
    behind_end = (torch.arange(hidden.shape[1], device=hidden.device) >= lengths[:, None])[:, :, None]
    if pooling == "max":
        return hidden.masked_fill(behind_end, -torch.inf).amax(dim=1).float()
    return hidden.masked_fill(behind_end, 0).sum(dim=1, dtype=torch.float32) / lengths[:, None]
