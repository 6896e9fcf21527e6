"""Parse the name of a key, and find the key of notes.

Source of the profiles: Krumhansl and Kessler's ratings of how well each pitch class fits a key, in C. L. Krumhansl,
Cognitive Foundations of Musical Pitch (1990), page 30.
"""

import re
from collections.abc import Sequence
from difflib import get_close_matches
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from amt.errors import HarmonyError
from amt.midi.notes import DRUMS, Note

N_PITCH_CLASSES: Final = 12

_LETTERS: Final = {"C": 0, "D": 2, "E": 4, "F": 5, "G": 7, "A": 9, "B": 11}

MODES: Final = {
    "major": (0, 2, 4, 5, 7, 9, 11),
    "minor": (0, 2, 3, 5, 7, 8, 10),
    "ionian": (0, 2, 4, 5, 7, 9, 11),
    "dorian": (0, 2, 3, 5, 7, 9, 10),
    "phrygian": (0, 1, 3, 5, 7, 8, 10),
    "lydian": (0, 2, 4, 6, 7, 9, 11),
    "mixolydian": (0, 2, 4, 5, 7, 9, 10),
    "aeolian": (0, 2, 3, 5, 7, 8, 10),
    "locrian": (0, 1, 3, 5, 6, 8, 10),
    "harmonic minor": (0, 2, 3, 5, 7, 8, 11),
    "melodic minor": (0, 2, 3, 5, 7, 9, 11),
    "major pentatonic": (0, 2, 4, 7, 9),
    "minor pentatonic": (0, 3, 5, 7, 10),
    "blues": (0, 3, 5, 6, 7, 10),
    "whole tone": (0, 2, 4, 6, 8, 10),
    "chromatic": tuple(range(N_PITCH_CLASSES)),
}
"""The pitch classes of each scale above its tonic; melodic minor is the rising one."""

_SHORT_MODES: Final = {"": "major", "M": "major", "m": "minor"}
"""After a capital letter, where case tells them apart."""

_OTHER_NAMES: Final = {
    "maj": "major",
    "min": "minor",
    "m": "minor",
    "natural minor": "minor",
    "pentatonic major": "major pentatonic",
    "pentatonic minor": "minor pentatonic",
    "wholetone": "whole tone",
}

_MAJOR_NAMES: Final = ("C", "Db", "D", "Eb", "E", "F", "F#", "G", "Ab", "A", "Bb", "B")
_MINOR_NAMES: Final = ("C", "C#", "D", "Eb", "E", "F", "F#", "G", "G#", "A", "Bb", "B")
"""The usual name of each tonic, with the fewest accidentals in the key's signature."""

MAX_NAME_LENGTH: Final = 40
"""Characters of an unknown name that are compared and shown."""

_MAJOR_PROFILE: Final = (6.35, 2.23, 3.48, 2.33, 4.38, 4.09, 2.52, 5.19, 2.39, 3.66, 2.29, 2.88)
_MINOR_PROFILE: Final = (6.33, 2.68, 3.52, 5.38, 2.60, 3.53, 2.54, 4.75, 3.98, 2.69, 3.34, 3.17)


class Key(NamedTuple):
    """Hold a key or another scale.

    Attributes:
        name: such as "F# harmonic minor".
        tonic: its pitch class, 0 is C; None if the scale is chromatic and has none.
        pitch_classes: of the scale.
    """

    name: str
    tonic: int | None
    pitch_classes: frozenset[int]


def parse_key(name: str) -> Key:
    """Return the key of a name: a tonic and a scale, such as "C major", "F# harmonic minor", "B♭ mixolydian", "Am".

    Case is ignored where a scale is named; a letter alone must be a capital one, which means major.

    Raises:
        HarmonyError: there is no such key; the message says which there are, and which are near.
    """
    text = " ".join(name.replace("♯", "#").replace("♭", "b").split())
    if text.lower() == "chromatic":
        return Key("chromatic", None, frozenset(MODES["chromatic"]))
    found = re.fullmatch(r"([A-Ga-g])([ -]?(?:sharp|flat)\b|[#b]?)[ -]?(.*)", text, flags=re.IGNORECASE)
    mode = _find_mode(found[1], found[3]) if found else None
    if found is None or mode is None:
        raise HarmonyError(_unknown(name, text))
    accidental = {"sharp": "#", "flat": "b"}.get(found[2].strip(" -").lower(), found[2].lower())
    return make_key(found[1].upper() + accidental, mode)


def make_key(tonic: str, mode: str) -> Key:
    """Return the key of a tonic, such as "F#", and one of `MODES`."""
    root = pitch_class(tonic)
    return Key(f"{tonic} {mode}", root, frozenset((root + step) % N_PITCH_CLASSES for step in MODES[mode]))


def pitch_class(note: str) -> int:
    """Return the pitch class of a letter with any number of "#" and "b" after it."""
    return (_LETTERS[note[0]] + note.count("#") - note.count("b", 1)) % N_PITCH_CLASSES


def find_key(notes: Sequence[Note]) -> Key | None:
    """Return the major or minor key whose profile the notes fit best, weighted by duration; drums do not count.

    It is None if there is no pitched note, or if all pitch classes sound equally long.
    """
    pitched = [(note.pitch, note.duration) for note in notes if note.instrument != DRUMS]
    pitches, durations = np.array(pitched, np.int64).reshape(-1, 2).T
    weights = np.bincount(pitches % N_PITCH_CLASSES, np.maximum(durations, 1), N_PITCH_CLASSES).astype(np.float64)
    if np.ptp(weights) == 0:
        return None
    best = int(np.argmax(_fits(weights)))
    if best < N_PITCH_CLASSES:
        return make_key(_MAJOR_NAMES[best], "major")
    return make_key(_MINOR_NAMES[best - N_PITCH_CLASSES], "minor")


def _fits(weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return how well pitch classes fit the 12 major, then the 12 minor keys: correlations but for a common factor."""
    profiles = np.array([_MAJOR_PROFILE, _MINOR_PROFILE])
    profiles -= profiles.mean(axis=1, keepdims=True)
    profiles /= np.linalg.norm(profiles, axis=1, keepdims=True)
    above_tonic = np.array([np.roll(weights, -tonic) for tonic in range(N_PITCH_CLASSES)])
    fits: NDArray[np.float64] = profiles @ above_tonic.T
    return fits.ravel()


def _find_mode(letter: str, written: str) -> str | None:
    """Return the scale that is written after a tonic, if there is one of that name."""
    if written in _SHORT_MODES:
        is_clear = letter.isupper() or written == "m"
        return _SHORT_MODES[written] if is_clear else None
    mode = _OTHER_NAMES.get(written.lower(), written.lower())
    return mode if mode in MODES else None


def _unknown(name: str, text: str) -> str:
    """Return the message about a name that is no key, with all that are."""
    tonics = sorted({*_MAJOR_NAMES, *_MINOR_NAMES, "Gb", "Ab", "D#", "A#"})
    names = {f"{tonic} {mode}".lower(): f"{tonic} {mode}" for tonic in tonics for mode in MODES}
    near = get_close_matches(re.sub("^h", "b", text.lower())[:MAX_NAME_LENGTH], names, n=3, cutoff=0.6)
    hint = f"did you mean {' or '.join(repr(names[each]) for each in near)}? " if near else ""
    return (
        f"there is no key {name[:MAX_NAME_LENGTH]!r}: {hint}A tonic (C, F#, Bb) and a scale ({', '.join(MODES)}) "
        "are wanted, such as 'A minor'"
    )
