"""Keep the keys and values of every layer, a row for each sequence."""

import math

import torch
from torch import Tensor


class Cache:
    """Hold keys and values; shape = (n_layers, 2, n_rows, *row_shape)."""

    def __init__(
        self,
        n_layers: int,
        row_shape: tuple[int, int, int],
        dtype: torch.dtype,
        device: torch.device,
        max_rows: int | None = None,
    ) -> None:
        """Begin without rows.

        Args:
            n_layers: of the model.
            row_shape: of keys, or of values, in one layer: (n_heads, context_tokens, head_width).
            dtype: of keys and values.
            device: where they are.
            max_rows: for so many there is memory: rows are reserved ahead of need, but not beyond; None if unknown.
        """
        self._max_rows = max_rows
        self._shape = (n_layers, 2, 0, *row_shape)
        # Zeros: to PyTorch what is masked out still takes part, times nothing, and nothing times NaN would be NaN.
        self.data = torch.zeros(self._shape, dtype=dtype, device=device)

    @property
    def row_bytes(self) -> int:
        """Bytes of a row in all layers."""
        n_layers, n_kinds, _, *row_shape = self._shape
        return n_layers * n_kinds * math.prod(row_shape) * self.data.itemsize

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

    def store(self, layer: int, rows: Tensor, keys_and_values: Tensor) -> None:
        """Write the first tokens of some rows.

        Args:
            layer: its index.
            rows: shape = (n_rows,).
            keys_and_values: shape = (n_rows, n_tokens, 2, n_heads, head_width).
        """
        self.data[layer].permute(1, 3, 0, 2, 4)[rows, : keys_and_values.shape[1]] = keys_and_values

    def move(self, source: int, target: int, n_tokens: int) -> None:
        """Copy the first `n_tokens` of one row over another."""
        self.data[:, :, target, :, :n_tokens] = self.data[:, :, source, :, :n_tokens]
