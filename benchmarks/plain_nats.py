"""Score new notes by the model alone: how likely it finds what was decoded with steering, or moved afterwards."""

from collections.abc import Sequence
from typing import Final

import numpy as np

from amt.decoding.request import DecodeRequest
from amt.decoding.window import HOP_EVENTS
from amt.gpt2.network import GPT2
from amt.tokens import events as ev
from amt.tokens.vocab import MAX_WINDOW_EVENTS
from benchmarks.precision import decoded_nats
from training.windows import Window, autoregressive

ROWS: Final = 24
"""Windows scored together."""


def nats_an_event(model: GPT2, requests: Sequence[DecodeRequest], new: Sequence[ev.Events]) -> list[float]:
    """Return for each piece the mean nats of its new events, and of the rests among them, given its prompt.

    Args:
        model: is asked without any steering.
        requests: without controls; the prompts have the past.
        new: of each request; sorted, with onsets from the start of the piece, without rests.
    """
    padded = [
        ev.pad(np.concatenate([request.prompt, events]), request.end_ticks)
        for request, events in zip(requests, new, strict=True)
    ]
    windows = [_windows(events) for events in padded]
    flat = [window for each in windows for window in each]
    batches = (flat[start : start + ROWS] for start in range(0, len(flat), ROWS))
    scored = iter([losses for batch in batches for losses in decoded_nats(model, batch)])
    means = []
    for request, events, own in zip(requests, padded, windows, strict=True):
        losses: list[float] = []
        for index, _ in enumerate(own):
            losses += next(scored)[len(losses) - index * HOP_EVENTS :].tolist()
        is_new = events[:, 0] >= request.start_ticks
        means.append(float(np.array(losses)[is_new].mean()) if is_new.any() else np.nan)
    return means


def _windows(events: ev.Events) -> list[Window]:
    """Return windows that hop over padded events, until one reaches the last."""
    starts = range(0, max(len(events) - MAX_WINDOW_EVENTS, 0) + HOP_EVENTS, HOP_EVENTS)
    return [autoregressive(events[start:], MAX_WINDOW_EVENTS) for start in starts]
