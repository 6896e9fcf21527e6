from typing import Any

import numpy as np
import pytest
import torch

from amt.decoding.model import load_model
from amt.embedding import embed
from amt.errors import LayerError
from amt.gpt2.network import GPT2
from amt.midi.notes import Note
from amt.pooling import Pooling
from amt.tokens.vocab import AUTOREGRESS
from amt.tokens.windows import take_excerpt
from tests.amt.midi.files import as_the_reference_reads
from tests.conftest import GOLDEN

PIECES = [
    [Note(0, 50, 60, 0)],
    [Note(10 * index, 5, 60, 0) for index in range(500)],
    [Note(0, 50, 60, 0), Note(250, 50, 62, 0)],
]
WINDOWS = [take_excerpt(piece).windows[0] for piece in PIECES]


@pytest.mark.parametrize("layer", [-1, -3, 0])
def test_embeddings_match_the_reference(layer: int, gpt2: GPT2, golden: Any) -> None:
    for case in golden("embed.json"):
        excerpt = take_excerpt(as_the_reference_reads(case["file"]))
        assert excerpt.num_tokens == case["num_tokens"]
        ((vector,),) = embed(gpt2, excerpt.windows, layer)
        np.testing.assert_allclose(vector, case["mean"][str(layer)], atol=1e-5, rtol=2e-5)


@pytest.mark.parametrize("pooling", ["mean", "last", "max", "none"])
def test_a_window_has_the_same_embedding_alone_and_in_a_batch(pooling: Pooling, gpt2: GPT2) -> None:
    for window, together in zip(WINDOWS, embed(gpt2, WINDOWS, -1, pooling), strict=True):
        (alone,) = embed(gpt2, [window], -1, pooling)
        assert together.shape == ((window.num_tokens, 32) if pooling == "none" else (1, 32))
        np.testing.assert_allclose(together, alone, atol=1e-5)


def test_without_pooling_the_vectors_are_the_hidden_states_after_the_mode_token(gpt2: GPT2) -> None:
    tokens = torch.tensor([[AUTOREGRESS, *WINDOWS[2].events.reshape(-1).tolist()]])
    (vectors,) = embed(gpt2, WINDOWS[2:], 2, "none")
    np.testing.assert_allclose(vectors, gpt2.hidden_states(tokens, 2)[0, 1:], atol=1e-6)


@pytest.mark.parametrize(
    ("pooling", "pool"),
    [
        ("mean", lambda states: states.mean(axis=0)),
        ("max", lambda states: states.max(axis=0)),
        ("last", lambda s: s[-1]),
    ],
)
def test_pooling_leaves_out_the_mode_token_and_the_padding(pooling: Pooling, pool: Any, gpt2: GPT2) -> None:
    for states, (vector,) in zip(embed(gpt2, WINDOWS, -3, "none"), embed(gpt2, WINDOWS, -3, pooling), strict=True):
        np.testing.assert_allclose(vector, pool(states), atol=1e-5)


def test_negative_layers_count_from_the_last(gpt2: GPT2) -> None:
    for layer in range(4):
        assert np.array_equal(embed(gpt2, WINDOWS[:1], layer)[0], embed(gpt2, WINDOWS[:1], layer - 4)[0])


@pytest.mark.parametrize("layer", [4, -5])
def test_an_unknown_layer_is_refused_with_the_range(layer: int, gpt2: GPT2) -> None:
    with pytest.raises(LayerError, match=rf"embed_layer must be in range -4..3 for this model, got {layer}"):
        embed(gpt2, WINDOWS[:1], layer)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.int8])
def test_vectors_of_other_precisions_point_where_those_of_float32_do(dtype: torch.dtype, gpt2: GPT2) -> None:
    other = load_model(GOLDEN / "model", dtype, torch.device("cpu"))
    vectors = [np.concatenate(embed(model, WINDOWS, -1)) for model in (other, gpt2)]
    ours, exact = (each / np.linalg.norm(each, axis=1, keepdims=True) for each in vectors)
    assert ((ours * exact).sum(axis=1) > 0.999).all()
