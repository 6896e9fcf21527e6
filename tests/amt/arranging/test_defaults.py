from amt.arrangement import accompany, infill
from amt.ensemble import BALANCE, ENSEMBLE, LEAST_DENSITY, MOST_DENSITY, OVERDUE_SECONDS, to_accompany, to_fill_in
from amt.events import Note
from amt.vocab import DRUMS
from amt.wishes import NO_WISHES, Wishes

FLUTE = [Note(100 * step, 100, 72, 73) for step in range(20)]
BASS = [Note(25 * step, 20, 40, 32) for step in range(80)]


def accompanied(fixed: list[Note], others: list[Note], wishes: Wishes = NO_WISHES, prime_ticks: int = 0) -> Wishes:
    return to_accompany(wishes, accompany(fixed, others, prime_ticks), fixed, others)


def test_a_bare_melody_is_given_three_instruments_a_balance_and_a_density() -> None:
    wishes = Wishes(ENSEMBLE[:3], balance=BALANCE, overdue_seconds=OVERDUE_SECONDS, density=LEAST_DENSITY)
    assert accompanied(FLUTE, []) == wishes


def test_the_melodys_own_instrument_does_not_accompany_it() -> None:
    for instrument in range(DRUMS):
        groups = accompanied([Note(0, 100, 60, instrument)], []).groups
        assert len(groups) == 3
        assert not any(instrument in group for group in groups)


def test_a_fast_melody_is_accompanied_at_the_most_that_is_sensible() -> None:
    assert accompanied([Note(10 * step, 10, 72, 73) for step in range(100)], []).density == MOST_DENSITY


def test_what_is_replaced_says_which_instruments_play_and_how_much() -> None:
    wishes = accompanied(FLUTE, BASS, prime_ticks=1_000)
    assert wishes.groups == (frozenset({32}),)
    assert wishes.density == 4.0


def test_what_the_caller_wishes_stands() -> None:
    wishes = Wishes(groups=(frozenset({5}),), balance=0.5, density=9.0)
    arrangement = accompany(FLUTE, BASS, 0)
    assert to_accompany(wishes, arrangement, FLUTE, BASS, balance_is_open=False) == wishes
    arrangement = infill(FLUTE, 500, 700)
    assert to_fill_in(wishes, arrangement, FLUTE, balance_is_open=False) == wishes


def test_what_the_caller_excludes_does_not_play() -> None:
    wishes = accompanied(FLUTE, [], Wishes(excluded=frozenset({0, 32, 33})))
    assert wishes.groups == (frozenset({42, 43}), frozenset({40, 41, 48}))


def test_no_more_than_sixteen_instruments_are_asked_for() -> None:
    for count in range(1, 30):
        fixed = [Note(10 * instrument, 10, 60, instrument + 50) for instrument in range(count)]
        groups = accompanied(fixed, [Note(10 * instrument, 10, 60, instrument) for instrument in range(9)]).groups
        assert len(groups) + count <= max(count, 15)


def test_a_span_is_filled_in_with_the_pieces_instruments_as_densely_as_it_was() -> None:
    notes = [*FLUTE, *BASS]
    wishes = to_fill_in(NO_WISHES, infill(notes, 500, 700), notes)
    assert (wishes.groups, wishes.balance, wishes.density) == ((frozenset({32, 73}),), 15.0, 5.0)


def test_an_empty_span_is_filled_in_as_densely_as_what_is_around_it() -> None:
    notes = [note for note in BASS if not 500 <= note.onset < 1_500]
    assert to_fill_in(NO_WISHES, infill(notes, 500, 1_500), notes).density == 2.0


def test_a_new_part_has_a_density_too() -> None:
    wishes = Wishes(groups=(frozenset({19}),))
    assert to_fill_in(wishes, infill(BASS, 500, 1_500, {19}), BASS).density == LEAST_DENSITY
