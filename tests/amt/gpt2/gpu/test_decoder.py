"""The kernels of GPUs, interpreted on a CPU, as Triton is told before it starts; `-m gpu` tests them on a GPU.

TRITON_INTERPRET=1 uv run pytest tests/amt/gpt2/gpu/test_decoder.py
"""

import os
from collections.abc import Callable
from typing import Any, TypeVar

import pytest
import torch

from amt.decoding.engine import Engine
from amt.gpt2 import sampling
from amt.gpt2.gpu.decoder import GpuDecoder
from amt.gpt2.linear import PlainLinear
from amt.gpt2.network import rounded_length
from amt.tokens.events import Triple
from tests.amt.decoding.test_graphs import REQUESTS
from tests.amt.gpt2.test_network import FLAGS, decode_all, our_model, random_model, tokens_like_events
from tests.amt.gpt2.test_sampling import choice, random_logits

T = TypeVar("T")

pytestmark = pytest.mark.skipif(os.environ.get("TRITON_INTERPRET") != "1", reason="needs TRITON_INTERPRET=1")


def by_pytorch(function: Callable[[], T]) -> T:
    """Return what a function does without these kernels."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("TRITON_INTERPRET")
        return function()


@pytest.mark.parametrize("flags", FLAGS, ids=str)
def test_hidden_states_are_those_of_pytorch(flags: dict[str, Any]) -> None:
    hf_model, tokens = random_model(**flags), tokens_like_events(60)
    plain, model = by_pytorch(lambda: our_model(hf_model)), our_model(hf_model)
    assert (plain.is_fused, model.is_fused) == (False, True)
    expected = decode_all(plain, tokens, prefilled=len(tokens) - 4)
    decoded = decode_all(model, tokens, prefilled=len(tokens) - 4)
    torch.testing.assert_close(decoded, expected, atol=2e-5, rtol=2e-5)


@pytest.mark.parametrize("n_events", [(50, 0), (50, 0, 43, 1, 42, 2)], ids=["few rows", "many rows"])
def test_rows_of_different_lengths_do_not_affect_each_other(n_events: tuple[int, ...]) -> None:
    model = our_model(random_model())
    rows = [tokens_like_events(n, seed=n) for n in n_events]
    cache = model.new_cache()
    cache.reserve(len(rows) + 1)
    cache.data.fill_(torch.nan)  # what nobody wrote is read by nobody
    for index, row in enumerate(rows):
        if row[:-1]:
            model.prefill(torch.tensor([row[:-1]]), cache, torch.tensor([index]), torch.tensor([0]))
    lengths = torch.tensor([len(row) - 1 for row in rows])
    together = model.decode(torch.tensor([row[-1] for row in rows]), lengths, rounded_length(151), cache)
    alone = torch.cat([decode_all(model, row, prefilled=len(row) - 1)[0] for row in rows])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-5)


def test_a_decoder_can_be_tried_without_a_cache_of_its_own() -> None:
    model = our_model(random_model(n_inner=52))  # whose rows do not fill a chunk
    decoder = model._gpu_decoder
    assert decoder
    assert decoder.can_decode(model.n_heads, model.head_width)


def test_a_decoder_that_fails_when_it_is_tried_says_why(caplog: pytest.LogCaptureFixture) -> None:
    def fail(inner: torch.Tensor) -> torch.Tensor:
        raise RuntimeError("out of resources")

    model = our_model(random_model())
    weights = (model._tokens, model._positions), model.blocks, model._final_norm, model._scales, 1e-5
    assert not GpuDecoder(*weights, fail).can_decode(model.n_heads, model.head_width)
    assert "steps run without kernels of our own, and slower: out of resources" in caplog.text


@pytest.mark.parametrize("has_tensor_cores", [True, False])
@pytest.mark.parametrize(("n_rows", "n_in", "n_out"), [(5, 40, 24), (70, 600, 48)], ids=["one program", "in parts"])
def test_products_are_those_of_pytorch(
    n_rows: int, n_in: int, n_out: int, has_tensor_cores: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    from amt.gpt2.gpu import many_rows

    monkeypatch.setattr(many_rows, "_has_tensor_cores", lambda device, dtype: has_tensor_cores)
    torch.manual_seed(0)
    x, layer = torch.randn(n_rows, n_in) / n_in**0.5, PlainLinear(torch.randn(n_out, n_in).T, torch.randn(n_out))
    parts = many_rows.multiply_in_parts(x, layer)
    assert (len(parts) > 1) == (has_tensor_cores and n_in > 40)
    torch.testing.assert_close(parts.sum(0), layer(x), atol=1e-5, rtol=1e-5)
    activated = torch.nn.functional.gelu(layer(x), approximate="tanh")
    torch.testing.assert_close(many_rows.multiply(x, layer, is_activated=True), activated, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("spread", [5, 0.1, 0])
def test_tokens_are_drawn_as_by_sorting(spread: float) -> None:
    logits = random_logits(12, 1_000, spread)
    logits[:, :100] = -torch.inf
    logits[11, 1:] = -torch.inf
    logits[11, 0] = 0.0
    params = choice(
        12,
        temperature=[1.0, 0.7, 1e-4, 1.3] * 3,
        top_p=[0.9, 1.0, 0.95, 1.0, 0.0, 1.0, 0.5, 0.98, 0.9, 1.0, 1.0, 0.9],
        top_k=[0.0, 5.0, 0.0, 0.0, 0.0, 1.0, 30.0, 0.0, 0.0, 0.0, 0.0, 3.0],
        min_p=[0.0] * 8 + [0.2, 0.01, 0.0, 0.0],
    )
    expected = sampling.truncated_by_sorting(logits, params)
    for uniform in torch.linspace(0, 1 - 2**-24, 4):
        tokens = sampling.sample(logits, params, uniform.expand(12))
        assert (tokens - sampling.draw(expected, uniform.expand(12))).abs().max() <= 1  # by a rounding error
        assert (expected.gather(1, tokens[:, None]) > 0).all()


def test_an_engine_decodes_the_same_events() -> None:
    hf_model = random_model()

    def decoded() -> list[list[Triple]]:
        engine = Engine(our_model(hf_model), as_graphs=True)
        sequences = [engine.add(request) for request in REQUESTS]
        for _ in range(5):
            engine.step()
        return [sequence.decoded for sequence in sequences]

    assert decoded() == by_pytorch(decoded)
