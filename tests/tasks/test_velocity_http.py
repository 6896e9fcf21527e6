"""Velocities, tempo and time signatures, over HTTP."""

import base64
import io
import json
from typing import Any

import httpx
import mido
import pytest

from amt.midi import codec
from amt.midi.notes import Note
from amt.midi.timing import TempoChange, TimeSignature, Timing
from tests.conftest import GOLDEN, Service

CASTLE = (GOLDEN / "midi/easyrpg_castle1.mid").read_bytes()
WALTZ = Timing(
    480,
    (TempoChange(0, 500_000), TempoChange(1_440, 600_000), TempoChange(4_800, 250_000)),
    (TimeSignature(0, 3, 4), TimeSignature(2_880, 6, 8, 36), TimeSignature(4_800, 2, 4)),
)
"""What comes at file tick 4,800 comes after 5.7 s."""


def encoded(data: bytes) -> str:
    return base64.b64encode(data).decode()


def waltz() -> bytes:
    notes = [Note(50 * beat, 45, 60 + beat % 12, 0, 40 + 5 * (beat % 3)) for beat in range(20)]
    return codec.write_notes(notes, timing=WALTZ)


def variations(service: Service, **body: Any) -> list[bytes]:
    answer = httpx.post(f"{service.url}/predict", json=body, timeout=120)
    assert answer.status_code == 200, answer.text
    return [base64.b64decode(each["midi_base64"]) for each in answer.json()["variations"]]


def streamed(service: Service, **body: Any) -> tuple[list[list[Note]], list[bytes]]:
    """(the notes of each variation's `note` events, the files of the result)."""
    answer = httpx.post(f"{service.url}/predict/stream", json=body, timeout=120)
    events = [event.split("\n") for event in answer.text.strip().split("\n\n")]
    named = [(name.removeprefix("event: "), json.loads(data.removeprefix("data: "))) for name, data in events]
    files = [base64.b64decode(each["midi_base64"]) for each in named[-1][1]["variations"]]
    notes: list[list[Note]] = [[] for _ in files]
    for name, data in named:
        if name == "note":
            times = (round(100 * data[name]) for name in ("onset", "duration"))
            notes[data["variation"]].append(Note(*times, *(data[name] for name in ("pitch", "instrument", "velocity"))))
    return notes, files


def test_the_prime_keeps_velocities_tempo_map_and_time_signatures(service: Service) -> None:
    data = waltz()
    body = {"task": "continue", "midi_input": encoded(data), "prime_seconds": 5, "length_seconds": 5, "seed": 3}
    [continued] = variations(service, **body)
    prime = [note for note in codec.read_notes(data) if note.onset < 500]
    assert [note for note in sorted(codec.read_notes(continued)) if note.onset < 500][: len(prime)] == prime
    timing = codec.read_piece(continued).timing
    finer = timing.ticks_per_beat // 480
    assert [(tick / finer, tempo) for tick, tempo in timing.tempos] == list(WALTZ.tempos[:2])
    assert [(tick / finer, *bar) for tick, *bar in timing.signatures] == list(WALTZ.signatures[:2])
    assert mido.MidiFile(file=io.BytesIO(continued)).length == pytest.approx(10.0, abs=0.001)


@pytest.mark.parametrize("task", ["generate", "continue"])
def test_streamed_velocities_are_those_of_the_result(task: str, service: Service) -> None:
    notes, files = streamed(
        service, task=task, midi_input=encoded(CASTLE), prime_seconds=3, length_seconds=3, num_variations=2, seed=8
    )
    for told, data in zip(notes, files, strict=True):
        start = 300 if task == "continue" else 0
        new = [note for note in codec.read_notes(data) if note.onset >= start]
        assert sorted(note[:1] + note[2:] for note in told) == sorted(note[:1] + note[2:] for note in new)
        assert len({note.velocity for note in told}) > 3


def test_a_seed_gives_the_same_velocities_alone_and_beside_others(service: Service) -> None:
    files = variations(service, length_seconds=3, seed=20, num_variations=2)
    assert variations(service, length_seconds=3, seed=21) == [files[1]]


def test_a_velocity_asked_for_is_that_of_all_new_notes_and_only_of_them(service: Service) -> None:
    body = {"task": "continue", "midi_input": encoded(waltz()), "prime_seconds": 5, "length_seconds": 5, "seed": 3}
    shaped, flat = (codec.read_notes(variations(service, **body, **more)[0]) for more in ({}, {"velocity": 80}))
    assert [note[:-1] for note in shaped] == [note[:-1] for note in flat]
    assert {note.velocity for note in flat if note.onset >= 500} == {80}
    assert {note.velocity for note in flat if note.onset < 500} == {40, 45, 50}


@pytest.mark.parametrize("task", ["generate", "continue"])
def test_a_tempo_moves_no_note(task: str, service: Service) -> None:
    body = {"task": task, "midi_input": encoded(waltz()), "length_seconds": 5, "seed": 3}
    plain, paced = (variations(service, **body, **more)[0] for more in ({}, {"bpm": 87.5}))
    assert sorted(codec.read_notes(paced)) == sorted(codec.read_notes(plain))
    timing = codec.read_piece(paced).timing
    assert timing.tempos == (TempoChange(0, 685_714),)
    assert [bar[1:3] for bar in timing.signatures] == ([(3, 4)] if task == "continue" else [])


@pytest.mark.parametrize(
    ("body", "complaint"),
    [
        ({"velocity": 0}, "velocity must be 'auto' or a whole number in range 1..127, got 0"),
        ({"velocity": 128}, "velocity must be 'auto' or a whole number in range 1..127, got 128"),
        ({"velocity": 64.5}, "velocity must be 'auto' or a whole number in range 1..127, got 64.5"),
        ({"velocity": "loud"}, "velocity must be 'auto' or a whole number in range 1..127, got 'loud'"),
        ({"velocity": True}, "velocity must be 'auto' or a whole number in range 1..127, got true"),
        ({"bpm": 19}, "bpm must be in range 20.0..300.0, got 19"),
        ({"bpm": 301}, "bpm must be in range 20.0..300.0, got 301"),
        ({"bpm": "120"}, "bpm must be a number in range 20.0..300.0, got '120'"),
    ],
)
def test_a_wrong_velocity_or_tempo_is_refused_with_what_is_allowed(
    body: dict[str, Any], complaint: str, service: Service
) -> None:
    answer = httpx.post(f"{service.url}/predict", json=body)
    assert (answer.status_code, [problem["msg"] for problem in answer.json()["detail"]]) == (422, [complaint])
