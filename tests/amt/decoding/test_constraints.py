from dataclasses import replace

import numpy as np
import pytest

from amt.decoding.constraints import Constraints
from amt.decoding.engine import Engine
from amt.decoding.request import DecodeRequest, in_every_slot
from amt.decoding.sequence import Sequence
from amt.decoding.steering import Steering
from amt.errors import ConstraintError, SequenceError
from amt.gpt2.network import GPT2
from amt.gpt2.sampling_params import SamplingParams
from amt.midi.notes import DRUMS, Note
from amt.tokens import events as ev
from amt.tokens.vocab import DURATION, NOTE, REST

PIANO, BASS, VIOLIN, CELLO = 0, 32, 40, 42
STRINGS = frozenset(range(40, 48))


def decode(model: GPT2, requests: list[DecodeRequest]) -> list[Sequence]:
    engine = Engine(model)
    sequences = [engine.add(request) for request in requests]
    while not engine.is_idle:
        engine.step()
    return sequences


def notes(model: GPT2, constraints: Constraints, seconds: int = 6, n_seeds: int = 2) -> list[list[Note]]:
    requests = [DecodeRequest(end_ticks=100 * seconds, constraints=constraints, seed=seed) for seed in range(n_seeds)]
    return [ev.to_notes(sequence.generated) for sequence in decode(model, requests)]


def max_polyphony(notes: list[Note]) -> int:
    """Return how many notes sound together at most."""
    return max(sum(other.onset <= note.onset < other.onset + other.duration for other in notes) for note in notes)


def test_only_requested_instruments_play(tiny: GPT2) -> None:
    constraints = Constraints(groups=(frozenset({PIANO}), STRINGS), excluded=frozenset({CELLO}))
    for piece in notes(tiny, constraints):
        assert {note.instrument for note in piece} <= (STRINGS | {PIANO}) - {CELLO}


def test_excluded_instruments_do_not_play(tiny: GPT2) -> None:
    excluded = frozenset(range(129)) - {VIOLIN, DRUMS}
    for piece in notes(tiny, Constraints(excluded=excluded)):
        assert {note.instrument for note in piece} <= {VIOLIN, DRUMS}


def test_every_requested_group_plays_if_there_is_a_balance(tiny: GPT2) -> None:
    # Instruments that the bundled model hardly knows, and never together.
    groups = (frozenset({PIANO}), frozenset({113}), frozenset({DRUMS}), frozenset({105}))
    for piece in notes(tiny, Constraints(groups=groups, balance=1.0), seconds=20):
        playing = {note.instrument for note in piece}
        assert all(playing & group for group in groups)


def test_pitches_stay_in_their_ranges(tiny: GPT2) -> None:
    constraints = Constraints(
        groups=(frozenset({PIANO}), frozenset({BASS}), frozenset({DRUMS})),
        balance=1.0,
        pitch_range=(60, 72),
        pitch_ranges={BASS: (36, 40)},
    )
    ranges = {PIANO: (60, 72), BASS: (36, 40), DRUMS: (0, 127)}
    for piece in notes(tiny, constraints):
        assert all(low <= note.pitch <= high for note in piece for low, high in [ranges[note.instrument]])


@pytest.mark.parametrize("limit", [1, 2, 5])
def test_no_more_notes_sound_together_than_max_polyphony(limit: int, tiny: GPT2) -> None:
    for piece in notes(tiny, Constraints(max_polyphony=limit)):
        assert max_polyphony(piece) <= limit


def test_while_no_voice_is_free_a_rest_is_forced_each_second(tiny: GPT2) -> None:
    sequence = Engine(tiny).add(DecodeRequest(end_ticks=3_000, constraints=Constraints(max_polyphony=1)))
    sequence.append((0, DURATION.offset + 350, NOTE.offset + 60))
    for ticks in (100, 200, 300):
        rest = sequence.forced_event
        assert rest == (ticks, DURATION.offset, REST)
        sequence.append(rest)
    assert sequence.forced_event is None
    assert sequence.earliest_onset == 350


@pytest.mark.parametrize("density", [2, 8])
def test_the_density_is_near_the_requested_one(density: float, tiny: GPT2) -> None:
    counts = [len(piece) / 20 for piece in notes(tiny, Constraints(density=density), seconds=20)]
    assert np.mean(counts) == pytest.approx(density, rel=0.25)


def test_constraints_change_only_their_own_sequence(tiny: GPT2) -> None:
    plain = DecodeRequest(end_ticks=500, seed=3)
    constrained = DecodeRequest(
        end_ticks=500,
        sampling=in_every_slot(SamplingParams(temperature=1.2, top_k=40, min_p=0.02)),
        constraints=Constraints((STRINGS,), balance=1.0, pitch_range=(50, 70), max_polyphony=3, density=5),
    )
    (alone,), (alone_constrained,) = decode(tiny, [plain]), decode(tiny, [constrained])
    together = decode(tiny, [constrained, plain, replace(constrained, seed=1)])
    assert together[1].decoded == alone.decoded
    assert together[0].decoded == alone_constrained.decoded


