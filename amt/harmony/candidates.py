"""List the chords that notes may imply, above the tonic of their key, and say which are likely.

The figures were found on the corpus of `training`: the other parts' notes should be in the chords found from one part,
and should not be in those of other bars.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from amt.harmony.keys import N_PITCH_CLASSES, Key

Array = NDArray[np.float64]

QUALITIES: Final = {
    "": (0, 4, 7),
    "m": (0, 3, 7),
    "dim": (0, 3, 6),
    "7": (0, 4, 7, 10),
    "m7": (0, 3, 7, 10),
    "maj7": (0, 4, 7, 11),
    "m7b5": (0, 3, 6, 10),
    "dim7": (0, 3, 6, 9),
}
"""The pitch classes of each quality above the root."""

CHORDS: Final = tuple((root, quality) for root in range(N_PITCH_CLASSES) for quality in QUALITIES)
"""The root of each chord, in semitones above the tonic, and its quality."""

MEMBERS: Final[Array] = np.array(
    [
        [(pitch_class - root) % N_PITCH_CLASSES in QUALITIES[quality] for pitch_class in range(N_PITCH_CLASSES)]
        for root, quality in CHORDS
    ],
    np.float64,
)
"""Which pitch classes above the tonic are in which chord, shape = (n_chords, 12)."""

SEVENTH_PENALTY: Final = 0.9
DIMINISHED_PENALTY: Final = 0.03
OUTSIDE_KEY_PENALTY: Final = 0.1
"""What a chord loses in each beat; the last for each of its pitch classes that the key lacks."""

QUALITY_PREFERENCES: Final[Array] = -np.array(
    [
        SEVENTH_PENALTY * (len(QUALITIES[quality]) > 3) + DIMINISHED_PENALTY * (QUALITIES[quality][2] == 6)
        for _, quality in CHORDS
    ]
)
"""What each chord gains in each beat in any key, shape = (n_chords,)."""

_MAJOR_BONUSES: Final = {
    (0, ""): 0.06,
    (2, "m"): 0.04,
    (2, "m7"): 0.04,
    (5, ""): 0.05,
    (7, ""): 0.1,
    (7, "7"): 0.1,
    (9, "m"): 0.02,
}
_MINOR_BONUSES: Final = {
    (0, "m"): 0.06,
    (3, ""): 0.04,
    (5, "m"): 0.04,
    (7, ""): 0.1,
    (7, "7"): 0.1,
    (8, ""): 0.04,
    (10, ""): 0.02,
}
"""What the commonest chords of a key gain in each beat."""

_FIFTHS: Final = (0, -5, 2, -3, 4, -1, 6, 1, -4, 3, -2, 5)
"""How many fifths each pitch class is above the tonic, which decides between its names."""

_LETTERS: Final = "FCGDAEB"
"""A fifth apart."""


def key_preferences(key: Key) -> Array:
    """Return what each chord gains in each beat in a major or minor key, shape = (n_chords,)."""
    scale = {(pitch_class - (key.tonic or 0)) % N_PITCH_CLASSES for pitch_class in key.pitch_classes}
    is_minor = 3 in scale
    if is_minor:
        scale.add(11)  # the leading note
    is_outside = np.array([pitch_class not in scale for pitch_class in range(N_PITCH_CLASSES)])
    bonuses = _MINOR_BONUSES if is_minor else _MAJOR_BONUSES
    n_outside: Array = MEMBERS @ is_outside
    return np.array([bonuses.get(chord, 0.0) for chord in CHORDS]) - OUTSIDE_KEY_PENALTY * n_outside


def chord_pitch_classes(chord: int, key: Key) -> frozenset[int]:
    """Return the pitch classes of one of `CHORDS`."""
    root, quality = CHORDS[chord]
    return frozenset((root + step + (key.tonic or 0)) % N_PITCH_CLASSES for step in QUALITIES[quality])


def chord_symbol(chord: int, key: Key) -> str:
    """Return the symbol of one of `CHORDS`, its root spelled as in the key."""
    root, quality = CHORDS[chord]
    tonic = key.name.split()[0]
    fifths = _LETTERS.index(tonic[0]) + len(_LETTERS) * (tonic.count("#") - tonic.count("b")) + _FIFTHS[root]
    if not -len(_LETTERS) <= fifths < 2 * len(_LETTERS):  # it would have two accidentals
        fifths -= N_PITCH_CLASSES if fifths > 0 else -N_PITCH_CLASSES
    accidentals, letter = divmod(fifths, len(_LETTERS))
    return _LETTERS[letter] + "#" * accidentals + "b" * -accidentals + quality
