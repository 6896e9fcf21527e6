from typing import Any

import numpy as np
import pytest

from amt import midi
from amt.embedding import embed
from amt.errors import LayerError
from amt.events import Note
from amt.excerpt import take_excerpt
from amt.gpt2 import GPT2
from tests.conftest import GOLDEN

PIECES = [
    [Note(0, 50, 60, 0)],
    [Note(10 * index, 5, 60, 0) for index in range(500)],
    [Note(0, 50, 60, 0), Note(250, 50, 62, 0)],
]


@pytest.mark.parametrize("layer", [-1, -3, 0])
def test_embeddings_are_those_of_the_reference(layer: int, gpt2: GPT2, golden: Any) -> None:
    for case in golden("embed.json"):
        excerpt = take_excerpt(midi.read_notes((GOLDEN / case["file"]).read_bytes()))
        assert excerpt.num_tokens == case["num_tokens"]
        (vector,) = embed(gpt2, [excerpt], layer)
        np.testing.assert_allclose(vector, case["mean"][str(layer)], atol=2e-5, rtol=2e-4)


def test_a_batch_gives_what_each_gives_alone(gpt2: GPT2) -> None:
    excerpts = [take_excerpt(piece) for piece in PIECES]
    alone = [embed(gpt2, [excerpt], -1)[0] for excerpt in excerpts]
    np.testing.assert_allclose(embed(gpt2, excerpts, -1), alone, atol=1e-6)


def test_negative_and_positive_layers_name_the_same_states(gpt2: GPT2) -> None:
    excerpts = [take_excerpt(PIECES[0])]
    for layer in range(4):
        assert embed(gpt2, excerpts, layer) == embed(gpt2, excerpts, layer - 4)


@pytest.mark.parametrize("layer", [4, -5])
def test_a_layer_that_is_not_there_is_refused_with_the_range(layer: int, gpt2: GPT2) -> None:
    with pytest.raises(LayerError, match=rf"embed_layer must be in range -4..3 for this model, got {layer}"):
        embed(gpt2, [take_excerpt(PIECES[0])], layer)
