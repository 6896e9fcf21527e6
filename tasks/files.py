"""Read files out of the text that JSON carries them in."""

import base64
from typing import Final

_DATA: Final = "data:"


def decode_file(text: str) -> bytes:
    """Return the bytes that a text holds in base64.

    The alphabet may be the standard or the URL-safe one (RFC 4648), the padding may be missing, and the text may be a
    data: URI (RFC 2397): browsers make all of these. White space is left out, for `base64` breaks its lines.

    Raises:
        ValueError: the text is none of these; the message says why.
    """
    text = "".join(text.split())
    if text[: len(_DATA)].lower() == _DATA:
        kind, comma, text = text.partition(",")
        if not comma or not kind.lower().endswith(";base64"):
            raise ValueError("a data: URI must begin like data:audio/midi;base64,")
    text = text.replace("-", "+").replace("_", "/").rstrip("=")
    return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
