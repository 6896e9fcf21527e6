import pytest

from amt.midi.score import read_score
from amt.midi.text import decode_text
from amt.midi.tracks import find_tracks
from tests.amt.midi.building import name, note, song

NAMES = [
    ("Piano", "ascii"),
    ("Flöte", "utf-8"),
    ("ピアノ", "utf-8"),
    ("ピアノ", "cp932"),
    ("ドラム 2", "cp932"),
    ("弦楽器", "cp932"),
    ("ﾊﾞｲｵﾘﾝ 左手", "utf-8"),
    ("Скрипка", "utf-8"),
    ("Скрипка", "cp1251"),
    ("виолончель", "cp1251"),
    ("Гитара 2 (solo)", "cp1251"),
    ("Flöte", "latin-1"),
    ("Voix à bouche fermée", "latin-1"),
    ("Guitarra española", "latin-1"),
    ("Baßklarinette", "latin-1"),
    ("Mélodie", "latin-1"),
    ("Übung für Geübte", "latin-1"),
]


@pytest.mark.parametrize(("text", "encoding"), NAMES)
def test_texts_in_each_encoding_are_read(text, encoding):
    assert decode_text(text.encode(encoding)) == text


@pytest.mark.parametrize("padding", [b"\0", b"\0\0\0", b"  ", b" \0"])
def test_padding_is_no_part_of_a_text(padding):
    assert decode_text(b"Piano" + padding) == "Piano"


@pytest.mark.parametrize(("text", "encoding"), NAMES)
def test_a_track_is_found_by_its_name_in_each_encoding(text, encoding):
    data = song([name("Bass"), *note(0, 100, 40)], [name(text.encode(encoding)), *note(0, 100, 60)])
    assert find_tracks(read_score(data)).find(text) == {1}


@pytest.mark.parametrize("data", [bytes(range(256)), b"\xff\xfe\xfd", b"\x81", b""])
def test_any_bytes_are_some_text(data):
    assert isinstance(decode_text(data), str)
