"""Files in base64, in every form that callers send."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.files import decode_file

FORMS = {
    "standard": lambda data: base64.b64encode(data).decode(),
    "URL-safe": lambda data: base64.urlsafe_b64encode(data).decode(),
    "without padding": lambda data: base64.b64encode(data).decode().rstrip("="),
    "URL-safe without padding": lambda data: base64.urlsafe_b64encode(data).decode().rstrip("="),
    "as a data: URI": lambda data: f"data:audio/midi;base64,{base64.b64encode(data).decode()}",
    "as a data: URI without a type": lambda data: f"DATA:;base64,{base64.b64encode(data).decode()}",
    "as a data: URI with parameters": lambda data: f"data:audio/midi;x=y;base64,{base64.b64encode(data).decode()}",
}


@pytest.mark.parametrize("form", FORMS)
@given(data=st.binary())
def test_every_form_of_base64_holds_the_same_bytes(form: str, data: bytes) -> None:
    assert decode_file(FORMS[form](data)) == data


@pytest.mark.parametrize("broken", ["\n", "\r\n", " ", "\t"])
def test_white_space_in_base64_does_not_matter(broken: str) -> None:
    data = bytes(range(256))
    text = base64.b64encode(data).decode()
    lines = broken.join(text[start : start + 76] for start in range(0, len(text), 76)) + broken
    assert decode_file(lines) == data


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("TVRo$A==", "Only base64 data is allowed"),
        ("TVRoé", "only ASCII characters"),
        ("TVRoZ", "cannot be 1 more than a multiple of 4"),
        ("TV=RoZA", "padding"),
        ("data:audio/midi,MThd", "must begin like data:audio/midi;base64,"),
        ("data:audio/midi;base64", "must begin like data:audio/midi;base64,"),
        ("data:audio/midi;base64,%", "Only base64 data is allowed"),
        ("https://example.org/song.mid", "Only base64 data is allowed"),
    ],
)
def test_other_text_is_refused_with_the_reason(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        decode_file(text)
