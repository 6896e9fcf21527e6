"""Guess the encoding of texts in MIDI files: the standard says ASCII, and forty years of files say otherwise."""

import re
from typing import Final

_JAPANESE: Final = re.compile(r"[\u3000-\u30ff\u4e00-\u9fff\uff01-\uff5e\x20-\x7e]+")
"""Kana, kanji, full-width forms and ASCII; no half-width kana, which other alphabets look like in this encoding."""

_KANJI_IN_WORD: Final = re.compile(r"[a-z][\u4e00-\u9fff]|[\u4e00-\u9fff][a-z]")
"""What two accented letters, or one and its neighbour, look like in this encoding."""

_CYRILLIC_WORD: Final = re.compile(r"[\u0400-\u04ff]{2,}")
_MIXED_WORD: Final = re.compile(r"[A-Za-z][\u0400-\u04ff]|[\u0400-\u04ff][A-Za-z]")


def decode_text(data: bytes) -> str:
    """Return a text in UTF-8, Shift-JIS, Windows-1251 or Latin-1, without the padding that some writers add.

    Names are too short for statistics (charset-normalizer takes Latin-1's "Flöte" for Cyrillic), so scripts decide: a
    text is Japanese if it has kana or kanji and nothing else, and Russian if whole words are Cyrillic.
    """
    return _decode(data).strip("\0 ")


def _decode(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError:
        pass
    try:
        japanese = data.decode("cp932")
        if _JAPANESE.fullmatch(japanese) and not _KANJI_IN_WORD.search(japanese):
            return japanese
    except UnicodeDecodeError:
        pass
    russian = data.decode("cp1251", errors="replace")
    if _CYRILLIC_WORD.search(russian) and not _MIXED_WORD.search(russian):
        return russian
    return data.decode("latin-1")
