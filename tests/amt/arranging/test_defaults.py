from amt.arranging.defaults import (
    BALANCE,
    ENSEMBLE,
    MAX_ACCOMPANIMENT_DENSITY,
    MIN_ACCOMPANIMENT_DENSITY,
    OVERDUE_SECONDS,
    accompaniment_defaults,
    infill_defaults,
    variation_defaults,
)
from amt.arranging.plan import accompany, infill
from amt.arranging.variation import find_strengths, vary
from amt.decoding.constraints import NO_CONSTRAINTS, Constraints
from amt.midi.notes import DRUMS, Note

FLUTE = [Note(100 * step, 100, 72, 73) for step in range(20)]
BASS = [Note(25 * step, 20, 40, 32) for step in range(80)]


def accompanied(
    melody: list[Note], accompaniment: list[Note], constraints: Constraints = NO_CONSTRAINTS, prime_ticks: int = 0
) -> Constraints:
    return accompaniment_defaults(constraints, accompany(melody, accompaniment, prime_ticks), melody, accompaniment)


def test_a_lone_melody_gets_three_instruments_a_balance_and_a_density() -> None:
    constraints = Constraints(
        ENSEMBLE[:3], balance=BALANCE, overdue_seconds=OVERDUE_SECONDS, density=MIN_ACCOMPANIMENT_DENSITY
    )
    assert accompanied(FLUTE, []) == constraints


def test_the_melodys_own_instrument_does_not_accompany_it() -> None:
    for instrument in range(DRUMS):
        groups = accompanied([Note(0, 100, 60, instrument)], []).groups
        assert len(groups) == 3
        assert not any(instrument in group for group in groups)


def test_a_fast_melody_gets_the_maximum_density() -> None:
    assert accompanied([Note(10 * step, 10, 72, 73) for step in range(100)], []).density == MAX_ACCOMPANIMENT_DENSITY


def test_an_accompaniment_has_the_instruments_and_density_of_what_it_replaces() -> None:
    constraints = accompanied(FLUTE, BASS, prime_ticks=1_000)
    assert constraints.groups == (frozenset({32}),)
    assert constraints.density == 4.0


def test_the_callers_constraints_are_kept() -> None:
    constraints = Constraints(groups=(frozenset({5}),), balance=0.5, density=9.0)
    plan = accompany(FLUTE, BASS, 0)
    assert accompaniment_defaults(constraints, plan, FLUTE, BASS, balance_is_open=False) == constraints
    plan = infill(FLUTE, 500, 700)
    assert infill_defaults(constraints, plan, FLUTE, balance_is_open=False) == constraints


def test_excluded_instruments_are_not_chosen() -> None:
    constraints = accompanied(FLUTE, [], Constraints(excluded=frozenset({0, 32, 33})))
    assert constraints.groups == (frozenset({42, 43}), frozenset({40, 41, 48}))


def test_no_more_than_fifteen_instruments_are_requested() -> None:
    for count in range(1, 30):
        melody = [Note(10 * instrument, 10, 60, instrument + 50) for instrument in range(count)]
        groups = accompanied(melody, [Note(10 * instrument, 10, 60, instrument) for instrument in range(9)]).groups
        assert len(groups) + count <= max(count, 15)


def test_an_infill_has_the_instruments_of_the_piece_and_the_density_of_the_span() -> None:
    notes = [*FLUTE, *BASS]
    constraints = infill_defaults(NO_CONSTRAINTS, infill(notes, 500, 700), notes)
    assert (constraints.groups, constraints.balance, constraints.density) == ((frozenset({32, 73}),), 15.0, 5.0)


def test_the_infill_of_an_empty_span_has_the_density_around_it() -> None:
    notes = [note for note in BASS if not 500 <= note.onset < 1_500]
    assert infill_defaults(NO_CONSTRAINTS, infill(notes, 500, 1_500), notes).density == 2.0


def test_the_infill_of_a_new_instrument_has_the_minimum_density() -> None:
    constraints = Constraints(groups=(frozenset({19}),))
    assert infill_defaults(constraints, infill(BASS, 500, 1_500, {19}), BASS).density == MIN_ACCOMPANIMENT_DENSITY


def test_the_density_of_an_infill_is_that_of_what_is_replaced() -> None:
    locked = [note for note in BASS if 500 <= note.onset < 1_500][::2]
    assert infill_defaults(NO_CONSTRAINTS, infill(BASS, 500, 1_500, locked=locked), BASS).density == 2.0


def varied(constraints: Constraints, similarity: float, instruments: set[int] | None = None) -> Constraints:
    notes = [*FLUTE, *BASS]
    plan = vary(notes, 0, 2_000, instruments, similarity, 0, find_strengths(notes))
    return variation_defaults(constraints, plan, notes)


def test_a_variation_has_instruments_density_and_pitches_of_what_is_replaced() -> None:
    constraints = varied(NO_CONSTRAINTS, 0)
    assert (constraints.groups, constraints.density) == ((frozenset({32, 73}),), 5.0)
    assert constraints.pitch_ranges == {32: (40, 40), 73: (72, 72)}
    assert varied(NO_CONSTRAINTS, 0.5).density == 2.5


def test_of_the_instruments_that_a_caller_names_those_that_lose_notes_play_in_a_variation() -> None:
    constraints = varied(Constraints(groups=(frozenset(range(72, 80)), frozenset({99}))), 0, {*range(72, 80), 99})
    assert (constraints.groups, constraints.density) == ((frozenset({73}),), 1.0)


def test_a_callers_pitch_range_goes_before_that_of_the_piece() -> None:
    assert varied(Constraints(pitch_range=(50, 60)), 0).pitch_ranges == {}
    assert varied(Constraints(pitch_ranges={32: (30, 50)}), 0).pitch_ranges == {32: (30, 50), 73: (72, 72)}


def test_a_variation_that_replaces_nothing_asks_for_nothing() -> None:
    assert varied(NO_CONSTRAINTS, 1) == NO_CONSTRAINTS
