from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from agents.errors import WishRefused
from agents.link import MAX_LINKED_BYTES, page_link, page_opener
from agents.wishes import KNOWN, gather

URL = "http://localhost:2011"


def test_fields_come_from_both_places() -> None:
    assert gather({"bpm": 90, "key": None}, {"top_p": 0.9}) == {"bpm": 90, "top_p": 0.9}


@pytest.mark.parametrize(
    ("more", "problem"),
    [
        ({"pitch_rage": [1, 2]}, "did you mean pitch_range"),
        ({"bpm": 100}, "bpm is said twice"),
        ({"num_variations": 5}, "one piece at a time"),
        ({"midi_input": ""}, "there is no field 'midi_input'"),
        ({"task": "embed"}, "there is no field 'task'"),
        ({"pooling": "mean"}, "there is no field 'pooling'"),
        ({"headers": {}}, "there is no field 'headers'"),
    ],
)
def test_a_field_that_is_none_is_refused(more: dict[str, Any], problem: str) -> None:
    with pytest.raises(WishRefused, match=problem):
        gather({"bpm": 90}, more)


def test_all_fields_of_music_may_be_said() -> None:
    assert {"temperature", "pitch_range", "locked", "avoid_copy", "model_size", "sustain", "start_seconds"} <= KNOWN


def test_a_link_says_what_was_asked_and_what_the_service_takes_by_itself() -> None:
    fields = {"length_bars": 8, "key": "c minor", "instruments": ["piano", "drums"], "seed": 7, "pitch_range": [36, 60]}
    link = page_link(URL, fields)
    assert link is not None
    form = {name: value for name, (value,) in parse_qs(urlsplit(link).fragment).items()}
    assert form == {
        "style": "anything",
        "rhythm": "free",
        "seconds": "8",
        "unit": "bars",
        "bpm": "120",
        "key": "C minor",
        "seed": "7",
        "more-top_p": "0.95",
        "more-instruments": "piano, drums",
        "more-pitch_range": "36, 60",
    }


@pytest.mark.parametrize(
    "field",
    [
        {"key": "D dorian"},
        {"key": "nothing"},
        {"time_signature": "7/8"},
        {"chords": [{"symbol": "C", "start_bar": 1}]},
        {"temperature": {"note": 0.9}},
        {"pitch_range": {"Violin": [55, 90]}},
        {"variety": "off"},
        {"seed": 2**60},
    ],
    ids=str,
)
def test_there_is_no_link_for_what_the_page_cannot_say(field: dict[str, Any]) -> None:
    assert page_link(URL, {"seed": 1, "length_bars": 4} | field) is None


def test_what_is_automatic_need_not_be_said() -> None:
    plain = page_link(URL, {"seed": 1})
    assert plain == page_link(URL, {"seed": 1, "velocity": "auto", "variety": "auto", "chords": "off"})


def test_a_piece_that_is_too_large_for_an_address_has_no_opener() -> None:
    assert page_opener(URL, "a.mid", bytes(MAX_LINKED_BYTES))
    assert page_opener(URL, "a.mid", bytes(MAX_LINKED_BYTES + 1)) is None
