"""A piece as one vector: the mean hidden state over its events."""

from collections.abc import Sequence
from typing import NamedTuple

import torch

from amt import events as ev
from amt.errors import LayerError, NoNotesError
from amt.events import Note
from amt.gpt2 import GPT2
from amt.vocab import AUTOREGRESS, EVENT_TOKENS, MAX_ONSET_TICKS, MAX_WINDOW_EVENTS


class Embedding(NamedTuple):
    """A vector, and how many event tokens it stands for."""

    vector: list[float]
    num_tokens: int
    original_tokens: int


def embed(model: GPT2, notes: Sequence[Note], layer: int) -> Embedding:
    """Mean hidden state over the event tokens of the piece's beginning.

    What fits is one mode token and 341 whole events, padded with rests, that begin within 100 s of the first note.

    Args:
        model: whose hidden states to take.
        notes: of the piece, in any order.
        layer: 0 is the embeddings, -1 the last block's output after the final norm; as Hugging Face counts
            `hidden_states`.

    Raises:
        NoNotesError: there are no notes.
        LayerError: the model has no such layer.
    """
    if not notes:
        raise NoNotesError("the MIDI file holds no notes: there is nothing to embed")
    n_states = len(model.layers) + 1
    if not -n_states <= layer < n_states:
        raise LayerError(f"embed_layer must be in range {-n_states}..{n_states - 1} for this model, got {layer}")
    events = ev.sort(ev.from_notes(notes))
    events = ev.translate(events, -int(events[0, 0]))
    within = ev.clip(events, 0, MAX_ONSET_TICKS - 1)
    used = ev.pad(within, min(int(events[-1, 0]), MAX_ONSET_TICKS))[:MAX_WINDOW_EVENTS]
    tokens = torch.tensor([[AUTOREGRESS, *used.reshape(-1).tolist()]], device=model.device)
    with torch.inference_mode():
        hidden = model.hidden_states(tokens, layer % n_states)
    vector = hidden[0, 1:].float().mean(dim=0)
    return Embedding(vector.tolist(), used.size, EVENT_TOKENS * ev.padded_length(events))
