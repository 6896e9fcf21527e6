"""Keep the keys and values of every layer, a row for each sequence."""

from typing import Final

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

KEYS_TOGETHER: Final = 64
"""Tokens whose keys may lie together, so that a CPU multiplies them side by side; divides `context_tokens`."""


class Cache:
    """Hold keys and values; shape = (n_layers, 2, n_rows, n_heads, context_tokens, head_width).

    Keys may lie otherwise in their memory: as shape = (context_tokens / KEYS_TOGETHER, head_width, KEYS_TOGETHER) for
    each head.
    """

    def __init__(
        self,
        n_layers: int,
        row_shape: tuple[int, int, int],
        dtype: torch.dtype,
        device: torch.device,
        max_rows: int | None = None,
        *,
        keys_together: bool = False,
    ) -> None:
        """Begin without rows.

        Args:
            n_layers: of the model.
            row_shape: (n_heads, context_tokens, head_width).
            dtype: of keys and values.
            device: where they are.
            max_rows: for so many there is memory: rows are reserved ahead of need, but not beyond; None if unknown.
            keys_together: whether keys lie together.
        """
        self._max_rows, self._keys_together = max_rows, keys_together
        self._shape = (n_layers, 2, 0, *row_shape)
        # Zeros: to PyTorch what is masked out still takes part, times nothing, and nothing times NaN would be NaN.
        self.data = torch.zeros(self._shape, dtype=dtype, device=device)

    def reserve(self, n_rows: int) -> None:
        """Make room for at least `n_rows`, keeping what is there."""
        capacity = self.data.shape[2]
        if n_rows > capacity:
            shape = list(self._shape)
            ahead = 2 * capacity if self._max_rows is None else min(2 * capacity, self._max_rows)
            shape[2] = max(n_rows, ahead)
            grown = self.data.new_zeros(shape)
            grown[:, :, :capacity] = self.data
            self.data = grown

    def by_row(self) -> Tensor:
        """Return a view of shape = (n_layers, n_rows, context_tokens, 2, n_heads, head_width)."""
        return self.data.permute(0, 2, 4, 1, 3, 5)

    def store(self, layer: int, rows: Tensor, keys_and_values: Tensor) -> None:
        """Write the first tokens of some rows.

        Args:
            layer: its index.
            rows: shape = (n_rows,).
            keys_and_values: shape = (n_rows, n_tokens, 2, n_heads, head_width).
        """
        n_rows, n_tokens, _, n_heads, head_width = keys_and_values.shape
        if not self._keys_together:
            self.by_row()[layer, rows, :n_tokens] = keys_and_values
            return
        keys, values = keys_and_values.transpose(1, 3).unbind(2)  # of shape = (n_rows, n_heads, n_tokens, head_width)
        self.data[layer, 1, rows, :, :n_tokens] = values
        padded = F.pad(keys, (0, 0, 0, -n_tokens % KEYS_TOGETHER))
        blocks = padded.view(n_rows, n_heads, -1, KEYS_TOGETHER, head_width).transpose(3, 4)
        self.data[layer, 0, rows, :, : padded.shape[2]] = blocks.reshape(padded.shape)

    def move(self, source: int, target: int, n_tokens: int) -> None:
        """Copy the first `n_tokens` of one row over another."""
        if self._keys_together:
            n_tokens += -n_tokens % KEYS_TOGETHER
        self.data[:, :, target, :, :n_tokens] = self.data[:, :, source, :, :n_tokens]
