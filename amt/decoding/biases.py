"""Bias tokens: add nats to logits of a slot, in place and for all rows at once."""

import torch
from torch import Tensor

from amt.decoding.chord_tones import EARLY_TICKS, N_PITCH_CLASSES
from amt.decoding.legality import numbers
from amt.midi.notes import DRUMS, N_INSTRUMENTS, N_PITCHES


def bias_onsets(logits: Tensor, earliest: Tensor, latest: Tensor, width: float) -> None:
    """Lower the logits of onsets outside a span by half the square of their distance from it in widths.

    Args:
        logits: of the onset slot, shape = (n_rows, 10,000).
        earliest: where each row's span begins, in ticks from the window's start, shape = (n_rows,); -inf for none.
        latest: where it ends, likewise; inf for none.
        width: in ticks.
    """
    ticks = numbers(logits.shape[1], logits.device).float()
    nearest = torch.minimum(torch.maximum(ticks, earliest[:, None]), latest[:, None])
    logits.addcmul_(nearest.sub_(ticks), nearest, value=-0.5 / width**2)


def bias_notes(logits: Tensor, biases: Tensor) -> None:
    """Add to every note its instrument's bias.

    Args:
        logits: of the note slot, shape = (n_rows, 16,513).
        biases: of the instruments and, last, of rests, shape = (n_rows, 130); -inf forbids.
    """
    by_instrument = logits[:, : N_INSTRUMENTS * N_PITCHES].view(-1, N_INSTRUMENTS, N_PITCHES)
    by_instrument += biases[:, :N_INSTRUMENTS, None]
    logits[:, -1] += biases[:, -1]


def bias_keys(logits: Tensor, keys: Tensor, biases: Tensor) -> None:
    """Add to some keys of each row a bias each.

    Args:
        logits: of the note slot, shape = (n_rows, 16,513).
        keys: shape = (n_rows, n_keys), int64; what is not used may name any key,
        biases: of these, shape = (n_rows, n_keys), if its bias is 0.
    """
    logits.scatter_add_(1, keys, biases)


def lead_pitches(
    logits: Tensor, key: Tensor, strength: Tensor, chords: Tensor, starts: Tensor, durations: Tensor
) -> None:
    """Lead notes to a key and to chords, all instruments but drums, each of which stays as likely as it was.

    A pitch gains the bias of its class for the key, and `strength` times the share of the note's time, as far as any
    chord sounds, in which it belongs to the chord. Rows that are led nowhere stay as they are.

    Args:
        logits: of the note slot, shape = (n_rows, 16,513).
        key: nats for each pitch class, shape = (n_rows, 12); -inf forbids.
        strength: nats, shape = (n_rows,); 0 for none.
        chords: see `ChordTones.table`, shape = (n_rows, 1,024, 2).
        starts: of the note, in the ticks of `chords`, shape = (n_rows,).
        durations: of the note in ticks, shape = (n_rows,).
    """
    by_class = key + strength[:, None] * _share_of_time(chords, starts, durations)
    by_pitch = by_class[:, numbers(N_PITCHES, logits.device) % N_PITCH_CLASSES][:, None]
    melodic = logits[:, : DRUMS * N_PITCHES].view(-1, DRUMS, N_PITCHES)
    led = melodic + by_pitch
    gain = (melodic.logsumexp(2, keepdim=True) - led.logsumexp(2, keepdim=True)).nan_to_num(0, 0, 0)
    melodic.copy_(torch.where((by_class != 0).any(1)[:, None, None], led + gain, melodic))


def _share_of_time(chords: Tensor, starts: Tensor, durations: Tensor) -> Tensor:
    """Return in how much of a note's time a chord holds each pitch class; shape = (n_rows, 12)."""
    begins, members = chords.unbind(2)
    start = starts + EARLY_TICKS
    end = torch.maximum(starts + durations, start + 1)
    overlap = torch.minimum(end[:, None], begins[:, 1:]) - torch.maximum(start[:, None], begins[:, :-1])
    overlap = overlap.clamp(min=0) * (members[:, :-1] != 0)
    holds = members[:, :-1, None] >> numbers(N_PITCH_CLASSES, chords.device) & 1
    inside = (overlap[:, :, None] * holds).sum(1)
    return inside / overlap.sum(1, keepdim=True).clamp(min=1)
