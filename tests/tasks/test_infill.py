"""Task infill, over HTTP, with the bundled model."""

from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from amt.midi import codec
from amt.midi.notes import DRUMS, Note
from amt.midi.score import read_score
from amt.midi.tracks import find_tracks
from tests.conftest import GOLDEN, Service
from tests.tasks.test_stream import events, named
from tests.test_api import encoded, notes_of, predict, refusal

CASTLE = (GOLDEN / "midi/easyrpg_castle1.mid").read_bytes()
CHORALE = (GOLDEN / "midi/chorale_001.mid").read_bytes()
GAP = codec.write_notes([Note(0, 50, 60, 0), Note(20_000, 50, 60, 0)])
SPAN = {"start_seconds": 4, "end_seconds": 6}


@pytest.fixture
def http(service: Service) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=service.url, timeout=120) as client:
        yield client


def infill(http: httpx.Client, data: bytes, **body: Any) -> dict[str, Any]:
    return predict(http, task="infill", midi_input=encoded(data), **body)


def test_infill_answers_as_documented(http: httpx.Client) -> None:
    result = infill(http, CHORALE, **SPAN, num_variations=2, seed=1)
    assert set(result) == {"task", "variations", "start_seconds", "end_seconds", "timing", "notices", "metadata"}
    assert (result["task"], result["start_seconds"], result["end_seconds"]) == ("infill", 4.0, 6.0)
    length = max(note.onset + note.duration for note in codec.read_notes(CHORALE))
    assert [each["duration_seconds"] for each in result["variations"]] == [length / 100] * 2
    assert len({each["midi_base64"] for each in result["variations"]}) == 2


@pytest.mark.parametrize("name", ["easyrpg_castle1", "freedoom_e1m2", "twenty_programs", "chorale_010"])
@pytest.mark.parametrize(("start", "model_size"), [(0, "tiny"), (3.33, "tiny"), (3.33, "small")])
def test_what_lies_outside_the_span_comes_back_note_for_note(
    name: str, start: float, model_size: str, http: httpx.Client
) -> None:
    data = (GOLDEN / f"midi/{name}.mid").read_bytes()
    first, last = round(start * 100), round(start * 100) + 250
    outside = Counter(note for note in codec.read_notes(data) if not first <= note.onset < last)
    body = {"start_seconds": start, "end_seconds": start + 2.5, "seed": 1, "model_size": model_size}
    (variation,) = infill(http, data, **body)["variations"]
    notes = Counter(notes_of(variation))
    assert notes >= outside
    new = list((notes - outside).elements())
    assert new or model_size == "small"  # whose weights are random, and leap
    assert all(first <= note.onset and note.onset + note.duration <= last for note in new)


def test_of_the_span_only_what_the_instruments_named_play_is_rewritten(http: httpx.Client) -> None:
    notes = codec.read_notes(CASTLE)
    playing = Counter(note.instrument for note in notes if 400 <= note.onset < 600)
    rewritten = playing.most_common(1)[0][0]
    others = Counter(each for each in notes if not (400 <= each.onset < 600 and each.instrument == rewritten))
    (variation,) = infill(http, CASTLE, **SPAN, instruments=[rewritten], seed=3)["variations"]
    answer = Counter(notes_of(variation))
    assert answer >= others
    assert {note.instrument for note in answer - others} == {rewritten}


def test_a_part_can_be_added_where_there_was_none(http: httpx.Client) -> None:
    notes = Counter(codec.read_notes(CHORALE))
    (variation,) = infill(http, CHORALE, **SPAN, instruments=["Acoustic Bass"], seed=3)["variations"]
    assert {note.instrument for note in Counter(notes_of(variation)) - notes} == {32}


def sent(notes: list[Note]) -> list[dict[str, Any]]:
    """Notes as a request has them."""
    scaled = ((note, note.onset / 100, note.duration / 100) for note in notes)
    return [note._asdict() | {"onset": onset, "duration": duration} for note, onset, duration in scaled]


def test_notes_of_the_span_that_are_locked_by_their_places_stay(http: httpx.Client) -> None:
    notes = [Note(50 * step, 50, 60 + step % 7, 0) for step in range(20)]
    body = {"notes": sent(notes), "include": ["notes"], **SPAN, "seed": 2}
    for locked in ([8, 11], list(range(20))):
        [variation] = predict(http, task="infill", locked=locked, **body)["variations"]
        kept = [(each["onset"], each["pitch"]) for each in variation["notes"] if not each["is_new"]]
        in_span = {8, 9, 10, 11}
        assert kept == [(step / 2, 60 + step % 7) for step in range(20) if step in locked or step not in in_span]


@pytest.mark.parametrize(
    "locked", [{"instruments": [DRUMS]}, {"pitch_range": [0, 55]}, {"instruments": [48], "pitch_range": [0, 70]}]
)
def test_notes_of_the_span_that_are_locked_by_what_they_are_stay(locked: dict[str, Any], http: httpx.Client) -> None:
    notes = codec.read_notes(CASTLE)
    [player] = locked.get("instruments", [None])
    lowest, highest = locked.get("pitch_range", (0, 127))

    def is_locked(note: Note) -> bool:
        plays = note.instrument != DRUMS if player is None else note.instrument == player
        return plays and lowest <= note.pitch <= highest

    stays = Counter(note for note in notes if is_locked(note) or not 400 <= note.onset < 600)
    [variation] = infill(http, CASTLE, **SPAN, locked=locked, seed=3)["variations"]
    assert Counter(notes_of(variation)) >= stays


