"""Give every instrument a colour, the same as on the page: see `playground/instruments.js`.

Source of the conversion: B. Ottosson, "A perceptual color space for image processing" (Oklab).
"""

from math import cos, radians, sin
from typing import Final

from amt.midi.notes import DRUMS

FAMILY_HUES: Final = (255, 205, 40, 75, 310, 25, 0, 95, 145, 180, 285, 230, 335, 120, 60, 350)
"""Degrees on the circle of Oklch for each family of General MIDI. Families that often play together differ most."""

FAMILY_SIZE: Final = 8


def instrument_colour(instrument: int, *, dark: bool) -> str:
    """Return the colour of an instrument (0..128) as #rrggbb.

    Args:
        instrument: General MIDI program, or 128 for drums, which are grey.
        dark: whether it is seen on a dark ground.
    """
    lightness = 0.72 if dark else 0.6
    if instrument == DRUMS:
        return _rgb(lightness - (0.06 if dark else 0.04), 0.015, 255)
    family, member = divmod(instrument, FAMILY_SIZE)
    hue = FAMILY_HUES[family] + (member - 3.5) * 3
    return _rgb(lightness + (member % 3 - 1) * 0.04, 0.15, hue)


def _rgb(lightness: float, chroma: float, hue_degrees: float) -> str:
    """Return a colour of Oklch in sRGB; what sRGB does not hold is cut off."""
    a, b = chroma * cos(radians(hue_degrees)), chroma * sin(radians(hue_degrees))
    long = (lightness + 0.3963377774 * a + 0.2158037573 * b) ** 3
    medium = (lightness - 0.1055613458 * a - 0.0638541728 * b) ** 3
    short = (lightness - 0.0894841775 * a - 1.2914855480 * b) ** 3
    linear = (
        4.0767416621 * long - 3.3077115913 * medium + 0.2309699292 * short,
        -1.2684380046 * long + 2.6097574011 * medium - 0.3413193965 * short,
        -0.0041960863 * long - 0.7034186147 * medium + 1.7076147010 * short,
    )
    return "#" + "".join(f"{round(255 * _encoded(each)):02x}" for each in linear)


def _encoded(linear: float) -> float:
    """Return a channel of linear light as sRGB encodes it, 0 to 1."""
    if linear <= 0.0031308:
        return max(12.92 * linear, 0.0)
    gamma: float = linear ** (1 / 2.4)
    return min(1.055 * gamma - 0.055, 1.0)
