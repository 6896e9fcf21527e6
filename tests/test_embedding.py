from typing import Any

import numpy as np
import pytest

from amt import midi
from amt.embedding import embed
from amt.errors import LayerError, NoNotesError
from amt.events import Note
from amt.gpt2 import GPT2
from tests.conftest import GOLDEN


@pytest.mark.parametrize("layer", [-1, -3, 0])
def test_embeddings_are_those_of_the_reference(layer: int, gpt2: GPT2, golden: Any) -> None:
    for case in golden("embed.json"):
        notes = midi.read_notes((GOLDEN / case["file"]).read_bytes())
        result = embed(gpt2, notes, layer)
        assert result.num_tokens == case["num_tokens"]
        np.testing.assert_allclose(result.vector, case["mean"][str(layer)], atol=2e-5, rtol=2e-4)


def test_a_short_piece_is_used_whole(gpt2: GPT2) -> None:
    result = embed(gpt2, [Note(0, 50, 60, 0), Note(250, 50, 62, 0)], -1)
    assert result.num_tokens == result.original_tokens == 3 * (2 + 2)  # two rests in the silence


def test_a_long_piece_is_cut_at_whole_events(gpt2: GPT2) -> None:
    result = embed(gpt2, [Note(10 * index, 5, 60, 0) for index in range(500)], -1)
    assert (result.num_tokens, result.original_tokens) == (1_023, 1_500)


def test_a_sparse_piece_is_cut_before_100_seconds(gpt2: GPT2) -> None:
    result = embed(gpt2, [Note(0, 5, 60, 0), Note(30_000, 5, 60, 0)], -1)
    assert result.num_tokens == 3 * (1 + 99)
    assert result.original_tokens == 3 * (2 + 299)


def test_a_day_of_silence_costs_nothing(gpt2: GPT2) -> None:
    result = embed(gpt2, [Note(0, 5, 60, 0), Note(8_640_000, 5, 60, 0)], -1)
    assert result.original_tokens == 3 * (2 + 86_399)


def test_silence_before_the_first_note_does_not_matter(gpt2: GPT2) -> None:
    notes = [Note(0, 50, 60, 0), Note(250, 50, 62, 0)]
    later = [note._replace(onset=note.onset + 3_000) for note in notes]
    assert embed(gpt2, later, -1) == embed(gpt2, notes, -1)


def test_negative_and_positive_layers_name_the_same_states(gpt2: GPT2) -> None:
    notes = [Note(0, 50, 60, 0)]
    for layer in range(4):
        assert embed(gpt2, notes, layer) == embed(gpt2, notes, layer - 4)


@pytest.mark.parametrize("layer", [4, -5])
def test_a_layer_that_is_not_there_is_refused_with_the_range(layer: int, gpt2: GPT2) -> None:
    with pytest.raises(LayerError, match=rf"embed_layer must be in range -4..3 for this model, got {layer}"):
        embed(gpt2, [Note(0, 50, 60, 0)], layer)


def test_nothing_cannot_be_embedded(gpt2: GPT2) -> None:
    with pytest.raises(NoNotesError, match="no notes"):
        embed(gpt2, [], -1)
