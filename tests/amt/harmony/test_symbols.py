from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pychord import Chord, QualityManager

from amt.errors import HarmonyError
from amt.harmony.symbols import parse_symbol

ROOTS = ("C", "C#", "Db", "D", "D#", "Eb", "E", "F", "F#", "Gb", "G", "G#", "Ab", "A", "A#", "Bb", "B")


@pytest.mark.parametrize(
    ("symbols", "pitch_classes"),
    [
        ("C CM Cmaj CMaj Cmajor", {0, 4, 7}),
        ("Cm Cmin Cmi C- Cminor C\N{MINUS SIGN}", {0, 3, 7}),
        ("C7 Cdom7", {0, 4, 7, 10}),
        ("Cmaj7 CMaj7 CMAJ7 CM7 Cma7 Cj7 CΔ CΔ7 C△", {0, 4, 7, 11}),
        ("Cm7 Cmin7 Cmi7 C-7", {0, 3, 7, 10}),
        ("CmM7 Cm(maj7) CminMaj7 C-Δ7 CmΔ", {0, 3, 7, 11}),
        ("Cdim Co C°", {0, 3, 6}),
        ("Cdim7 Co7 C°7", {0, 3, 6, 9}),
        ("Cm7b5 Cm7(b5) Cm7-5 C-7b5 Cmin7♭5 Cø Cø7 CØ Chalfdim7", {0, 3, 6, 10}),
        ("Caug C+ C+5 C(#5)", {0, 4, 8}),
        ("C7#5 C7+5 C+7 Caug7 C7(♯5)", {0, 4, 8, 10}),
        ("C(b5)", {0, 4, 6}),
        ("Csus4 Csus", {0, 5, 7}),
        ("Csus2", {0, 2, 7}),
        ("C7sus4 C7sus", {0, 5, 7, 10}),
        ("C9sus C9sus4", {0, 2, 5, 7, 10}),
        ("C13sus4", {0, 2, 5, 7, 9, 10}),
        ("Cadd9 Cadd2 C(add9)", {0, 2, 4, 7}),
        ("Cmadd9 Cm(add9)", {0, 2, 3, 7}),
        ("C6", {0, 4, 7, 9}),
        ("C69 C6/9", {0, 2, 4, 7, 9}),
        ("Cm69 Cm6/9 C-6/9", {0, 2, 3, 7, 9}),
        ("C9", {0, 2, 4, 7, 10}),
        ("C7b9 C7-9 C7(b9) C7(♭9)", {0, 1, 4, 7, 10}),
        ("C7#5#9 C7#9#5 C7(#9,#5)", {0, 3, 4, 8, 10}),
        ("C7alt Calt", {0, 1, 3, 4, 6, 8, 10}),
        ("Cmaj7#11 CΔ#11 CM7(#11)", {0, 4, 6, 7, 11}),
        ("Cm13", {0, 2, 3, 5, 7, 9, 10}),
        ("C5 C(no3)", {0, 7}),
        ("N.C. n.c. NC nc N.C", set()),
        ("Bb/D B♭/D A#/D", {10, 2, 5}),
        ("Am/G Am7/G Am7", {9, 0, 4, 7}),
        ("C/Db C/C#", {0, 1, 4, 7}),
        ("F#m7b5 F♯ø Gbm7b5", {6, 9, 0, 4}),
        ("Cb5", {11, 6}),
    ],
)
def test_a_chord_is_read_in_all_the_ways_in_which_it_is_written(symbols, pitch_classes):
    assert {symbol: parse_symbol(symbol) for symbol in symbols.split()} == dict.fromkeys(symbols.split(), pitch_classes)


@pytest.mark.parametrize("root", ROOTS)
def test_every_symbol_of_the_library_means_what_it_does_there(root):
    for quality in QualityManager().get_qualities():
        expected = {component % 12 for component in Chord(root + quality).components(visible=False)}
        assert parse_symbol(root + quality) == expected, root + quality


@pytest.mark.parametrize(
    ("symbol", "near"),
    [("Hm7", "Bm7"), ("am7", "Am7"), ("Cmaj77", "Cmaj7"), ("F#m7b", "F#m7b5"), ("Csus5", "Csus")],
)
def test_an_unknown_chord_is_refused_with_its_place_and_one_that_is_near(symbol, near):
    with pytest.raises(HarmonyError, match=rf"chord 3, '{symbol}', is not known: did you mean.* {near}\b"):
        parse_symbol(symbol, "chord 3")


@pytest.mark.parametrize("symbol", ["", "X", "C/", "C/H", "C/9", "/E", "C E", "%", "Czz", "C" + 10_000 * "7"])
def test_what_is_no_chord_is_refused_in_a_short_message(symbol):
    with pytest.raises(HarmonyError, match="is not known") as refused:
        parse_symbol(symbol)
    assert len(str(refused.value)) < 300


@given(st.one_of(st.text(max_size=12), st.text("ABCDEFGHmajdinsu#b♯♭°øΔ+-0123456789/()", max_size=12)))
def test_any_text_is_a_chord_or_refused(text):
    with suppress(HarmonyError):
        assert parse_symbol(text) <= set(range(12))
