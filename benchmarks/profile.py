"""List where the time of a step goes: `uv run python -m benchmarks.profile [--device cuda] [--rows 16]`.

The twenty operations that take most of the device's time over twenty events, by PyTorch's profiler, with the bundled
model; plain steps, for what is recorded is one operation.
"""

import argparse

from torch.profiler import ProfilerActivity, profile

from amt.decoding.engine import Engine
from amt.decoding.model import load_model
from amt.decoding.request import DecodeRequest
from amt.gpt2.device import find_device, find_dtype
from benchmarks.checkpoints import TINY

N_EVENTS = 20


def main() -> None:
    """Profile and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--rows", type=int, default=16)
    args = parser.parse_args()
    device = find_device(args.device)
    engine = Engine(load_model(TINY, find_dtype("auto", device), device), as_graphs=False)
    for row in range(args.rows):
        engine.add(DecodeRequest(10**9, seed=row))
    for _ in range(3):
        engine.step()
    is_cuda = device.type == "cuda"
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if is_cuda else [])]
    with profile(activities=activities) as profiler:
        for _ in range(N_EVENTS):
            engine.step()
    order = "self_cuda_time_total" if is_cuda else "self_cpu_time_total"
    print(profiler.key_averages().table(sort_by=order, row_limit=20, max_name_column_width=60))


if __name__ == "__main__":
    main()
