"""Keep keys and values rounded to eight bits, for CPUs."""

import torch
from torch import Tensor

from amt.gpt2.cache import Cache
from amt.gpt2.cpu import attention
from amt.gpt2.cpu.attention import BLOCK_TOKENS, block_bytes
from amt.gpt2.cpu.compiling import share


class RoundedCache(Cache):
    """Hold keys and values as `cpu.attention` reads them; its rows are (n_heads, n_blocks, block_bytes)."""

    def __init__(self, n_layers: int, row_shape: tuple[int, int, int], max_rows: int | None = None) -> None:
        """Begin without rows; the arguments are those of `Cache`."""
        n_heads, context_tokens, head_width = row_shape
        n_blocks = -(-context_tokens // BLOCK_TOKENS)
        blocks = n_heads, n_blocks, block_bytes(head_width)
        super().__init__(n_layers, blocks, torch.uint8, torch.device("cpu"), max_rows)

    def store(self, layer: int, rows: Tensor, keys_and_values: Tensor) -> None:
        """Round and write the first tokens of some rows."""
        assert keys_and_values.shape[1] <= self.data.shape[4] * BLOCK_TOKENS, "compiled code checks no bounds"
        assert rows.max() < self.data.shape[2], "compiled code checks no bounds"
        numbers = keys_and_values.float().contiguous().numpy()
        share(attention.store, numbers, rows.numpy(), self.data[layer].numpy())

    def move(self, source: int, target: int, n_tokens: int) -> None:
        """Copy all blocks that hold some of the first `n_tokens` of one row over those of another."""
        super().move(source, target, -(-n_tokens // BLOCK_TOKENS))