def test_greedy_decoding_does_not_depend_on_the_seed(tiny: GPT2) -> None:
    greedy = in_every_slot(SamplingParams(temperature=0.0))
    first, second = decode(tiny, [DecodeRequest(end_ticks=300, sampling=greedy, seed=seed) for seed in (1, 2)])
    assert first.decoded == second.decoded


def test_each_slot_has_its_own_sampling_parameters(tiny: GPT2) -> None:
    greedy, free = SamplingParams(temperature=0.0), SamplingParams()
    requests = [DecodeRequest(end_ticks=100, sampling=(greedy, greedy, free), seed=seed) for seed in range(6)]
    first = [sequence.decoded[0] for sequence in decode(tiny, requests)]
    assert len({onset for onset, _, _ in first}) == 1
    assert len({note for _, _, note in first}) > 1


def test_constraints_that_leave_no_instrument_are_refused() -> None:
    with pytest.raises(ConstraintError, match="leaves no instrument of an entry"):
        Constraints(groups=(frozenset({PIANO}), frozenset({BASS})), excluded=frozenset({PIANO}))
    with pytest.raises(ConstraintError, match="leaves no instrument: at least one"):
        Constraints(excluded=frozenset(range(129)))


def test_rests_are_legal_under_any_constraints() -> None:
    legal = Constraints(groups=(frozenset({DRUMS}),)).legal_notes
    assert legal is not None
    assert legal[REST - NOTE.offset]


def test_more_instruments_than_fit_beside_the_prompt_are_refused(gpt2: GPT2) -> None:
    prompt = ev.from_notes([Note(0, 10, 60, instrument) for instrument in range(14)])
    constraints = Constraints(groups=tuple(frozenset({instrument}) for instrument in range(60, 64)))
    with pytest.raises(SequenceError, match="no room for 4 more"):
        Engine(gpt2).add(DecodeRequest(end_ticks=500, prompt=prompt, constraints=constraints))


def test_requested_instruments_enter_beside_many_others(gpt2: GPT2) -> None:
    prompt = ev.from_notes([Note(0, 10, 60, instrument) for instrument in range(14)])
    constraints = Constraints(groups=(frozenset({60}), frozenset({61})), balance=1.0)
    requests = [DecodeRequest(end_ticks=20_000, prompt=prompt, constraints=constraints, seed=seed) for seed in range(3)]
    for sequence in decode(gpt2, requests):
        assert {note.instrument for note in ev.to_notes(sequence.generated)} == {60, 61}


def test_an_overdue_group_is_favoured_from_the_start() -> None:
    constraints = Constraints(groups=(frozenset({4}),), balance=1.5, overdue_seconds=2.0)
    biases = Steering(constraints, 700, is_accompanied=False).biases(700)
    assert biases is not None
    assert biases[4] == 3.0


@pytest.mark.parametrize("temperature", [1e-3, 1e-38, 5e-324])
def test_the_smallest_temperatures_decode_greedily(temperature: float, tiny: GPT2) -> None:
    cold = DecodeRequest(end_ticks=100, sampling=in_every_slot(SamplingParams(temperature=temperature)))
    greedy = DecodeRequest(end_ticks=100, sampling=in_every_slot(SamplingParams(temperature=0)))
    first, second = decode(tiny, [cold, greedy])
    assert first.decoded == second.decoded


def test_notes_are_generated_beside_dense_controls(tiny: GPT2) -> None:
    chords = [Note(40 * beat, 30, 48 + 3 * voice, 0) for beat in range(35) for voice in range(8)]
    controls = ev.as_controls(ev.from_notes(chords))
    request = DecodeRequest(end_ticks=900, controls=controls, constraints=Constraints(density=5), seed=1)
    (sequence,) = decode(tiny, [request])
    of_each_third, _ = np.histogram(sequence.generated[:, 0], bins=3, range=(0, 900))
    assert of_each_third.min() > 3  # of 15; one seed pauses where another does not


def test_excluding_all_of_the_sixteen_instruments_of_the_prompt_is_refused(gpt2: GPT2) -> None:
    prompt = ev.from_notes([Note(0, 10, 60, instrument) for instrument in range(16)])
    with pytest.raises(SequenceError, match="of the 16 of the input none may play new notes"):
        Engine(gpt2).add(
            DecodeRequest(end_ticks=500, prompt=prompt, constraints=Constraints(excluded=frozenset(range(16))))
        )
