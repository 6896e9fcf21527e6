"""What the bundled model is measured by."""

import math

import numpy as np
import pytest
import torch
from transformers import GPT2LMHeadModel

from amt.midi.notes import Note
from amt.tokens import events as ev
from amt.tokens.vocab import SLOTS
from tests.conftest import GOLDEN
from tests.training.test_training import pieces
from training import memorisation, perplexity, statistics
from training.excerpts import SECONDS, generated_excerpts, held_out_excerpts

VIOLIN, DRUMS = 40, 128


def melody(pitches: list[int], apart_ticks: int = 50, instrument: int = VIOLIN) -> ev.Events:
    return ev.from_notes(Note(apart_ticks * index, 40, pitch, instrument) for index, pitch in enumerate(pitches))


def scale(n_notes: int) -> ev.Events:
    return melody([40 + index % 48 for index in range(n_notes)])


def test_the_loss_is_over_the_tokens_of_each_slot(hf_model: GPT2LMHeadModel) -> None:
    given, _ = next(window for piece in pieces() for window in perplexity.accompaniment_windows(piece))
    losses = perplexity.nats(hf_model, given)
    tokens = torch.tensor([given.mode, *given.events.flatten().tolist()])
    logits = hf_model(tokens[None, :-1]).logits[0].unflatten(0, (-1, 3))
    for index, slot in enumerate(SLOTS):
        wanted = torch.from_numpy(given.events[:, index] - slot.offset)[given.targets]
        expected = torch.nn.functional.cross_entropy(logits[given.targets, index, slot.slice], wanted)
        torch.testing.assert_close(losses[:, index].mean(), expected)


def test_accompaniment_windows_have_the_same_targets_with_and_without_controls() -> None:
    pairs = [pair for piece in pieces() for pair in perplexity.accompaniment_windows(piece)]
    assert pairs
    for given, without in pairs:
        events = given.events[given.targets]
        assert ev.is_control(given.events).any()
        assert without.targets.all()
        np.testing.assert_array_equal(events[:, 1:], without.events[:, 1:])
        np.testing.assert_array_equal(np.diff(events[:, 0]), np.diff(without.events[:, 0]))


def test_held_out_excerpts_are_whole_and_of_the_length_asked_for() -> None:
    excerpts = held_out_excerpts(pieces(), 10)
    assert excerpts
    for events in excerpts:
        ends = events[:, 0] + events[:, 1] - 10_000
        assert events[0, 0] >= 0
        assert ends.max() < 100 * SECONDS


def test_generated_excerpts_depend_on_their_seed_alone() -> None:
    first, second = generated_excerpts(GOLDEN / "model", 2, [0.9] * 3)
    (again,) = generated_excerpts(GOLDEN / "model", 1, [0.9] * 3)
    np.testing.assert_array_equal(first, again)
    assert len(first) != len(second) or (first != second).any()


@pytest.mark.parametrize(
    ("statistic", "events", "expected"),
    [
        (statistics.notes_per_second, scale(60), 2.0),
        (statistics.instruments, np.concatenate([scale(9), melody([36], instrument=DRUMS)]), 2),
        (statistics.onset_entropy, scale(20), 0.0),
        (statistics.onset_entropy, ev.from_notes(Note(t, 9, 60, 0) for t in (0, 10, 30, 40, 60)), 1.0),
        (statistics.note_length, np.concatenate([scale(9), melody([36] * 30, instrument=DRUMS)]), 0.4),
        (statistics.repeated_notes, melody([60, 60, 60, 62]), 0.5),
        (statistics.repeated_phrases, scale(48), 0.0),
        (statistics.repeated_phrases, melody([*range(40, 48), *range(60, 67), *range(40, 48)]), 2 / 16),
    ],
)
def test_statistics_have_their_known_values(
    statistic: statistics.Statistic, events: ev.Events, expected: float
) -> None:
    assert statistic(events) == pytest.approx(expected)


def test_statistics_of_no_notes_are_nan() -> None:
    for name in ("onset entropy, bits", "note length, s", "repeated phrases"):
        assert math.isnan(statistics.OURS[name](ev.empty())), name
    assert statistics.notes_per_second(ev.empty()) == 0
    assert statistics.is_silent(ev.empty())


def test_silence_is_found_anywhere_in_an_excerpt() -> None:
    music = scale(60)
    assert not statistics.is_silent(music)
    for start in (0, 1_000, 2_000):
        rest = (music[:, 0] >= start) & (music[:, 0] < start + 1_050)
        assert statistics.is_silent(music[~rest]), start


def test_stuck_is_ten_seconds_of_one_or_two_notes() -> None:
    trill = melody([60, 62] * 30)
    assert statistics.is_stuck(trill)
    assert statistics.is_stuck(np.concatenate([scale(30), ev.translate(trill[:30], 1_500)]))
    assert not statistics.is_stuck(scale(60))
    assert not statistics.is_stuck(np.concatenate([trill[:15], ev.translate(scale(40), 750)]))
    assert not statistics.is_stuck(melody([60] * 15, apart_ticks=200)), "a slow note is not stuck"


def test_dense_is_more_than_330_notes_in_the_first_20_seconds() -> None:
    assert statistics.is_dense(melody([60] * 331, apart_ticks=6))
    assert not statistics.is_dense(melody([60] * 330, apart_ticks=6))
    assert not statistics.is_dense(ev.translate(melody([60] * 331, apart_ticks=1), 2_000))


def test_shared_runs_are_found_in_another_key_with_their_exact_length() -> None:
    rng = np.random.default_rng(0)
    original = [int(pitch) for pitch in rng.integers(40, 80, size=50)]
    copied = [pitch + 3 for pitch in original[10:30]]
    own = [int(pitch) for pitch in rng.integers(40, 80, size=20)]
    corpus = [melody(own[:3]), melody(original), melody([90, 91, 93])]
    excerpts = [melody(own + copied + own), melody(copied, instrument=0), melody([1, 120, 1]), ev.empty()]
    long, other_instrument, strange, nothing = memorisation.longest_shared_runs(excerpts, corpus)
    assert long == 19
    assert other_instrument == strange == nothing == 0


def test_shared_runs_do_not_cross_pieces() -> None:
    run = list(range(40, 60))
    assert memorisation.longest_shared_runs([melody(run)], [melody(run[:10]), melody(run[10:])]) == [9]
