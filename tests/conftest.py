"""Real objects that several tests share."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

DATA = Path(__file__).parent / "data"
GOLDEN = DATA / "golden"


@pytest.fixture(scope="session")
def golden() -> Callable[[str], Any]:
    """The contents of one of the reference's golden files."""
    return lambda name: json.loads((GOLDEN / name).read_text())


@pytest.fixture(scope="session")
def hf_model() -> Any:
    """The golden model as Hugging Face runs it: 3 layers, width 32, random weights, float32."""
    import torch
    from transformers import GPT2LMHeadModel

    return GPT2LMHeadModel.from_pretrained(GOLDEN / "model", dtype=torch.float32).eval()


@pytest.fixture(scope="session")
def gpt2() -> Any:
    """The golden model as we run it."""
    import torch

    from amt.checkpoint import read_config, read_weights
    from amt.gpt2 import GPT2

    folder = GOLDEN / "model"
    return GPT2(read_config(folder), read_weights(folder), torch.float32, torch.device("cpu"))
