"""Decode in a plain loop, as the reference does: with no cache, no batch, no slices and a full sort.

The loop follows `anticipation/sample.py`: a window of 1,017 tokens, a forward pass over the whole context for each
token, illegal tokens masked over the full vocabulary. Only the draw from the nucleus is ours, so that results can be
compared.
"""

import numpy as np
import torch
from transformers import GPT2LMHeadModel

from amt.decoding.request import DecodeRequest
from amt.tokens import events as ev
from amt.tokens.vocab import ANTICIPATE, AUTOREGRESS, CONTROL_OFFSET, NOTE, ONSET, SLOTS


def decode(model: GPT2LMHeadModel, request: DecodeRequest, n_events: int, hop: int = 1) -> list[list[int]]:
    """Return the events and controls that follow the prompt, at most `n_events`."""
    tokens, controls = ev.anticipate(ev.pad(request.prompt, request.start_ticks), request.controls)
    mode = ANTICIPATE if len(request.controls) else AUTOREGRESS
    history, waiting = tokens.tolist(), controls.tolist()
    n_prompt = len(history)
    current = max([event[0] for event in history if event[2] < CONTROL_OFFSET], default=0)
    uniforms = np.random.default_rng(request.seed).random((256, 3), dtype=np.float32)
    for step in range(n_events):
        if waiting and current >= waiting[0][0] - CONTROL_OFFSET - 500:
            history.append(waiting.pop(0))
            continue
        event = _next_event(
            model, mode, history, max(current, request.start_ticks), request.sampling[0].top_p, uniforms[step], hop
        )
        if event[0] >= request.end_ticks:
            break
        current = event[0]
        history.append(event)
    return history[n_prompt:]


def _next_event(
    model: GPT2LMHeadModel,
    mode: int,
    history: list[list[int]],
    earliest: int,
    top_p: float,
    uniforms: np.ndarray,
    hop: int,
) -> list[int]:
    window = history[-(-max(len(history) - 339, 0) // hop) * hop :]
    offset = min((event[0] - CONTROL_OFFSET * (event[2] >= CONTROL_OFFSET) for event in window), default=0)
    context = [mode] + [token for event in window for token in (event[0] - offset, *event[1:])]
    chosen: list[int] = []
    for index, slot in enumerate(SLOTS):
        with torch.no_grad():
            logits = model(torch.tensor([context + chosen]), logits_to_keep=1).logits[0, -1].numpy().copy()
        legal = np.zeros(len(logits), dtype=bool)
        legal[slot.slice] = True
        if slot is ONSET:
            legal[: earliest - offset] = False
        if slot is NOTE:
            legal[slot.slice] &= _instruments_allowed(history)
        chosen.append(_draw(np.where(legal, logits, -np.inf), top_p, uniforms[index]))
    return [chosen[0] + offset, *chosen[1:]]


def _instruments_allowed(history: list[list[int]]) -> np.ndarray:
    codes = np.array(
        [(note - CONTROL_OFFSET * (note >= CONTROL_OFFSET) - NOTE.offset) // 128 for _, _, note in history]
    )
    allowed = np.ones(NOTE.size, dtype=bool)
    if len(set(codes)) >= 15:
        allowed[:-1] = np.isin(np.arange(NOTE.size - 1) // 128, codes)
    return allowed


def _draw(logits: np.ndarray, top_p: float, uniform: float) -> int:
    probabilities = torch.from_numpy(logits).softmax(0).numpy()
    order = np.argsort(-probabilities, kind="stable")
    if top_p < 1:
        before = np.cumsum(probabilities[order], dtype=np.float64) - probabilities[order]
        probabilities = probabilities.copy()
        probabilities[order[before > top_p]] = 0
    cumulative = np.cumsum(probabilities, dtype=np.float64)
    return int(np.searchsorted(cumulative, (1 - np.float64(uniform)) * cumulative[-1]))