NOT_LOCKED = "locked must be a list of places in notes, counted from 0, or an object"


@pytest.mark.parametrize(
    ("locked", "complaint"),
    [
        ([0, 2], "locked holds places in notes, which are in range 0..1, got 2"),
        ([-1], NOT_LOCKED),
        ([0.5], NOT_LOCKED),
        ("drums", NOT_LOCKED),
        ({}, NOT_LOCKED),
        ({"instruments": None}, NOT_LOCKED),
        ({"pitch_range": [60, 50]}, NOT_LOCKED),
        ({"pitches": [50, 60]}, NOT_LOCKED),
        ({"instruments": ["violine"]}, "'violin'"),
    ],
)
def test_what_cannot_be_locked_is_refused_with_the_reason(locked: Any, complaint: str, http: httpx.Client) -> None:
    notes = sent([Note(0, 500, 60, 0), Note(500, 500, 60, 0)])
    assert complaint in refusal(http, task="infill", notes=notes, locked=locked, **SPAN)


def test_places_lock_no_notes_of_a_file(http: httpx.Client) -> None:
    complaint = "locked must be an object with instruments or pitch_range if the input is not sent as notes"
    assert complaint in refusal(http, task="infill", midi_input=encoded(CASTLE), locked=[1], **SPAN)


def test_the_streamed_notes_are_those_of_the_result(service: Service) -> None:
    found = list(events(service, task="infill", midi_input=encoded(CASTLE), **SPAN, seed=1))
    outside = Counter(note for note in codec.read_notes(CASTLE) if not 400 <= note.onset < 600)
    new = Counter(notes_of(named(found, "result")[0]["variations"][0])) - outside
    streamed = [(round(100 * note["onset"]), note["pitch"], note["instrument"]) for note in named(found, "note")]
    assert sorted(streamed) == sorted((note.onset, note.pitch, note.instrument) for note in new.elements())
    last = named(found, "progress")[-1]
    assert (last["seconds"], last["total_seconds"]) == (2.0, 2.0)


def test_a_seed_sent_back_alone_gives_the_same_bytes(http: httpx.Client) -> None:
    for variation in infill(http, CHORALE, **SPAN, num_variations=2, seed=1)["variations"]:
        assert infill(http, CHORALE, **SPAN, seed=variation["seed"])["variations"] == [variation]


@pytest.mark.parametrize(
    ("data", "body", "complaint"),
    [
        (CHORALE, {"start_seconds": 4}, "end_seconds is required for task 'infill'"),
        (CHORALE, {"start_seconds": 6, "end_seconds": 4}, "0.1 to 120.0 s after start_seconds, got 6.0 to 4.0"),
        (CHORALE, {"start_seconds": 6, "end_seconds": 99}, "end_seconds must be in range 0.."),
        (CHORALE, {**SPAN, "instruments": ["violine"]}, "'violin'"),
        (CHORALE, {**SPAN, "instruments": [129]}, "0..128"),
        (GAP, {"start_seconds": 150, "end_seconds": 160}, "there is nothing that it could fit"),
        (codec.write_notes([]), SPAN, "holds no notes"),
    ],
)
def test_what_cannot_be_filled_in_is_refused_with_the_reason(
    data: bytes, body: dict[str, Any], complaint: str, http: httpx.Client
) -> None:
    assert complaint in refusal(http, task="infill", midi_input=encoded(data), **body)


@pytest.mark.slow
def test_random_weights_of_smalls_shape_touch_nothing_that_is_kept(
    start: Callable[..., Service], tmp_path: Path
) -> None:
    from benchmarks.checkpoints import random_small

    own = start("--default-model", "small", "--model-small", str(random_small(tmp_path)))
    own.wait_until_ready()
    with httpx.Client(base_url=own.url, timeout=300) as http:
        outside = Counter(note for note in codec.read_notes(CASTLE) if not 400 <= note.onset < 600)
        for variation in infill(http, CASTLE, **SPAN, num_variations=2)["variations"]:
            assert Counter(notes_of(variation)) >= outside
        body = {"task": "accompany", "midi_input": encoded(CASTLE), "melody_tracks": [1], "length_seconds": 3}
        fixed = Counter(
            note
            for note, track in zip(codec.read_notes(CASTLE), find_tracks(read_score(CASTLE)).of_notes, strict=True)
            if not track
        )
        for variation in predict(http, **body, num_variations=2)["variations"]:
            assert Counter(notes_of(variation)) >= fixed
    assert own.stop() == 0


def test_a_span_that_is_left_without_new_notes_says_so(http: httpx.Client) -> None:
    held = codec.write_notes([Note(0, 3_000, 60, 0)])
    body = {"instruments": [0], "pitch_range": [60, 60], "start_seconds": 5, "end_seconds": 8}
    (variation,) = infill(http, held, **body)["variations"]
    assert (variation["num_events"], variation["flaw"]) == (1, "silent")
