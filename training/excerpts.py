"""Make excerpts of equal length: of held-out music, and of music that a model generates from nothing."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from amt.decoding.constraints import Constraints
from amt.decoding.engine import Engine
from amt.decoding.model import load_model
from amt.decoding.request import DecodeRequest
from amt.gpt2.sampling_params import SamplingParams
from amt.midi.notes import TICKS_PER_SECOND
from amt.tokens import events as ev
from training.corpus import Piece

SECONDS = 30
"""Length of an excerpt."""

ROWS = 24
"""Sequences decoded together."""


def held_out_excerpts(pieces: Sequence[Piece], count: int) -> list[ev.Events]:
    """Return `count` of a collection, evenly spaced over its pieces; none runs over the end of its piece."""
    ticks = SECONDS * TICKS_PER_SECOND
    starts = [(piece, start) for piece in pieces for start in range(0, int(piece.events[-1, 0]) - ticks, ticks)]
    chosen = [starts[round(k)] for k in np.linspace(0, len(starts) - 1, min(count, len(starts)))]
    return [
        ev.translate(ev.clip(piece.events, start, start + ticks - 1, clip_duration=True), -start)
        for piece, start in chosen
    ]


def generated_excerpts(folder: Path, count: int, top_p: Sequence[float]) -> list[ev.Events]:
    """Generate with the checkpoint as the service does, for the seeds 0 to `count - 1`; `top_p` is by slot."""
    engine = Engine(load_model(folder, torch.float32, torch.device("cpu")))
    ticks = SECONDS * TICKS_PER_SECOND
    sampling = tuple(SamplingParams(top_p=value) for value in top_p)
    waiting = [
        DecodeRequest(ticks, sampling=sampling, constraints=Constraints(allow_repetition=False), seed=seed)
        for seed in reversed(range(count))
    ]
    active, made = 0, {}
    while waiting or active:
        while waiting and active < ROWS:
            engine.add(waiting.pop())
            active += 1
        for sequence in engine.step():
            made[sequence.request.seed] = ev.clip(sequence.generated, 0, ticks - 1, clip_duration=True)
            active -= 1
    return [made[seed] for seed in range(count)]
