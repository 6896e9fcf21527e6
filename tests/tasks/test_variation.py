"""Task variation, and what keeps new notes from copying, over HTTP with the bundled model."""

from collections import Counter
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from amt.decoding.copying import MAX_COPIED_NOTES, keys_in_order
from amt.midi import codec
from amt.midi.notes import DRUMS, Note
from tests.conftest import GOLDEN, Service
from tests.tasks.results import answer
from tests.tasks.test_stream import events, named
from tests.test_api import encoded, notes_of, predict, refusal

CASTLE = (GOLDEN / "midi/easyrpg_castle1.mid").read_bytes()
CHORALE = (GOLDEN / "midi/chorale_001.mid").read_bytes()
BEAT = codec.write_notes([Note(25 * step, 20, pitch, DRUMS) for step in range(60) for pitch in (36, 42)])
SPAN = {"start_seconds": 4, "end_seconds": 7}


@pytest.fixture
def http(service: Service) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=service.url, timeout=120) as client:
        yield client


def vary(http: httpx.Client, data: bytes, **body: Any) -> dict[str, Any]:
    return predict(http, task="variation", midi_input=encoded(data), **body)


def test_a_variation_answers_as_documented(http: httpx.Client) -> None:
    piece = codec.write_notes([note for note in codec.read_notes(CHORALE) if note.onset < 500])
    result = vary(http, piece, similarity=0.5, seed=1)
    names = {"task", "variations", "start_seconds", "end_seconds", "similarity", "timing", "chords", "notices"}
    assert set(result) == names | {"metadata"}
    length = max(note.onset + note.duration for note in codec.read_notes(piece)) / 100
    told = [result[name] for name in ("task", "start_seconds", "end_seconds", "similarity")]
    assert told == ["variation", 0.0, length, 0.5]
    assert result["variations"][0]["duration_seconds"] == length


@pytest.mark.parametrize("similarity", [0.0, 0.3, 0.8])
def test_a_share_of_the_notes_in_the_span_stays_and_all_outside_it(similarity: float, http: httpx.Client) -> None:
    notes = Counter(codec.read_notes(CASTLE))
    inside = Counter(note for note in notes.elements() if 400 <= note.onset < 700)
    for variation in vary(http, CASTLE, **SPAN, similarity=similarity, seed=2, num_variations=2)["variations"]:
        found = Counter(notes_of(variation))
        assert found >= notes - inside
        assert (found & inside).total() >= round(similarity * inside.total())
        new = found - notes
        assert new
        assert all(note.onset >= 400 and note.onset + note.duration <= 700 for note in new)
        assert {note.instrument for note in new} <= {note.instrument for note in inside}


def test_at_similarity_1_the_piece_itself_comes_back_in_every_variation(http: httpx.Client) -> None:
    result = vary(http, CASTLE, similarity=1, num_variations=2, grid="1/8", key="C major")
    for variation in result["variations"]:
        assert Counter(notes_of(variation)) == Counter(codec.read_notes(CASTLE))
        assert (variation["flaw"], variation["draws"]) == (None, 1)


def test_new_notes_keep_to_the_pitches_that_each_instrument_has(http: httpx.Client) -> None:
    notes = codec.read_notes(CASTLE)
    [variation] = vary(http, CASTLE, **SPAN, similarity=0, seed=5)["variations"]
    for note in Counter(notes_of(variation)) - Counter(notes):
        pitches = [other.pitch for other in notes if other.instrument == note.instrument]
        assert min(pitches) <= note.pitch <= max(pitches)


def test_only_the_instruments_named_are_varied(http: httpx.Client) -> None:
    notes = Counter(codec.read_notes(CASTLE))
    instrument = Counter(note.instrument for note in notes).most_common(1)[0][0]
    [variation] = vary(http, CASTLE, **SPAN, similarity=0.2, instruments=[instrument], seed=3)["variations"]
    found = Counter(notes_of(variation))
    assert {note.instrument for note in (notes - found) + (found - notes)} == {instrument}


