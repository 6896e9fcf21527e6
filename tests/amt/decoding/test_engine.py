from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from amt.decoding import biases, legality
from amt.decoding.engine import Engine
from amt.decoding.model import load_model
from amt.decoding.request import DecodeRequest, in_every_slot
from amt.decoding.sequence import MAX_EVENTS_PER_SECOND, Sequence
from amt.decoding.window import EXACT_HOP_EVENTS, HOP_EVENTS, MAX_HISTORY_EVENTS
from amt.errors import SequenceError
from amt.gpt2 import sampling
from amt.gpt2.network import GPT2, rounded_length
from amt.gpt2.sampling_params import SamplingParams
from amt.midi.notes import Note
from amt.tokens import events as ev
from amt.tokens.vocab import ANTICIPATE, AUTOREGRESS, NOTE, ONSET, SLOTS
from tests.amt.decoding import plain
from tests.amt.gpt2.test_sampling import choice
from tests.conftest import GOLDEN

NO_END = 10**9
"""A time in ticks that no decoding here reaches."""


def prompt(n_events: int, step_ticks: int = 3, instruments: int = 4, seed: int = 0) -> ev.Events:
    rng = np.random.default_rng(seed)
    notes = [
        Note(index * step_ticks, int(rng.integers(1, 90)), int(rng.integers(30, 90)), index % instruments)
        for index in range(n_events)
    ]
    return ev.from_notes(notes)


def request(n_prompt: int = 0, **fields: Any) -> DecodeRequest:
    events = prompt(n_prompt)
    start = int(events[-1, 0]) if n_prompt else 0
    return DecodeRequest(**{"end_ticks": NO_END, "start_ticks": start, "prompt": events, **fields})


def decode(engine: Engine, requests: list[DecodeRequest], n_steps: int) -> list[Sequence]:
    sequences = [engine.add(each) for each in requests]
    for _ in range(n_steps):
        if engine.is_idle:
            break
        engine.step()
    return sequences


def decoded(sequence: Sequence) -> list[list[int]]:
    """Return events, controls and rests since the prompt, with onsets from the start of the piece."""
    return [list(event) for event in sequence.decoded]


@pytest.mark.parametrize("top_p", [0.0, 0.95, 1.0])
@pytest.mark.parametrize("n_prompt", [0, 1, 40, 336, 2_000])
def test_exact_decoding_equals_the_plain_loop(n_prompt: int, top_p: float, gpt2: GPT2, hf_model: Any) -> None:
    asked = request(n_prompt, sampling=in_every_slot(SamplingParams(top_p=top_p)), seed=n_prompt)
    n_events = 6 if n_prompt == 336 else 3  # the window is full after three more
    (sequence,) = decode(Engine(gpt2, EXACT_HOP_EVENTS), [asked], n_events)
    assert decoded(sequence) == plain.decode(hf_model, asked, n_events)


def test_decoding_with_hops_equals_the_plain_loop_with_hops(gpt2: GPT2, hf_model: Any) -> None:
    asked = request(MAX_HISTORY_EVENTS - 1, seed=5)
    (sequence,) = decode(Engine(gpt2), [asked], 4)
    assert decoded(sequence) == plain.decode(hf_model, asked, 4, hop=HOP_EVENTS)


@pytest.mark.parametrize("hop", [EXACT_HOP_EVENTS, HOP_EVENTS])
def test_controls_are_interleaved_as_in_the_plain_loop(hop: int, gpt2: GPT2, hf_model: Any) -> None:
    controls = ev.as_controls(prompt(60, step_ticks=40, instruments=1, seed=1))
    asked = request(30, controls=controls, seed=3)
    (sequence,) = decode(Engine(gpt2, hop), [asked], 10)
    events = decoded(sequence)
    assert events == plain.decode(hf_model, asked, 10, hop=hop)
    assert sequence.window.mode == ANTICIPATE


