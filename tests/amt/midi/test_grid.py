"""The lines of a grid divide the beats of the piece, whatever its tempos and time signatures do."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amt.errors import ConstraintError
from amt.midi.grid import STEPS, make_grid, spans_on
from amt.midi.notes import Note
from amt.midi.timing import TempoChange, TimeSignature, Timing

QUARTER = 480


def timing(*signatures, tempos=((0, 500_000),)):
    return Timing(QUARTER, tuple(map(TempoChange._make, tempos)), tuple(TimeSignature(*each) for each in signatures))


def lines(division, *signatures, swing=0.5, start=0, end=200, tempos=((0, 500_000),)):
    """The times of lines in milliseconds."""
    return make_grid(timing(*signatures, tempos=tempos), division, swing, start, end).milliseconds.tolist()


def levels(division, *signatures, end=200):
    return "".join(map(str, make_grid(timing(*signatures), division, 0.5, 0, end).levels.tolist()))


def test_a_division_says_how_many_lines_a_bar_has():
    n_lines = {division: len(lines(division, end=199)) - 1 for division in STEPS}
    assert n_lines == {"1/4": 4, "1/8": 8, "1/8T": 12, "1/16": 16, "1/16T": 24, "1/32": 32}


def test_lines_go_from_the_first_in_the_new_music_to_the_first_at_or_behind_its_end():
    assert lines("1/4", start=100, end=200) == [1_000, 1_500, 2_000]
    assert lines("1/4", start=101, end=201) == [1_500, 2_000, 2_500]


def test_lines_are_counted_from_the_start_of_each_bar():
    assert lines("1/4", (0, 7, 8), end=300) == [0, 500, 1_000, 1_500, 1_750, 2_250, 2_750, 3_250]


def test_a_tempo_that_changes_within_a_beat_moves_the_lines_behind_it():
    assert lines("1/8", tempos=[(0, 500_000), (QUARTER // 4, 1_000_000)], end=90) == [0, 375, 875, 1_375]


def test_swing_moves_every_second_line_to_its_share_of_the_pair():
    assert lines("1/8", swing=0.75, end=100) == [0, 375, 500, 875, 1_000]
    assert lines("1/16", swing=0.6, end=50) == [0, 150, 250, 400, 500]
    assert lines("1/8", swing=0.6667, end=49) == pytest.approx([0, 1_000 / 3, 500])


def test_levels_tell_downbeats_beats_and_eighths_from_all_else():
    assert levels("1/16") == "30102010201020103"
    assert levels("1/8T") == "3002002002003"
    assert levels("1/8", (0, 3, 4), end=150) == "3121213"
    assert levels("1/8", (0, 6, 8), end=150) == "3112113"
    assert levels("1/16", (0, 2, 2)) == "30101010201010103"


def test_swung_lines_have_the_level_of_straight_ones():
    swung = make_grid(timing(), "1/16", 0.7, 0, 200)
    assert swung.levels.tolist() == make_grid(timing(), "1/16", 0.5, 0, 200).levels.tolist()


@pytest.mark.parametrize("division", ["1/4", "1/8T", "1/16T", "1/32"])
def test_what_cannot_swing_says_so(division):
    with pytest.raises(ConstraintError, match=r"swing must be 0\.5 with grid '1/.*only 1/8 and 1/16 can swing"):
        make_grid(timing(), division, 0.6, 0, 100)


def test_lines_within_one_tick_are_refused_with_the_tempo():
    fast = Timing.from_bpm(1_000)
    with pytest.raises(ConstraintError, match=r"grid '1/32' has two lines within 10 ms at 0\.0\d s.* 1000 bpm"):
        make_grid(fast, "1/32", 0.5, 0, 100)
    assert len(make_grid(fast, "1/16", 0.5, 0, 6).ticks) == 5
    with pytest.raises(ConstraintError, match="two lines"):
        make_grid(Timing(1, (TempoChange(0, 1),), (TimeSignature(0, 1, 128),)), "1/4", 0.5, 0, 12_000)


def test_a_signature_a_hair_behind_a_line_takes_its_place():
    assert lines("1/4", (0, 4, 4), (2 * QUARTER + 1, 4, 4), end=100) == pytest.approx([0, 500, 1_000 + 500 / QUARTER])


@given(
    st.sampled_from(list(STEPS)),
    st.integers(20, 300),
    st.tuples(st.integers(1, 12), st.sampled_from([2, 4, 8, 16])),
    st.integers(0, 10_000),
    st.integers(1, 2_000),
)
def test_ticks_are_the_exact_times_rounded_and_lie_around_the_new_music(division, bpm, signature, start, length):
    grid = make_grid(Timing.from_bpm(bpm).with_signature(*signature), division, 0.5, start, start + length)
    assert all(abs(10 * tick - time) <= 5 for tick, time in zip(grid.ticks, grid.milliseconds, strict=True))
    assert all(grid.ticks[:-1] < grid.ticks[1:])
    assert grid.ticks[0] >= start
    assert grid.ticks[-1] >= start + length > max(grid.ticks[:-1], default=0)


def test_notes_are_written_where_their_lines_are():
    lines = make_grid(timing(), "1/16", 0.5, 0, 100).times
    assert spans_on(lines, [Note(12, 26, 60, 0)]) == [(125, 375)]


def test_an_end_off_the_lines_is_at_its_tick_unless_the_duration_would_be_read_otherwise():
    lines = make_grid(Timing.from_bpm(93), "1/4", 0.5, 0, 1_000).times
    [(start, end)] = spans_on(lines, [Note(65, 15, 60, 0)])
    assert (start, end) == (pytest.approx(645.161), 799.161)
    assert spans_on(lines, [Note(3, 4, 60, 0)]) == [(30, 70)]
    assert spans_on(make_grid(timing(), "1/16", 0.5, 0, 100).times, [Note(38, 10, 60, 0)]) == [(375, 479)]
    assert spans_on(lines, [Note(65, 0, 60, 0)]) == [(pytest.approx(645.161), pytest.approx(645.161))]
