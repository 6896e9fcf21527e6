"""How fast memory can be read, and how much of it a step must read at least."""

import time

import torch

from amt.gpt2.network import GPT2
from amt.tokens.vocab import CONTEXT_TOKENS, SLOTS

READ_BYTES = 1 << 29
REPEATS = 8

WEIGHT_BYTES = {torch.float32: 4, torch.float16: 2, torch.bfloat16: 2, torch.int8: 1}


def bytes_per_second(device: torch.device) -> float:
    """The best of several sums over half a gigabyte."""
    data = torch.ones(READ_BYTES // 4, device=device)
    best = float("inf")
    for _ in range(REPEATS):
        start = time.perf_counter()
        float(data.sum())
        best = min(best, time.perf_counter() - start)
    return READ_BYTES / best


def step_bytes(model: GPT2, dtype: torch.dtype, n_rows: int, n_tokens: float) -> float:
    """What the three passes of a step read: every matrix, each slot's outputs, and keys and values of each row."""
    width = model.n_heads * model.head_width
    body = 12 * width * width * len(model.blocks)
    weights = len(SLOTS) * body + width * sum(slot.size for slot in SLOTS)
    cached = len(SLOTS) * n_rows * model.row_bytes * n_tokens / CONTEXT_TOKENS
    return WEIGHT_BYTES[dtype] * weights + cached