def test_each_variation_keeps_other_notes_and_its_seed_alone_gives_it_again(http: httpx.Client) -> None:
    notes, body = Counter(codec.read_notes(CHORALE)), {"similarity": 0.5, "end_bar": 3}
    variations = vary(http, CHORALE, **body, num_variations=2, seed=8)["variations"]
    kept = [frozenset((Counter(notes_of(variation)) & notes).items()) for variation in variations]
    assert len(set(kept)) == 2
    for variation in variations[1:]:
        assert vary(http, CHORALE, **body, seed=variation["seed"])["variations"] == [variation]


def test_a_variation_names_the_seed_that_chose_what_it_keeps_however_often_it_was_drawn() -> None:
    body = {"task": "variation", "midi_input": encoded(CHORALE), "seed": 2**60}
    [variation] = answer([Note(100, 50, 60, 0)], **body)["variations"]
    assert variation["seed"] == 2**60


def test_the_streamed_notes_of_each_variation_are_those_of_the_result(service: Service) -> None:
    body = {"midi_input": encoded(CASTLE), **SPAN, "num_variations": 2, "seed": 1, "include": ["notes"]}
    found = list(events(service, task="variation", **body))
    for number, variation in enumerate(named(found, "result")[0]["variations"]):
        told = [note for note in named(found, "note") if note["variation"] == number]
        new = [{"variation": number} | note for note in variation["notes"] if note["is_new"]]
        assert sorted(map(str, told)) == sorted(map(str, new))


def runs(notes: list[Note]) -> set[tuple[int, ...]]:
    keys = [key for key in keys_in_order(notes) if key >= 0]
    return {tuple(keys[start : start + MAX_COPIED_NOTES + 1]) for start in range(len(keys) - MAX_COPIED_NOTES)}


@pytest.mark.parametrize(
    "body",
    [
        {"task": "continue", "prime_seconds": 6, "length_seconds": 6},
        {
            "task": "accompany",
            "instruments": ["drums"],
            "melody_instruments": ["drums"],
            "prime_seconds": 6,
            "length_seconds": 6,
        },
        {"task": "infill", "start_seconds": 6, "end_seconds": 12},
        {"task": "variation", "start_seconds": 6, "end_seconds": 12, "similarity": 0},
    ],
)
def test_no_more_than_a_dozen_new_notes_in_a_row_are_those_of_the_input(
    body: dict[str, Any], http: httpx.Client
) -> None:
    sent = {**body, "midi_input": encoded(BEAT), "top_p": 0.7, "seed": 4, "include": ["notes"]}
    [variation] = predict(http, **sent, avoid_copy=True)["variations"]
    new = [
        Note(round(100 * each["onset"]), 1, each["pitch"], each["instrument"])
        for each in variation["notes"]
        if each["is_new"]
    ]
    assert len(new) > MAX_COPIED_NOTES
    assert not runs(new) & runs(codec.read_notes(BEAT))


@pytest.mark.parametrize(
    ("data", "body", "complaint"),
    [
        (CHORALE, {"similarity": 1.5}, "similarity must be in range 0.0..1.0, got 1.5"),
        (CHORALE, {"start_seconds": 99}, "start_seconds 99 to the end of the last note lasts"),
        (CHORALE, {"end_seconds": 99}, "end_seconds must be in range 0.."),
        (CHORALE, {"end_bar": 99}, "end_bar must be in range 2.."),
        (CHORALE, {"start_bar": 3, "end_bar": 3}, "end_bar must be greater than start_bar"),
        (CHORALE, {"instruments": ["drums"]}, "there is nothing to vary"),
        (codec.write_notes([]), {}, "holds no notes"),
        (CHORALE, {"avoid_copy": 1}, "avoid_copy"),
    ],
)
def test_what_cannot_be_varied_is_refused_with_the_reason(
    data: bytes, body: dict[str, Any], complaint: str, http: httpx.Client
) -> None:
    assert complaint in refusal(http, task="variation", midi_input=encoded(data), **body)
