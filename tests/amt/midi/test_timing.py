from dataclasses import replace
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amt.midi.timing import MAX_TICKS_PER_BEAT, TempoChange, TimeSignature, Timing

RUBATO = Timing(
    480,
    (TempoChange(0, 500_000), TempoChange(960, 1_000_000), TempoChange(1_440, 250_000)),
    (TimeSignature(0, 4, 4), TimeSignature(960, 1, 4), TimeSignature(1_440, 3, 4)),
)
"""Two quarters of half a second, one of a second, then of a quarter of a second."""

timings = st.builds(
    lambda ticks_per_beat, first, changes: Timing(
        ticks_per_beat, (TempoChange(0, first), *(TempoChange(tick, tempo) for tick, tempo in sorted(changes.items())))
    ),
    st.integers(1, MAX_TICKS_PER_BEAT),
    st.integers(1, 0xFFFFFF),
    st.dictionaries(st.integers(1, 100_000), st.integers(1, 0xFFFFFF), max_size=20),
)


def test_by_default_a_file_tick_is_a_millisecond():
    assert [Timing().file_tick(milliseconds) for milliseconds in (0, 1, 10, 86_400_000)] == [0, 1, 10, 86_400_000]


def test_a_time_is_converted_by_the_tempo_that_holds_then():
    assert [RUBATO.file_tick(milliseconds) for milliseconds in (0, 500, 1_000, 1_500, 2_000, 2_250, 4_000)] == [
        0, 480, 960, 1_200, 1_440, 1_920, 1_440 + 8 * 480,
    ]  # fmt: skip


@given(timings, st.lists(st.integers(0, 10**7), min_size=2))
def test_file_ticks_never_decrease_with_time(timing, times):
    ticks = [timing.file_tick(milliseconds) for milliseconds in sorted(times)]
    assert ticks == sorted(ticks)


@given(timings, st.integers(0, 10**7))
def test_leaving_out_later_changes_keeps_the_file_ticks_before_them(timing, milliseconds):
    until = timing.until(milliseconds)
    assert all(timing.file_tick(each) == until.file_tick(each) for each in (0, milliseconds // 3, milliseconds))


@given(timings, st.integers(0, 200_000))
def test_a_timing_to_write_has_file_ticks_of_half_a_millisecond_at_most_or_as_short_as_they_can_be(timing, end):
    fit = timing.fit_to_write(end)
    assert 1 <= fit.ticks_per_beat <= MAX_TICKS_PER_BEAT
    slowest = max(change.tempo for change in fit.tempos)
    as_short_as_can_be = fit == Timing() or 2 * fit.ticks_per_beat > MAX_TICKS_PER_BEAT
    assert slowest <= 500 * fit.ticks_per_beat or as_short_as_can_be
    assert slowest <= 1_024 * fit.ticks_per_beat
    assert fit.file_tick(end) < 2**28


@given(timings, st.integers(0, 200_000))
def test_a_timing_to_write_keeps_every_change(timing, end):
    fit, until = timing.fit_to_write(end), timing.until(end)
    if timing.can_be_written(end):
        finer = fit.ticks_per_beat // until.ticks_per_beat
        assert [(tick // finer, tempo) for tick, tempo in fit.tempos] == list(until.tempos)
    else:
        assert fit == Timing()


@pytest.mark.parametrize(("milliseconds", "n_left"), [(0, 1), (1_000, 1), (1_001, 2), (2_000, 2), (2_001, 3)])
def test_changes_at_or_after_the_end_are_left_out(milliseconds, n_left):
    until = RUBATO.until(milliseconds)
    assert (until.tempos, until.signatures) == (RUBATO.tempos[:n_left], RUBATO.signatures[:n_left])


@pytest.mark.parametrize("bpm", [20, 60, 90, 100, 120, 128, 140, 174, 300])
def test_at_usual_tempos_a_tick_of_10_ms_is_nearly_a_whole_number_of_file_ticks(bpm):
    timing = Timing.from_bpm(bpm)
    in_file_ticks = 10_000 * timing.ticks_per_beat / timing.tempos[0].tempo
    assert in_file_ticks >= 10
    assert abs(in_file_ticks - round(in_file_ticks)) < 1e-4


def test_120_bpm_is_the_default():
    assert Timing.from_bpm(120) == Timing()


def test_one_tempo_throughout_keeps_only_the_first_time_signature():
    assert RUBATO.with_tempo(100) == Timing(600, (TempoChange(0, 600_000),), (TimeSignature(0, 4, 4),))


@given(timings, st.integers(0, 10**6), st.integers(1, 100))
def test_the_time_of_a_file_tick_is_found_again_exactly(timing, tick, part):
    place = Fraction(tick, part)
    assert timing.exact_file_tick(timing.milliseconds(place)) == place


@given(timings, st.integers(0, 10**6))
def test_the_file_tick_of_a_file_ticks_time_is_itself(timing, tick):
    slow_enough = timing.tempo_at(tick) >= 10 * timing.ticks_per_beat  # times are taken to the microsecond
    assert not slow_enough or timing.file_tick(float(timing.milliseconds(tick))) == tick


@pytest.mark.parametrize("ticks_per_beat", [1, 96, 100, 480, 500, 960, 1_024, 1_365])
def test_a_timing_for_a_grid_has_triplets_and_32nds_on_file_ticks(ticks_per_beat):
    fit = replace(RUBATO, ticks_per_beat=ticks_per_beat).for_grid().fit_to_write(1_500_000)
    assert fit.ticks_per_beat % 24 == 0
    finer = fit.ticks_per_beat // ticks_per_beat
    assert [change.tick for change in fit.tempos] == [finer * change.tick for change in RUBATO.tempos]


@pytest.mark.parametrize("bpm", [20, 60, 90, 93, 100, 120, 128, 140, 174, 299.9])
def test_a_tempo_for_a_grid_has_short_file_ticks(bpm):
    timing = Timing().with_tempo(bpm, 24)
    assert timing.ticks_per_beat % 24 == 0
    assert timing.tempos == Timing.from_bpm(bpm).tempos
    assert 10 <= round(10_000 * timing.ticks_per_beat / timing.tempos[0].tempo) <= 100
    assert timing.for_grid() == timing


@pytest.mark.parametrize(
    ("signature", "clocks"), [((4, 4), 24), ((6, 8), 36), ((3, 2), 48), ((1, 32), 3), ((5, 8), 12)]
)
def test_one_time_signature_throughout_takes_the_place_of_all(signature, clocks):
    assert RUBATO.with_signature(*signature).signatures == (TimeSignature(0, *signature, clocks_per_click=clocks),)
    assert RUBATO.with_signature(*signature).tempos == RUBATO.tempos
