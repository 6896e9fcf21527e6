"""Parse the symbol of a chord into the pitch classes that it holds."""

import re
from difflib import get_close_matches
from functools import lru_cache
from typing import Final

from pychord import Chord, QualityManager

from amt.errors import HarmonyError
from amt.harmony.keys import N_PITCH_CLASSES, pitch_class

NO_CHORD: Final = "N.C."

MAX_SYMBOL_LENGTH: Final = 24
"""Characters of a symbol that are read, compared and shown; no known one is longer."""

_NO_CHORD_NAMES: Final = {"n.c.", "n.c", "nc", "no chord"}

_SIGNS: Final = str.maketrans("♯♭\u2212\u2013øØ∅", "#b--hhh")  # a minus sign and a dash are hyphens

_SEPARATORS: Final = str.maketrans("", "", "()[], ")

_NOTE: Final = r"[A-G](?:##|bb|#|b)?"

_TOKEN: Final = re.compile(
    r"""(?P<alteration>(?P<sign>[#b+]|(?<!^)-|-(?=5))(?P<step>5|6|9|11|13))
    |(?P<omitted>(?:no|omit)(?P<missing>3|5))
    |(?P<half>h(?:alf-?)?(?:dim)?7?)
    |(?P<dim>dim(?:inished)?|[o°º])
    |(?P<aug>aug(?:mented)?|\+)
    |(?P<triangle>[Δ△∆])
    |(?P<M>M(?:aj(?:or)?|AJ(?:OR)?|A)?|maj(?:or)?|ma(?!dd)|j)
    |(?P<m>min(?:or)?|mi|m|-)
    |(?P<dominant>dom(?:inant)?)
    |(?P<sus>sus(?P<suspended>2|4)?)
    |(?P<add>add(?P<added>\#?\d+))
    |(?P<alt>alt)
    |(?P<number>69|\d+)""",
    re.VERBOSE,
)
"""One sign of a quality: what it is, in any of the ways in which it is written."""

_ADDED_QUALITIES: Final = {
    "(no3)": ("1", "5"),
    "(#5)": ("1", "3", "#5"),
    "6sus4": ("1", "4", "5", "6"),
    "6add11": ("1", "3", "4", "5", "6"),
    "7sus2": ("1", "2", "5", "b7"),
    "M7sus2": ("1", "2", "5", "7"),
    "M7sus4": ("1", "4", "5", "7"),
    "7b9sus4": ("1", "4", "5", "b7", "b9"),
    "13sus4": ("1", "4", "5", "b7", "9", "13"),
    "7alt": ("1", "3", "b5", "#5", "b7", "b9", "#9"),
    "m9b5": ("1", "b3", "b5", "b7", "9"),
    "m11b5": ("1", "b3", "b5", "b7", "9", "11"),
    "m13": ("1", "b3", "5", "b7", "9", "11", "13"),
    "m#5": ("1", "b3", "#5"),
    "mb6": ("1", "b3", "5", "b6"),
    "mM9": ("1", "b3", "5", "7", "9"),
    "M7b5": ("1", "3", "b5", "7"),
    "M9#11": ("1", "3", "5", "7", "9", "#11"),
    "M11": ("1", "3", "5", "7", "9", "11"),
    "dimM7": ("1", "b3", "b5", "7"),
}
"""What the library lacks, in its own form."""


def parse_symbol(symbol: str, place: str = "the chord") -> frozenset[int]:
    """Return the pitch classes of a chord and of the bass that it may have after a "/"; none for N.C.

    Args:
        symbol: such as C, Am7, F#m7b5, Bb/D, G7(b9), C-7, E°7, FΔ, N.C.; the root is a capital letter.
        place: how the message names the chord, such as "chord 3".

    Raises:
        HarmonyError: there is no such chord; the message says what is near.
    """
    text = symbol.strip()
    if text.lower() in _NO_CHORD_NAMES:
        return frozenset()
    text = text.translate(_SIGNS).replace("6/9", "69")
    found = re.fullmatch(rf"({_NOTE})([^/]*)(?:/({_NOTE}))?", text) if len(symbol) <= MAX_SYMBOL_LENGTH else None
    quality = _qualities().get(_tokens(found[2])) if found else None
    if found is None or quality is None:
        raise HarmonyError(_unknown(symbol, text, place))
    components = Chord(found[1] + quality).components(visible=False)
    bass = {pitch_class(found[3])} if found[3] else set()
    return frozenset(component % N_PITCH_CLASSES for component in components) | bass


@lru_cache(maxsize=1)
def _qualities() -> dict[tuple[str, ...], str]:
    """Return the name of each quality that the library knows, by its tokens; those that it lacks are taught to it."""
    manager = QualityManager()
    for name, intervals in _ADDED_QUALITIES.items():
        manager.set_quality(name, intervals)
    return {_tokens(name): name for name in manager.get_qualities()}


def _tokens(quality: str) -> tuple[str, ...]:
    """Return the signs of a quality, each written in one way, in alphabetical order; what is unknown stays."""
    quality = quality.translate(_SEPARATORS)
    tokens, position = [], 0
    while position < len(quality):
        found = _TOKEN.match(quality, position)
        if found is None:
            return (quality,)
        tokens += _spell(found)
        position = found.end()
    has_seventh = not {"7", "9", "11", "13"}.isdisjoint(tokens)
    if "triangle" in tokens:
        tokens = ["M" if token == "triangle" else token for token in tokens] + ([] if has_seventh else ["7"])
    elif not has_seventh:
        tokens = [token for token in tokens if token != "M"]
    if "aug" in tokens and len(tokens) > 1:
        tokens = ["#5" if token == "aug" else token for token in tokens if token != "5"]
    return tuple(sorted(set(tokens)))


def _spell(found: re.Match[str]) -> list[str]:
    """Return what one sign of a quality means."""
    match found.lastgroup:
        case "alteration":
            return [{"+": "#", "-": "b"}.get(found["sign"], found["sign"]) + found["step"]]
        case "half":
            return ["m", "7", "b5"]
        case "dominant":
            return []
        case "sus":
            return [f"sus{found['suspended'] or 4}"]
        case "add":
            return ["add9" if found["added"] == "2" else f"add{found['added']}"]
        case "omitted":
            return [f"no{found['missing']}"]
        case "alt":
            return ["7", "alt"]
        case "number":
            return [found["number"]]
        case kind:
            return [str(kind)]


def _unknown(symbol: str, text: str, place: str) -> str:
    """Return the message about a symbol that is no chord."""
    written = text[:1].upper().replace("H", "B") + text[1:MAX_SYMBOL_LENGTH]
    root = re.match(_NOTE, written)
    names = [root[0] + name for name in _qualities().values() if not set(name) & set("+-")] if root else []
    near = get_close_matches(written, names, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(near)}? " if near else ""
    return (
        f"{place}, {symbol[:MAX_SYMBOL_LENGTH]!r}, is not known: {hint}A root (C, F#, Bb), a quality (such as m, 7, "
        "maj7, m7b5, dim7, sus4, add9) and a bass (/E) are wanted, or N.C. where no chord sounds"
    )
