"""Make links to the service's page. Its address holds a piece, or the wishes of its form, which make the same music.

`playground/wishes.js` reads these: fields that have a place of their own by its name, others after `more-`;
`playground/link.js` reads the piece.
"""

import base64
import html
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlencode

from amt.errors import HarmonyError
from amt.harmony.keys import parse_key
from client import OFF

PAGE_METRES: Final = ("4/4", "3/4", "2/4", "6/8", "5/4")
"""The first is what the form has by itself."""

PAGE_TONICS: Final = {
    "major": ("C", "G", "D", "A", "E", "B", "F#", "Db", "Ab", "Eb", "Bb", "F"),
    "minor": ("A", "E", "B", "F#", "C#", "G#", "Eb", "Bb", "F", "C", "G", "D"),
}
"""What the page lets one choose, by the options of its form."""

MAX_PAGE_SEED: Final = 2**53
"""JavaScript's numbers hold no larger integer exactly."""

AUTO: Final = "auto"
"""Is what the service takes by itself, wherever it is allowed in music from nothing."""

DEFAULT_SECONDS: Final = 20.0
DEFAULT_BPM: Final = 120.0
DEFAULT_TOP_P: Final = 0.95
"""What the service takes where nothing is said; the page's own defaults are others."""

MAX_LINKED_BYTES: Final = 500_000
"""Of a piece in an address: Firefox takes 1 MiB, and in base64 there are four characters for three bytes."""

_PLACED: Final = ("length_seconds", "length_bars", "bpm", "time_signature", "key", "chords", "seed")
_WITHOUT_WISHES: Final = {"style": "anything", "rhythm": "free"}


def page_link(url: str, fields: Mapping[str, Any]) -> str | None:
    """Return the link with which the page makes the music of a generate request; None if its form cannot say that.

    Args:
        url: of the service.
        fields: of the request, its seed included.
    """
    metre, key = fields.get("time_signature") or PAGE_METRES[0], _page_key(fields.get("key"))
    chords = fields.get("chords") or ""
    if metre not in PAGE_METRES or key is None or not isinstance(chords, str):
        return None
    bars = fields.get("length_bars")
    form: dict[str, Any] = _WITHOUT_WISHES | {
        "seconds": bars or fields.get("length_seconds") or DEFAULT_SECONDS,
        "unit": "bars" if bars else "seconds",
        "bpm": fields.get("bpm") or DEFAULT_BPM,
        "metre": "" if metre == PAGE_METRES[0] else metre,
        "key": key,
        "chords": "" if chords == OFF else chords,
        "seed": fields["seed"],
    }
    for name, value in ({"top_p": DEFAULT_TOP_P} | dict(fields)).items():
        if name not in _PLACED and value not in (None, AUTO):
            form[f"more-{name}"] = _written(value)
    if None in form.values() or fields["seed"] > MAX_PAGE_SEED:
        return None
    return f"{url}/#{urlencode({name: _number(value) for name, value in form.items() if value != ''})}"


def page_opener(url: str, name: str, midi: bytes) -> bytes | None:
    """Return an HTML file that opens the page with a piece; None if the piece is too large for an address.

    An agent passes on the path of that file, where the address itself would take thousands of tokens.
    """
    if len(midi) > MAX_LINKED_BYTES:
        return None
    piece = urlencode({"name": name, "midi": base64.urlsafe_b64encode(midi).decode().rstrip("=")})
    link, title = html.escape(f"{url}/#{piece}"), html.escape(name)
    return (
        f'<!doctype html><meta charset="utf-8"><title>{title}</title>'
        f'<meta http-equiv="refresh" content="0; url={link}"><a href="{link}">{title}</a>\n'
    ).encode()


def _page_key(name: str | None) -> str | None:
    """Return the option of the page's form that is a key, or "" for any; None if there is none."""
    if not name:
        return ""
    try:
        key = parse_key(name).name
    except HarmonyError:
        return None
    tonic, _, mode = key.partition(" ")
    return key if tonic in PAGE_TONICS.get(mode, ()) else None


def _written(value: Any) -> str | None:
    """Return how a value is written into a field of the form; None if it cannot be."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return str(_number(value))
    if isinstance(value, str):
        return None if value == OFF else value
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value))
    return None


def _number(value: Any) -> Any:
    """Return a number without a fraction as an integer, which is shorter to write."""
    return int(value) if isinstance(value, float) and value.is_integer() else value
