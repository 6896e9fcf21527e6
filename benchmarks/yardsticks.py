"""Decode as others do, to compare: the plain loop of the reference, and the cached loop that transformers offers."""

import numpy as np
import torch
from torch import Tensor
from transformers import DynamicCache, GPT2LMHeadModel

from amt.decoding.engine import Engine
from amt.decoding.request import DecodeRequest, in_every_slot
from amt.decoding.window import EXACT_HOP_EVENTS
from amt.gpt2.network import GPT2
from amt.gpt2.sampling_params import SamplingParams
from amt.midi.notes import Note
from amt.tokens import events as ev
from amt.tokens.vocab import AUTOREGRESS, EVENT_TOKENS, ONSET, SLOTS, Slot
from benchmarks.checkpoints import MEAN_STEP_TICKS
from benchmarks.timing import milliseconds

PARITY_EVENTS = 10


def history(n_events: int, seed: int = 0) -> ev.Events:
    """Return a dense prompt, so that windows are full of events and not of time."""
    rng = np.random.default_rng(seed)
    return ev.from_notes(Note(MEAN_STEP_TICKS * i, 20, int(rng.integers(40, 80)), i % 4) for i in range(n_events))


def context(n_events: int) -> list[int]:
    """Return that prompt as tokens."""
    return [AUTOREGRESS, *history(n_events).reshape(-1).tolist()]


def sorted_choice(logits: Tensor, slot: Slot) -> int:
    """Draw a token of the slot as both yardsticks do: all logits masked and sorted; shape = (vocab_size,)."""
    mask = torch.full_like(logits, -torch.inf)
    mask[slot.slice] = 0
    values, order = (logits + mask).sort(descending=True)
    probabilities = values.softmax(0)
    probabilities[1:][probabilities.cumsum(0)[:-1] > 0.95] = 0
    return int(order[torch.multinomial(probabilities, 1)])


@torch.inference_mode()
def plain_event(model: GPT2LMHeadModel, tokens: list[int]) -> None:
    """Generate one event in the plain loop."""
    for slot in SLOTS:
        logits = model(torch.tensor([tokens], device=model.device), use_cache=False).logits[0, -1].float()
        tokens = [*tokens, sorted_choice(logits, slot)]


@torch.inference_mode()
def cached_events(model: GPT2LMHeadModel, n_events: int) -> None:
    """Generate the first events of a piece in the cached loop."""
    cache, token = DynamicCache(), AUTOREGRESS
    for index in range(EVENT_TOKENS * n_events):
        tokens = torch.tensor([[token]], device=model.device)
        logits = model(tokens, past_key_values=cache, use_cache=True).logits[0, -1].float()
        token = sorted_choice(logits, SLOTS[index % EVENT_TOKENS])


def plain_piece(model: GPT2LMHeadModel, n_events: int) -> float:
    """Return milliseconds per event of a piece in the plain loop: the mean of five lengths, all would take minutes."""
    lengths = np.linspace(0, n_events - 1, 5).astype(int).tolist()
    times = [milliseconds(lambda n=n: plain_event(model, context(n)), model.device) for n in lengths]
    return float(np.trapezoid(times, lengths)) / (n_events - 1)


def largest_gap(fast: GPT2, slow: GPT2LMHeadModel) -> float:
    """Return by how many logits the plain loop prefers its own favourite to any token that the decoder chose.

    The decoder chooses ten events of two rows, greedily, after prompts of different lengths. The result is 0 but for
    rounding.
    """
    engine = Engine(fast, EXACT_HOP_EVENTS)  # which takes what the model prefers, a note's repetition too
    prompts = history(50), history(7)
    greedy = in_every_slot(SamplingParams(temperature=0.0))
    sequences = [
        engine.add(DecodeRequest(10**9, start_ticks=int(prompt[-1, 0]), prompt=prompt, sampling=greedy))
        for prompt in prompts
    ]
    for _ in range(PARITY_EVENTS):
        engine.step()
    decoded = [np.reshape(sequence.decoded, -1).tolist() for sequence in sequences]
    return max(_gap(slow, *each) for each in zip(prompts, decoded, strict=True))


@torch.inference_mode()
def _gap(model: GPT2LMHeadModel, prompt: ev.Events, decoded: list[int]) -> float:
    """Return the largest gap of one row."""
    tokens = [AUTOREGRESS, *prompt.reshape(-1).tolist(), *decoded]
    logits = model(torch.tensor([tokens], device=model.device)).logits[0].float()
    gap, now = 0.0, int(prompt[-1, 0])
    for index in range(1 + prompt.size, len(tokens)):
        slot = SLOTS[(index - 1) % EVENT_TOKENS]
        legal = slice(now, slot.slice.stop) if slot is ONSET else slot.slice
        gap = max(gap, float(logits[index - 1, legal].max() - logits[index - 1, tokens[index]]))
        now = tokens[index] if slot is ONSET else now
    return gap
