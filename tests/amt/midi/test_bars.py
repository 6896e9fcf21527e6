"""Bars follow the time signatures and the tempo map."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amt.midi.bars import Bars
from amt.midi.timing import TempoChange, TimeSignature, Timing

QUARTER = 480


def bars(*signatures, tempos=((0, 500_000),)):
    """Bars of (file tick, numerator, denominator) at 480 file ticks a quarter note."""
    return Bars(
        Timing(QUARTER, tuple(map(TempoChange._make, tempos)), tuple(TimeSignature(*each) for each in signatures))
    )


def starts(found, n):
    return [found.start_ticks(number) for number in range(1, n + 1)]


def test_without_a_signature_a_bar_is_four_quarters():
    assert starts(bars(), 4) == [0, 200, 400, 600]


def test_a_bar_is_as_long_as_its_signature_says():
    assert starts(bars((0, 3, 4)), 3) == [0, 150, 300]
    assert starts(bars((0, 6, 8)), 3) == [0, 150, 300]
    assert starts(bars((0, 7, 8)), 3) == [0, 175, 350]
    assert starts(bars((0, 3, 2)), 3) == [0, 300, 600]


def test_a_short_first_signature_is_a_pickup_bar():
    assert starts(bars((0, 1, 4), (QUARTER, 4, 4)), 4) == [0, 50, 250, 450]


def test_bars_before_the_first_signature_are_of_four_quarters():
    assert starts(bars((8 * QUARTER, 3, 4)), 5) == [0, 200, 400, 550, 700]


def test_a_signature_within_a_bar_cuts_it_short():
    found = bars((0, 4, 4), (6 * QUARTER, 2, 4))
    assert starts(found, 5) == [0, 200, 300, 400, 500]
    assert found.bar(2).end == 6 * QUARTER


def test_a_bar_is_as_long_as_its_tempos_make_it():
    assert starts(bars(tempos=[(0, 500_000), (2 * QUARTER, 1_000_000), (8 * QUARTER, 250_000)]), 4) == [
        0,
        300,
        700,
        800,
    ]


def test_bars_of_no_whole_number_of_file_ticks_do_not_drift():
    found = Bars(Timing(1, signatures=(TimeSignature(0, 1, 16),)))
    assert [found.start_ticks(1 + 8 * n) for n in range(4)] == [0, 100, 200, 300]


@st.composite
def metres(draw):
    changes = draw(
        st.dictionaries(st.integers(0, 20_000), st.tuples(st.integers(1, 12), st.sampled_from([2, 4, 8, 16])))
    )
    tempos = draw(st.dictionaries(st.integers(1, 20_000), st.integers(100_000, 2_000_000), max_size=4))
    signatures = sorted((tick, *signature) for tick, signature in changes.items())
    return bars(*signatures, tempos=[(0, 500_000), *sorted(tempos.items())])


@given(metres(), st.integers(0, 20_000))
def test_every_time_is_in_one_bar(found, ticks):
    number = found.number_at(ticks)
    assert found.start_ticks(number) <= ticks < found.start_ticks(number + 1)


@given(metres(), st.integers(0, 20_000))
def test_the_bar_from_a_time_on_begins_then_or_is_the_next(found, ticks):
    number = found.number_from(ticks)
    assert found.start_ticks(number) >= ticks
    assert number == 1 or found.start_ticks(number - 1) <= ticks


@given(metres(), st.integers(1, 50))
def test_each_bar_begins_where_the_one_before_ends(found, number):
    assert found.bar(number).end == found.bar(number + 1).start > found.bar(number).start
    assert found.bar(1).start == 0


def test_lines_go_to_the_first_at_the_end_or_behind_it():
    assert bars((0, 7, 8)).lines(1, 350, 99) == [0, 175, 350]
    assert bars((0, 7, 8)).lines(2, 351, 99) == [175, 350, 525]
    assert bars((0, 7, 8)).lines(1, 10_000, 2) == [0, 175]
    assert Bars(Timing.from_bpm(93)).lines(2, 200, 9) == pytest.approx([400 * 60 / 93])


def test_beats_are_those_that_are_felt_and_begin_again_with_each_bar():
    assert bars((0, 6, 8)).beats(1, 200, 99) == [0, 75, 150, 225]
    assert bars((0, 2, 2)).beats(2, 300, 99) == [200, 300]
    assert bars((0, 4, 4), (5 * QUARTER // 2, 3, 4)).beats(1, 200, 99) == [0, 50, 100, 125, 175, 225]
    assert bars().beats(1, 10_000, 3) == [0, 50, 100]


def test_a_position_is_a_bar_and_a_part_of_it():
    found = bars((0, 1, 4), (QUARTER, 4, 4))
    assert [found.position(ticks) for ticks in (0, 25, 50, 150, 250)] == [1, 1.5, 2, 2.5, 3]


@pytest.mark.parametrize("ticks", [0, 199, 200, 100_000])
def test_bars_go_on_for_ever(ticks):
    assert bars().number_at(ticks) == 1 + ticks // 200
