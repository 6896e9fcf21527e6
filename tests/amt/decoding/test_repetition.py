"""Music that hangs on one or two notes is led away from them."""

import numpy as np
import pytest

from amt.decoding.constraints import Constraints
from amt.decoding.request import DecodeRequest
from amt.decoding.sequence import Sequence
from amt.decoding.steering import REPETITION_NOTES
from amt.midi.notes import DRUMS, N_PITCHES, Note
from amt.tokens import events as ev
from amt.tokens.vocab import DURATION, NOTE

LED, NOTHING = Constraints(allow_repetition=False), ev.empty()
A, B, C = 60, 64, N_PITCHES + 60
KICK, SNARE, HAT = (DRUMS * N_PITCHES + pitch for pitch in (36, 38, 42))


def forbidden(
    keys: list[int], constraints: Constraints = LED, step_ticks: int = 30, controls: ev.Events = NOTHING
) -> list[int]:
    """What may not come after these notes, of what may come at all."""
    sequence = Sequence(DecodeRequest(end_ticks=10**6, constraints=constraints, controls=controls))
    for index, key in enumerate(keys):
        sequence.append((step_ticks * index, DURATION.offset + 5, NOTE.offset + key))
    legal, wished = sequence.legal_notes, constraints.legal_notes
    if legal is None:
        return []
    return np.flatnonzero((np.ones(NOTE.size, dtype=bool) if wished is None else wished) & ~legal).tolist()


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ([A] * 40, [A]),
        ([A, B] * 20, [A, B]),
        ([*[A] * 40, B], [A, B]),
        ([*[A] * 40, B, C], []),
        ([A] * (REPETITION_NOTES - 1), []),
        ([KICK] * 40, [KICK]),
        ([KICK, SNARE] * 20, [KICK, SNARE]),
        ([*[KICK, KICK, SNARE] * 8, KICK], []),
        ([*[KICK, SNARE] * 20, HAT], []),
        ([KICK, *[SNARE] * 40], [SNARE]),
        ([KICK, *[SNARE] * 20], [SNARE]),
        ([KICK, SNARE] * 13, []),
        ([A, KICK] * 13, [A, KICK]),
    ],
)
def test_one_or_two_repeated_notes_are_illegal_until_another_is_played(keys: list[int], expected: list[int]) -> None:
    assert forbidden(keys) == expected


def test_two_drums_may_repeat_if_there_are_controls() -> None:
    controls = ev.as_controls(ev.from_notes([Note(9_000, 50, 60, 0)]))
    assert forbidden([KICK, SNARE] * 20, controls=controls) == []
    assert forbidden([KICK] * 40, controls=controls) == [KICK]


def test_a_fast_run_of_one_note_is_not_repetition() -> None:
    assert forbidden([A] * 40, step_ticks=5) == []


def test_repetition_is_legal_if_it_is_allowed() -> None:
    assert forbidden([A] * 40, Constraints()) == []


def test_a_repeated_note_stays_legal_if_no_other_is() -> None:
    assert forbidden([A] * 40, Constraints(allow_repetition=False, groups=(frozenset({0}),), pitch_range=(A, A))) == []
