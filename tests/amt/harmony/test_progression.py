from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amt.errors import HarmonyError
from amt.harmony.progression import MAX_CHORDS, place_chords
from amt.harmony.symbols import NO_CHORD, parse_symbol

BARS = [0, 200, 400, 600, 800]
"""Four bars of two seconds."""

symbols = st.sampled_from(["C", "Am7", "F#m7b5", "Bb/D", "G", "N.C."])
bars_of_chords = st.lists(st.lists(symbols, min_size=1, max_size=4), min_size=1, max_size=6)
bar_ticks = st.lists(st.floats(10, 900), min_size=1, max_size=20).map(
    lambda lengths: [sum(lengths[:n]) for n in range(len(lengths) + 1)]
)


def placed(progression, bars=BARS, end=800, start=0):
    return [(span.start_ticks, span.symbol) for span in place_chords(progression, bars, end, start)]


def written(bars):
    return " | ".join(" ".join(bar) for bar in bars)


def sounding(spans, tick):
    return next(span for span in reversed(spans) if span.start_ticks <= tick)


def test_each_bar_is_split_evenly_among_its_chords():
    assert placed("Am | F | C G | E7 E7 Am") == [
        (0, "Am"), (200, "F"), (400, "C"), (500, "G"), (600, "E7"), (733, "Am"),
    ]  # fmt: skip


def test_bars_of_different_lengths_are_split_each_for_itself():
    assert placed("C G", [0, 150, 450.5, 800]) == [(0, "C"), (75, "G"), (150, "C"), (300, "G"), (450, "C"), (625, "G")]


@pytest.mark.parametrize("text", ["C | F", "| C | F |", "|C|F|", " ||C F\n".replace("C F", "C | F"), "C|F|C|F"])
def test_bar_lines_at_the_ends_and_spaces_mean_nothing(text):
    assert placed(text) == [(0, "C"), (200, "F"), (400, "C"), (600, "F")]


def test_a_percent_sign_repeats_the_bar_before_or_within_a_bar_the_chord_before():
    assert placed("C G | % | Am % F |") == [
        (0, "C"), (100, "G"), (200, "C"), (300, "G"), (400, "Am"), (533, "F"), (600, "C"), (700, "G"),
    ]  # fmt: skip


def test_a_text_begins_with_the_bar_in_which_the_new_music_begins():
    assert placed("C | F", start=250) == [(0, NO_CHORD), (200, "C"), (400, "F"), (600, "C")]
    assert placed("C | F", start=400) == [(0, NO_CHORD), (400, "C"), (600, "F")]


def test_nothing_is_placed_at_the_end_or_later():
    assert placed("C | F | G | Am", end=400) == [(0, "C"), (200, "F")]
    assert placed("C | F | G | Am", end=401) == [(0, "C"), (200, "F"), (400, "G")]


def test_like_neighbours_are_one_chord():
    assert placed("C C | C | N.C. | NC") == [(0, "C"), (400, NO_CHORD)]
    assert placed("C") == [(0, "C")]


def test_a_list_is_placed_by_bars_and_seconds_in_any_order():
    chords = [
        {"symbol": "F", "start_bar": 2.5},
        {"symbol": " C ", "start_seconds": 0.5},
        {"symbol": "G", "start_bar": 2},
        {"symbol": "N.C.", "start_seconds": 7.995},
    ]
    assert placed(chords) == [(0, NO_CHORD), (50, "C"), (200, "G"), (300, "F"), (800, NO_CHORD)]


def test_a_list_is_not_repeated():
    assert placed([{"symbol": "C", "start_bar": 1}]) == [(0, "C")]


@pytest.mark.parametrize(
    ("progression", "message"),
    [
        ("", "bar 1 of the chords is empty"),
        (" | ", "bar 1 of the chords is empty"),
        ("Am | F || G", "bar 3 of the chords is empty"),
        ("% | C", "chord 1 of the chords is %, but there is nothing before it"),
        ("C | % G", "chord 2 of the chords is %, but there is nothing before it"),
        ("Am | F G | Hm7", "chord 4, 'Hm7', is not known: did you mean Bm7"),
        ([], "at least"),
        ([{"symbol": "C", "start_bar": 1}, {"symbol": "Cq", "start_bar": 2}], "chord 2, 'Cq', is not known"),
        ([{"symbol": "C", "start_bar": 5}], "chord 1, 'C', begins at bar 5: .* before 8 s"),
        ([{"symbol": "C", "start_bar": 17.5}], "begins at bar 17.5"),
        ([{"symbol": "C", "start_bar": 0.5}], "begins at bar 0.5"),
        ([{"symbol": "C", "start_seconds": 8}], "begins at 8 s: .* before 8 s"),
        ([{"symbol": "C", "start_seconds": -1}], "begins at -1 s"),
        (
            [{"symbol": "C", "start_bar": 2}, {"symbol": "F", "start_seconds": 2}],
            "chord 2, 'F', begins at 2 s as another",
        ),
    ],
)
def test_chords_that_cannot_be_placed_are_refused(progression, message):
    with pytest.raises(HarmonyError, match=message):
        place_chords(progression, BARS, 800)


@pytest.mark.parametrize(
    "repeated",
    [
        lambda count: " | ".join(["C"] * count),
        lambda count: " ".join(["C"] * count),
        lambda count: [{"symbol": "C", "start_seconds": n / 100} for n in range(count)],
    ],
)
def test_there_is_a_most_of_chords(repeated):
    assert placed(repeated(MAX_CHORDS)) == [(0, "C")]
    with pytest.raises(HarmonyError, match="more than 512 chords"):
        place_chords(repeated(MAX_CHORDS + 1), BARS, 800)


@given(bars_of_chords, bar_ticks, st.floats(0, 1))
def test_chords_cover_time_from_zero_on_in_order_and_no_two_neighbours_are_alike(bars, lines, part):
    spans = place_chords(written(bars), lines, round(lines[-1]), int(part * lines[-1]))
    assert spans[0].start_ticks == 0
    assert all(a.start_ticks < b.start_ticks and a[1:] != b[1:] for a, b in pairwise(spans))
    assert all(span.pitch_classes == parse_symbol(span.symbol) for span in spans)


@given(bars_of_chords, bar_ticks)
def test_in_the_middle_of_its_part_of_a_bar_each_chord_sounds(bars, lines):
    spans = place_chords(written(bars), lines, round(lines[-1]) + 1)
    for number, (start, end) in enumerate(pairwise(lines)):
        bar = bars[number % len(bars)]
        for place, symbol in enumerate(bar):
            middle = start + (place + 0.5) * (end - start) / len(bar)
            assert sounding(spans, middle).symbol == symbol


@given(bars_of_chords, st.integers(1, 4))
def test_a_text_that_is_written_several_times_is_the_same(bars, times):
    lines = list(range(0, 5_000, 160))
    assert place_chords(written(bars * times), lines, 4_900) == place_chords(written(bars), lines, 4_900)


@given(bars_of_chords)
def test_a_list_of_the_same_chords_is_the_same(bars):
    lines = list(range(0, 200 * len(bars) + 1, 200))
    chords = [
        {"symbol": symbol, "start_bar": 1 + number + place / len(bar)}
        for number, bar in enumerate(bars)
        for place, symbol in enumerate(bar)
    ]
    assert place_chords(chords[::-1], lines, lines[-1]) == place_chords(written(bars), lines, lines[-1])
