"""Decode one event of every row in three passes, one a slot. Nothing in them waits for the host."""

from collections.abc import Sequence
from types import ModuleType

import torch
from torch import Tensor

from amt.decoding import biases, legality
from amt.decoding.inputs import StepInputs
from amt.decoding.steering import ONSET_WIDTH_SECONDS
from amt.gpt2.cache import Cache
from amt.gpt2.network import GPT2
from amt.gpt2.sampling import SamplingTensors, sample
from amt.midi.notes import TICKS_PER_SECOND
from amt.tokens.vocab import DURATION, ONSET, SLOTS, Slot


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
    by_slot = zip(*(column.unbind(1) for column in columns.sampling), strict=True)
    decoded: list[Tensor] = []
    for index, (slot, (*params, uniform)) in enumerate(zip(SLOTS, by_slot, strict=True)):
        logits = model.logits(model.decode(tokens, cache_lengths + index, attention_length, cache), index)
        steer(logits, slot, inputs, decoded)
        tokens = sample(logits, SamplingTensors(*params), uniform).add_(slot.offset)
        if inputs.has_forced:
            forced = columns.forced_event[:, index].long()
            tokens = torch.where(forced >= 0, forced, tokens)
        decoded.append(tokens)
    return torch.stack(decoded, dim=1)


def steer(logits: Tensor, slot: Slot, inputs: StepInputs, decoded: Sequence[Tensor]) -> None:
    """Apply to the logits of a slot what its rows must and should be, in place.

    Args:
        logits: shape = (n_rows, n_tokens of the slot).
        slot: whose logits they are.
        inputs: of these rows.
        decoded: the tokens of the event's slots before, shape = (n_rows,) each.
    """
    columns, shift = inputs.columns, inputs.columns.shift[:, 0]
    if slot is ONSET:
        if inputs.has_target:
            earliest, latest = columns.target_onset.unbind(1)
            _rules(logits, biases).bias_onsets(logits, earliest, latest, ONSET_WIDTH_SECONDS * TICKS_PER_SECOND)
        _rules(logits, legality).forbid_past(logits, columns.earliest_onset[:, 0])
        if inputs.levels is not None:
            _rules(logits, legality).keep_on_grid(logits, columns.grid_place, shift, inputs.levels)
    elif slot is DURATION:
        if inputs.levels is not None:
            _rules(logits, legality).end_on_grid(logits, decoded[0], columns.grid_place, shift, inputs.levels)
    else:
        if inputs.legal is not None:
            _rules(logits, legality).forbid_notes(logits, inputs.legal)
        if inputs.biases is not None:
            _rules(logits, biases).bias_notes(logits, inputs.biases)
        if inputs.recent is not None:
            biases.bias_keys(logits, *inputs.recent)
        if inputs.chords is not None:
            starts, durations = decoded[0] + shift.long(), decoded[1] - DURATION.offset
            strength = columns.chord_strength[:, 0]
            _rules(logits, biases).lead_pitches(logits, columns.key, strength, inputs.chords, starts, durations)


def _rules(logits: Tensor, module: ModuleType) -> ModuleType:
    """Return the module whose functions are made for these logits."""
    if logits.device.type != "cpu":
        return module
    from amt.decoding import kernels  # which is for CPUs alone

    return kernels