def test_sampling_distributions_match_the_reference(gpt2: GPT2, golden: Any) -> None:
    padded = {case["file"]: ev.from_tokens(case["pad"]) for case in golden("ops.json")}
    for case in golden("next_event.json"):
        history = ev.from_tokens(case.get("history_tokens", []))
        if "history_events" in case:
            history = padded[case["file"]][: case["history_events"]]
        window = history[-MAX_HISTORY_EVENTS:]
        offset = int(ev.onsets(window).min(initial=10**9)) if len(window) else 0
        assert offset == case["offset"]
        mode = {"AUTOREGRESS": AUTOREGRESS, "ANTICIPATE": ANTICIPATE}[case["mode"]]
        tokens = [mode, *ev.translate(window, -offset).reshape(-1).tolist()]
        tokens += [case["next_event"][0] - offset, *case["next_event"][1:]]
        for slot, expected, logits in zip(SLOTS, case["slots"], last_three(gpt2, tokens), strict=True):
            if slot is ONSET:
                legality.forbid_past(logits, torch.tensor([case["current_time"] - offset]))
            codes = ev.instrument_codes(history)
            if slot is NOTE and len(codes) >= 15:
                allowed = torch.isin(torch.arange(130), torch.tensor([*codes, 129]))
                biases.bias_notes(logits, torch.where(allowed, 0, -torch.inf)[None])
            kept = sampling.truncated_by_sorting(logits, choice(top_p=case["top_p"]))[0]
            assert int((logits > -torch.inf).sum()) == expected["legal_tokens"]
            # The reference sums in another order, so one token at the edge of the nucleus may differ.
            assert abs(int((kept > 0).sum()) - expected["kept_by_nucleus"]) <= 1
            probabilities = (kept / kept.sum())[torch.tensor(expected["top_tokens"]) - slot.offset]
            torch.testing.assert_close(probabilities, torch.tensor(expected["top_probabilities"]), atol=2e-6, rtol=1e-3)


def last_three(model: GPT2, tokens: list[int]) -> list[torch.Tensor]:
    """Return the logits from which the event at the end of the tokens is drawn, slot by slot."""
    cache, n_before = model.new_cache(), len(tokens) - 4
    cache.reserve(1)
    if n_before:
        model.prefill(torch.tensor([tokens[:n_before]]), cache, torch.tensor([0]), torch.tensor([0]))
    return [
        model.logits(model.decode(torch.tensor([tokens[end]]), end, rounded_length(end + 1), cache), SLOTS.index(slot))
        for end, slot in enumerate(SLOTS, start=n_before)
    ]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_a_sequence_does_not_depend_on_the_others_in_its_batch(dtype: torch.dtype) -> None:
    folder = GOLDEN / "model"
    model = load_model(folder, dtype, torch.device("cpu"))
    asked = request(20, seed=11)
    (alone,) = decode(Engine(model), [asked], 12)
    others = [request(n, seed=n) for n in (0, 335, 60)]
    _, together, *_ = decode(Engine(model), [others[0], asked, *others[1:]], 12)
    assert decoded(together) == decoded(alone)


def test_sequences_may_join_and_leave_between_steps(gpt2: GPT2) -> None:
    asked = request(20, seed=11)
    (alone,) = decode(Engine(gpt2), [asked], 8)
    engine = Engine(gpt2)
    first, late = engine.add(request(7)), engine.add(asked)
    engine.step()
    engine.add(request(3))
    engine.step()
    engine.remove(first)
    for _ in range(6):
        engine.step()
    assert decoded(late) == decoded(alone)


def test_sequences_differ_by_their_seeds_alone(gpt2: GPT2) -> None:
    sequences = decode(Engine(gpt2), [request(5, seed=seed) for seed in (1, 2, 1)], 4)
    assert decoded(sequences[0]) == decoded(sequences[2]) != decoded(sequences[1])


def test_no_event_is_generated_at_or_past_the_end(gpt2: GPT2) -> None:
    engine = Engine(gpt2)
    sequences = [engine.add(request(10, end_ticks=3_000, seed=seed)) for seed in range(6)]
    finished = []
    while not engine.is_idle:
        finished += engine.step()
    assert set(finished) == set(sequences)
    assert all(27 <= onset < 3_000 for each in sequences for onset in each.generated[:, 0])


def test_decoding_goes_on_where_windows_span_100_seconds(gpt2: GPT2) -> None:
    # Random weights leap through time, so windows span 100 s again and again.
    engine = Engine(gpt2)
    sequences = [engine.add(DecodeRequest(end_ticks=30_000, seed=seed)) for seed in range(4)]
    while not engine.is_idle:
        engine.step()
    for sequence in sequences:
        onsets = [event[0] for event in decoded(sequence)]
        assert onsets == sorted(onsets)
        assert onsets[-1] > 25_000


def test_a_prompt_with_a_long_silence_can_be_continued(gpt2: GPT2) -> None:
    notes = ev.from_notes([Note(0, 50, 60, 0), Note(17_000, 50, 62, 0)])
    (sequence,) = decode(Engine(gpt2), [DecodeRequest(NO_END, start_ticks=17_050, prompt=notes)], 3)
    assert all(event[0] >= 17_050 for event in decoded(sequence))


def test_no_more_than_sixteen_instruments_play(gpt2: GPT2) -> None:
    sequences = decode(
        Engine(gpt2),
        [request(0, sampling=in_every_slot(SamplingParams(top_p=1.0)), seed=seed) for seed in range(3)],
        60,
    )
    counts = [len({note.instrument for note in ev.to_notes(each.generated)}) for each in sequences]
    assert max(counts) <= 16
    assert max(counts) > 10  # random weights try many


