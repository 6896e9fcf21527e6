"""Colours of instruments: those of the page."""

import re

import pytest

from amt.midi.instruments import NAMES
from amt.midi.notes import DRUMS
from amt.midi.palette import FAMILY_HUES, instrument_colour
from tests.conftest import PROJECT


def test_hues_are_those_of_the_page():
    script = (PROJECT / "playground/instruments.js").read_text()
    table = script[script.index("const FAMILIES") : script.index("const NAMES")]
    assert tuple(map(int, re.findall(r'"[\w ]+",\s*(\d+),', table))) == FAMILY_HUES


@pytest.mark.parametrize("dark", [False, True])
def test_every_instrument_has_a_colour_of_its_own(dark):
    colours = [instrument_colour(instrument, dark=dark) for instrument in range(len(NAMES))]
    assert all(re.fullmatch("#[0-9a-f]{6}", colour) for colour in colours)
    assert len(set(colours)) == len(colours)


@pytest.mark.parametrize(
    ("lightness", "chroma", "hue", "colour"),
    [(0.62796, 0.25768, 29.2339, "#ff0000"), (0.86644, 0.29483, 142.4953, "#00ff00"), (1, 0, 0, "#ffffff")],
)
def test_oklch_is_converted_as_css_has_it(lightness, chroma, hue, colour):
    from amt.midi.palette import _rgb

    assert _rgb(lightness, chroma, hue) == colour


def test_drums_are_grey():
    red, green, blue = bytes.fromhex(instrument_colour(DRUMS, dark=False)[1:])
    assert max(red, green, blue) - min(red, green, blue) < 16
