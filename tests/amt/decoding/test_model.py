import subprocess
import sys

import pytest

from tests.conftest import PROJECT

DECODE_AND_COUNT = """
import torch
from amt.decoding import kernels
from amt.decoding.model import load_model, warm_up
from amt.decoding.engine import Engine
from amt.decoding.request import DecodeRequest
from amt.gpt2.cpu import attention, block, many_rows, products, truncation
from amt.gpt2.cpu import kernels as between
from benchmarks.control import KINDS, TINY, Stepper
from benchmarks.yardsticks import history

def compiled():
    modules = kernels, block, attention, many_rows, products, truncation, between
    functions = [each for module in modules for each in vars(module).values() if hasattr(each, "signatures")]
    return sum(len(each.signatures) for each in functions)

model = load_model(TINY, torch.int8, torch.device("cpu"))
warm_up(model)
before = compiled()
for kind in KINDS.values():
    stepper = Stepper(model, 3, *kind)
    for _ in range(5):
        stepper.step()
engine = Engine(model)
for n_events in (3, 300):
    prompt = history(n_events)
    engine.add(DecodeRequest(10_000, start_ticks=int(prompt[-1, 0]), prompt=prompt))
    engine.step()
print(before, compiled())
"""


@pytest.mark.slow
def test_no_request_waits_for_compilation() -> None:
    run = subprocess.run(
        [sys.executable, "-c", DECODE_AND_COUNT], cwd=PROJECT, capture_output=True, check=True, text=True
    )
    before, after = run.stdout.split()
    assert after == before
