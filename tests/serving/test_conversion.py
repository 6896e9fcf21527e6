"""Which format an answer has."""

import pytest
from fastapi import HTTPException

from serving.conversion import Conversion, Format


def choose(accept: str, wanted: str | None = None, missing: str = "") -> str:
    formats = {
        "wav": Format("audio/wav", missing),
        "mp3": Format("audio/mpeg", missing),
        "svg": Format("image/svg+xml"),
    }
    conversion = Conversion("/", "", "", (), formats, lambda body, name, path: None, "", "", {})
    return conversion.choose(wanted, accept)


@pytest.mark.parametrize(
    ("accept", "name"),
    [
        ("*/*", "wav"),
        ("*", "wav"),
        ("", "wav"),
        ("audio/*", "wav"),
        ("audio/mpeg", "mp3"),
        ("AUDIO/MPEG", "mp3"),
        ("image/*", "svg"),
        ("audio/mpeg;q=0.4, image/svg+xml;q=0.5", "svg"),
        ("audio/wav;q=0, */*", "mp3"),
        ("image/png, image/svg+xml;q=0.1", "svg"),
        ("text/html, */*;q=0.1", "wav"),
    ],
)
def test_accept_chooses(accept: str, name: str) -> None:
    assert choose(accept) == name


def test_what_is_asked_for_by_name_counts_more() -> None:
    assert choose("audio/mpeg", wanted="svg") == "svg"


@pytest.mark.parametrize("accept", ["image/png", "text/html", "nonsense", "*/*;q=0"])
def test_what_cannot_be_made_is_refused_and_all_that_can_is_named(accept: str) -> None:
    with pytest.raises(HTTPException) as caught:
        choose(accept)
    assert caught.value.status_code == 406
    assert "audio/wav, audio/mpeg, image/svg+xml" in caught.value.detail


def test_what_this_service_cannot_make_is_no_default() -> None:
    missing = "install it"
    assert choose("*/*", missing=missing) == "svg"
    assert choose("audio/wav, image/*;q=0.1", missing=missing) == "svg"
    for accept, wanted in (("audio/*", None), ("*/*", "mp3")):
        with pytest.raises(HTTPException) as caught:
            choose(accept, wanted, missing)
        assert (caught.value.status_code, caught.value.detail) == (501, missing)
