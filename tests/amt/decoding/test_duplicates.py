"""No note begins together with itself."""

import numpy as np
import torch

from amt.decoding.engine import Engine
from amt.decoding.model import load_model
from amt.decoding.request import DecodeRequest
from amt.decoding.sequence import MAX_DUPLICATE_NOTES, Sequence
from amt.decoding.window import EXACT_HOP_EVENTS
from amt.midi.notes import Note
from amt.tokens import events as ev
from amt.tokens.vocab import DURATION, NOTE
from tests.conftest import PROJECT

TINY = PROJECT / "weights/tiny"
DURATION_TOKEN = DURATION.offset + 5
A, B = NOTE.offset + 60, NOTE.offset + 64


def test_a_note_that_has_begun_at_the_same_onset_is_dropped() -> None:
    sequence = Sequence(DecodeRequest(end_ticks=1_000))
    for note in (A, B, A, B):
        sequence.append((0, DURATION_TOKEN, note))
    assert [note for _, _, note in sequence.decoded] == [A, B]
    sequence.append((1, DURATION_TOKEN, A))
    assert sequence.n_decoded == 3


def test_a_note_that_has_begun_in_the_prompt_at_the_same_onset_is_dropped() -> None:
    prompt = ev.from_notes([Note(30, 20, 60, 0)])
    sequence = Sequence(DecodeRequest(end_ticks=1_000, start_ticks=30, prompt=prompt))
    sequence.append((0, DURATION_TOKEN, A))
    assert sequence.n_decoded == 0


def test_after_two_duplicates_the_onset_must_be_later_and_all_notes_are_free_again() -> None:
    sequence = Sequence(DecodeRequest(end_ticks=1_000))
    sequence.append((0, DURATION_TOKEN, A))
    for _ in range(MAX_DUPLICATE_NOTES):
        assert sequence.earliest_onset == 0
        sequence.append((0, DURATION_TOKEN, A))
    assert sequence.earliest_onset == 1
    sequence.append((40, DURATION_TOKEN, A))
    assert (sequence.n_decoded, sequence.earliest_onset) == (2, 40)


def test_exact_decoding_keeps_duplicate_notes() -> None:
    sequence = Sequence(DecodeRequest(end_ticks=1_000), EXACT_HOP_EVENTS)
    for _ in range(4):
        sequence.append((0, DURATION_TOKEN, A))
    assert (sequence.n_decoded, sequence.earliest_onset) == (4, 0)


def test_the_bundled_model_generates_no_duplicate_notes() -> None:
    engine = Engine(load_model(TINY, torch.float32, torch.device("cpu")))
    sequences = [engine.add(DecodeRequest(end_ticks=600, seed=seed)) for seed in range(8)]
    while not engine.is_idle:
        engine.step()
    for sequence in sequences:
        beginnings = sequence.generated[:, [0, 2]]
        assert len(np.unique(beginnings, axis=0)) == len(beginnings)
