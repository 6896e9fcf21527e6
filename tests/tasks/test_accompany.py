"""Task accompany, over HTTP, with the bundled model."""

from collections import Counter
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from amt.midi import codec
from amt.midi.notes import Note
from tests.conftest import GOLDEN, Service
from tests.tasks.test_stream import events, named
from tests.test_api import encoded, notes_of, predict, refusal

CASTLE = (GOLDEN / "midi/easyrpg_castle1.mid").read_bytes()
SCALE = [Note(60 * step, 60, pitch, 73, 90) for step, pitch in enumerate([60, 62, 64, 65, 67, 69, 71, 72, 67, 64, 60])]
"""A bare melody: nothing but a flute."""

DUET = codec.write_notes([*SCALE, *(Note(60 * step, 50, 48, 32) for step in range(11))])


@pytest.fixture
def http(service: Service) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=service.url, timeout=120) as client:
        yield client


def accompany(http: httpx.Client, data: bytes, **body: Any) -> dict[str, Any]:
    return predict(http, task="accompany", midi_input=encoded(data), **body)


def new_notes(variation: dict[str, Any], fixed: list[Note]) -> list[Note]:
    """The notes of an answer that are not fixed; all fixed ones must be there."""
    notes = Counter(notes_of(variation))
    assert notes >= Counter(fixed)
    return sorted((notes - Counter(fixed)).elements())


def test_accompany_answers_as_documented(http: httpx.Client) -> None:
    result = accompany(http, codec.write_notes(SCALE), num_variations=2, seed=1)
    assert set(result) == {"task", "variations", "prime_seconds", "timing", "chords", "notices", "metadata"}
    assert (result["task"], result["prime_seconds"]) == ("accompany", 0.0)
    assert [each["duration_seconds"] for each in result["variations"]] == [6.6, 6.6]
    assert len({each["midi_base64"] for each in result["variations"]}) == 2


@pytest.mark.parametrize("program", [0, 40, 73])
def test_a_bare_melody_gets_two_instruments_or_more_and_neither_silence_nor_noise(
    program: int, http: httpx.Client
) -> None:
    melody = [note._replace(instrument=program) for note in SCALE * 2]
    melody = [note._replace(onset=60 * step) for step, note in enumerate(melody)]
    for variation in accompany(http, codec.write_notes(melody), num_variations=2, seed=1)["variations"]:
        new = new_notes(variation, melody)
        assert len({note.instrument for note in new} - {program}) >= 2
        assert 2 <= len(new) / 13.2 <= 8


def test_the_fixed_part_comes_back_whole_though_only_some_seconds_are_accompanied(http: httpx.Client) -> None:
    (variation,) = accompany(http, codec.write_notes(SCALE), length_seconds=2, seed=1)["variations"]
    new = new_notes(variation, SCALE)
    assert new
    assert all(note.onset + note.duration <= 200 for note in new)


@pytest.mark.parametrize("melody", [{"melody_instruments": ["flute"]}, {"melody_tracks": [1]}])
def test_what_the_others_played_is_replaced_but_for_the_prime(melody: dict[str, Any], http: httpx.Client) -> None:
    (variation,) = accompany(http, DUET, **melody, prime_seconds=2, seed=1)["variations"]
    prime = [note for note in codec.read_notes(DUET) if note.instrument == 32 and note.onset < 200]
    new = new_notes(variation, SCALE + prime)
    assert new
    assert {note.instrument for note in new} == {32}
    assert all(note.onset >= 200 and note.onset + note.duration <= 660 for note in new)


@pytest.mark.parametrize("model_size", ["tiny", "small"])  # the latter with random weights
def test_the_parts_of_an_orchestra_come_back_note_for_note(model_size: str, http: httpx.Client) -> None:
    playing = Counter(note.instrument for note in codec.read_notes(CASTLE))
    chosen = [instrument for instrument, _ in playing.most_common(2)]
    fixed = [note for note in codec.read_notes(CASTLE) if note.instrument in chosen]
    body = {"melody_instruments": chosen, "length_seconds": 3, "model_size": model_size}
    (variation,) = accompany(http, CASTLE, **body)["variations"]
    assert all(note.onset + note.duration <= 300 for note in new_notes(variation, fixed))


def test_the_instruments_named_are_those_that_play(http: httpx.Client) -> None:
    body = {"instruments": ["Church Organ", "Drums"], "seed": 2}
    (variation,) = accompany(http, codec.write_notes(SCALE), **body)["variations"]
    assert {note.instrument for note in new_notes(variation, SCALE)} == {19, 128}


def test_the_streamed_notes_are_those_of_the_result(service: Service) -> None:
    found = list(events(service, task="accompany", midi_input=encoded(codec.write_notes(SCALE)), seed=1))
    new = new_notes(named(found, "result")[0]["variations"][0], SCALE)
    streamed = [(round(100 * note["onset"]), note["pitch"], note["instrument"]) for note in named(found, "note")]
    assert sorted(streamed) == sorted((note.onset, note.pitch, note.instrument) for note in new)


def test_a_seed_sent_back_alone_gives_the_same_bytes(http: httpx.Client) -> None:
    data, body = codec.write_notes(SCALE), {"length_seconds": 3}
    for variation in accompany(http, data, **body, num_variations=2, seed=1)["variations"]:
        assert accompany(http, data, **body, seed=variation["seed"])["variations"] == [variation]


@pytest.mark.parametrize(
    ("data", "body", "complaint"),
    [
        (DUET, {"melody_instruments": ["flut"]}, "'flute'"),
        (DUET, {"melody_instruments": ["violin"]}, "its instruments are 32 'Acoustic Bass', 73 'Flute'"),
        (DUET, {"melody_tracks": ["Flut"]}, "did you mean 'flute'? those that hold notes are 1 'Flute', 2 'Acous"),
        (DUET, {"melody_tracks": [3]}, "there is no track 3: those that hold notes are 1 'Flute', 2 'Acoustic Bass'"),
        (DUET, {"prime_seconds": 7}, "the part to accompany ends at 6.6 s"),
        (DUET, {"prime_seconds": 61}, "prime_seconds must be in range 0.0..60.0"),
        (codec.write_notes([]), {}, "holds no notes"),
    ],
)
def test_what_cannot_be_accompanied_is_refused_with_the_reason(
    data: bytes, body: dict[str, Any], complaint: str, http: httpx.Client
) -> None:
    assert complaint in refusal(http, task="accompany", midi_input=encoded(data), **body)
