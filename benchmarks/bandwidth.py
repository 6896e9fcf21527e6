"""Measure how fast memory can be read, and compute how much of it a step must read at least.

uv run python -m benchmarks.bandwidth [--device cuda]
"""

import argparse

import torch

from amt.gpt2.device import find_device
from amt.gpt2.network import GPT2
from amt.tokens.vocab import CONTEXT_TOKENS, SLOTS
from benchmarks.timing import seconds

READ_BYTES = 1 << 29
REPEATS = 8

OUTPUT_BYTES = {torch.float32: 4, torch.float16: 2, torch.bfloat16: 2, torch.int8: 1, torch.int4: 1}


def bytes_per_second(device: torch.device) -> float:
    """Return the highest speed of several sums over half a gigabyte."""
    data = torch.ones(READ_BYTES // 4, device=device)
    return READ_BYTES / min(seconds(lambda: float(data.sum())) for _ in range(REPEATS))


def step_bytes(model: GPT2, dtype: torch.dtype, n_rows: int, n_tokens: float) -> float:
    """Return what the three passes of a step read: every matrix, each slot's outputs, keys and values of each row."""
    width = model.n_heads * model.head_width
    body = len(SLOTS) * sum(block.n_bytes for block in model.blocks)
    outputs = OUTPUT_BYTES[dtype] * width * sum(slot.size for slot in SLOTS)
    cached = len(SLOTS) * n_rows * model.row_bytes * n_tokens / CONTEXT_TOKENS
    return body + outputs + cached


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="auto")
    device = find_device(parser.parse_args().device)
    print(f"{device}: {bytes_per_second(device) / 1e9:.1f} GB/s")


if __name__ == "__main__":
    main()
