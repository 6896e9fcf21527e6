"""Decode one event of every row in three passes, one a slot. Nothing in them waits for the host."""

import torch
from torch import Tensor

from amt.decoding import legality
from amt.decoding.inputs import StepInputs
from amt.decoding.steering import ONSET_WIDTH_SECONDS
from amt.gpt2.cache import Cache
from amt.gpt2.network import GPT2
from amt.gpt2.sampling import SamplingTensors, draw, truncated_probabilities
from amt.midi.notes import TICKS_PER_SECOND
from amt.tokens.vocab import NOTE, ONSET, SLOTS


def decode(model: GPT2, cache: Cache, inputs: StepInputs, cache_lengths: int | Tensor, attention_length: int) -> Tensor:
    """Decode the next event of each of the first rows of the cache; shape = (n_rows, 3).

    Args:
        model: what decodes.
        cache: written in place.
        inputs: of these rows.
        cache_lengths: before the first pass, see `GPT2.decode`.
        attention_length: of all three passes.
    """
    columns = inputs.columns
    tokens = columns.pending[:, 0].long()
    by_slot = zip(*(column.unbind(1) for column in columns[-5:]), strict=True)
    decoded = []
    for index, (slot, (*params, uniform)) in enumerate(zip(SLOTS, by_slot, strict=True)):
        logits = model.logits(model.decode(tokens, cache_lengths + index, attention_length, cache), index)
        if slot is ONSET:
            if inputs.has_target:
                earliest, latest = columns.target_onset.unbind(1)
                legality.bias_onsets(logits, earliest, latest, ONSET_WIDTH_SECONDS * TICKS_PER_SECOND)
            legality.forbid_past(logits, columns.earliest_onset[:, 0])
        elif slot is NOTE:
            if inputs.legal is not None:
                legality.forbid_notes(logits, inputs.legal)
            if inputs.biases is not None:
                legality.bias_notes(logits, inputs.biases)
        tokens = draw(truncated_probabilities(logits, SamplingTensors(*params)), uniform).add_(slot.offset)
        if inputs.has_forced:
            forced = columns.forced_event[:, index].long()
            tokens = torch.where(forced >= 0, forced, tokens)
        decoded.append(tokens)
    return torch.stack(decoded, dim=1)