def test_no_instrument_is_added_to_a_prompt_with_twenty(gpt2: GPT2) -> None:
    events = prompt(40, instruments=20)
    asked = DecodeRequest(
        NO_END, start_ticks=int(events[-1, 0]), prompt=events, sampling=in_every_slot(SamplingParams(top_p=1.0))
    )
    (sequence,) = decode(Engine(gpt2), [asked], 40)
    assert {note.instrument for note in ev.to_notes(sequence.generated)} <= set(range(20))


def test_events_before_the_onset_of_the_first_control_are_legal() -> None:
    sequence = Sequence(DecodeRequest(end_ticks=900, controls=ev.as_controls(ev.from_notes([Note(300, 9, 60, 0)]))))
    control = sequence.forced_event
    assert control
    sequence.append(control)
    assert sequence.forced_event is None
    assert sequence.earliest_onset == 0


def test_existing_instruments_count_towards_the_limit(gpt2: GPT2) -> None:
    asked = DecodeRequest(
        NO_END, existing_instruments=frozenset(range(20)), sampling=in_every_slot(SamplingParams(top_p=1.0))
    )
    (sequence,) = decode(Engine(gpt2), [asked], 40)
    assert {note.instrument for note in ev.to_notes(sequence.generated)} <= set(range(20))


def test_a_prompt_past_the_start_is_refused(gpt2: GPT2) -> None:
    with pytest.raises(SequenceError, match="past the start"):
        Engine(gpt2).add(replace(request(10), start_ticks=5))


def test_generated_events_are_neither_rests_nor_controls(gpt2: GPT2) -> None:
    controls = ev.as_controls(prompt(20, step_ticks=10, instruments=1))
    (sequence,) = decode(
        Engine(gpt2), [request(0, controls=controls, sampling=in_every_slot(SamplingParams(top_p=1.0)))], 40
    )
    assert len(ev.to_notes(sequence.generated)) == len(sequence.generated) < len(decoded(sequence))


def test_controls_left_behind_do_not_stop_the_decoding(gpt2: GPT2) -> None:
    # Random weights leap by tens of seconds past the controls, past some by more than a window.
    controls = ev.as_controls(prompt(20, step_ticks=1_000, instruments=1))
    engine = Engine(gpt2)
    sequences = [engine.add(DecodeRequest(end_ticks=30_000, controls=controls, seed=seed)) for seed in range(3)]
    while not engine.is_idle:
        engine.step()
    assert all(len(sequence.generated) for sequence in sequences)


def test_exact_decoding_goes_on_where_a_window_spans_100_seconds(gpt2: GPT2) -> None:
    notes = ev.from_notes([Note(onset, 5, 60, 0) for onset in range(0, 10_050, 60)])
    asked = DecodeRequest(NO_END, start_ticks=10_050, prompt=notes)
    (sequence,) = decode(Engine(gpt2, EXACT_HOP_EVENTS), [asked], 4)
    onsets = [event[0] for event in decoded(sequence)]
    assert onsets == sorted(onsets)
    assert onsets[0] >= 10_050


def test_no_more_than_64_events_begin_in_a_second(gpt2: GPT2) -> None:
    # Random weights, greedy: the likeliest onset is the same again and again.
    (sequence,) = decode(Engine(gpt2), [request(0, sampling=in_every_slot(SamplingParams(top_p=0.0)))], 200)
    onsets = np.array([event[0] for event in decoded(sequence)])
    assert (onsets[MAX_EVENTS_PER_SECOND:] - onsets[:-MAX_EVENTS_PER_SECOND]).min() >= 100


def test_a_sequence_may_leave_before_its_first_step(gpt2: GPT2) -> None:
    engine = Engine(gpt2)
    first, second = engine.add(request(5)), engine.add(request(9, seed=4))
    engine.remove(first)
    engine.step()
    (alone,) = decode(Engine(gpt2), [request(9, seed=4)], 1)
    assert decoded(second) == decoded(alone)


def test_a_step_of_an_idle_engine_does_nothing(gpt2: GPT2) -> None:
    assert Engine(gpt2).step() == []


def test_a_sequence_does_not_depend_on_earlier_contents_of_the_cache(gpt2: GPT2) -> None:
    asked = [request(30, seed=1), request(3, seed=2)]
    expected = [decoded(sequence) for sequence in decode(Engine(gpt2), asked, 3)]
    engine = Engine(gpt2)
    for used in [engine.add(request(300)), engine.add(request(310))]:
        engine.step()
        engine.remove(used)
    assert [decoded(sequence) for sequence in decode(engine, asked, 3)] == expected
