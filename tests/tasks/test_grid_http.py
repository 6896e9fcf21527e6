"""New notes of a grid are on its lines in every task, in JSON and in the file."""

import base64
from typing import Any

import httpx
import pytest

from amt.midi.codec import Piece, read_piece
from tests.conftest import Service
from tests.tasks.results import golden

CASTLE = golden("easyrpg_castle1")
SENT = [{"onset": n / 3, "duration": 0.3, "pitch": 60 + n % 7, "instrument": n % 2 * 33} for n in range(60)]
FROM = {
    "generate": {"length_bars": 4},
    "continue": {"notes": SENT, "prime_bars": 2, "length_bars": 2},
    "accompany": {"notes": SENT, "instruments": ["piano", "drums"]},
    "infill": {"notes": SENT, "start_bar": 6, "end_bar": 8},
}


def answer(service: Service, **body: Any) -> tuple[list[dict[str, Any]], Piece]:
    """(notes, file) of the first variation."""
    body = {"include": ["midi", "notes"], "time_unit": "beats", "bpm": 97, "seed": 3, **body}
    response = httpx.post(f"{service.url}/predict", json=body, timeout=120)
    assert response.status_code == 200, response.text
    variation = response.json()["variations"][0]
    return variation["notes"], read_piece(base64.b64decode(variation["midi_base64"]))


def onsets_in_file(piece: Piece, first_beat: float) -> list[float]:
    """Of all notes from a beat on, in quarter notes."""
    assert piece.score
    ticks = piece.score.messages.tick[piece.score.pairs.on] / piece.timing.ticks_per_beat
    return sorted(float(tick) for tick in ticks if tick >= first_beat - 1e-6)


@pytest.mark.parametrize("task", FROM)
def test_new_notes_begin_on_lines(task: str, service: Service) -> None:
    notes, piece = answer(service, task=task, time_signature="3/4", grid="1/8T", **FROM[task])
    new = [note for note in notes if note["is_new"]]
    assert len(new) > 3
    assert [round(3 * note["onset"], 6) % 1 for note in new] == [0] * len(new)
    assert len(piece.notes) == len(notes)
    if task in ("generate", "continue"):  # here nothing but new notes is from the first of them on
        first = new[0]["onset"]
        assert onsets_in_file(piece, first) == pytest.approx([note["onset"] for note in new], abs=1e-8)


def test_they_end_there_too_if_asked_for(service: Service) -> None:
    notes, piece = answer(service, length_bars=4, grid="1/16", grid_durations=True, swing=0.6)
    pairs = {0.0, 0.3, 0.5, 0.8}
    assert notes
    assert {round(note["onset"] % 1, 6) for note in notes} <= pairs
    assert {round((note["onset"] + note["duration"]) % 1, 6) % 1 for note in notes} <= pairs
    assert piece.length_ticks == pytest.approx(16 * 60 / 97 * 100, abs=1)


def test_the_grid_of_a_file_is_that_of_its_tempo_map(service: Service) -> None:
    body = {"task": "continue", "midi_input": CASTLE, "prime_bars": 2, "length_bars": 2, "bpm": None, "grid": "1/8"}
    notes, piece = answer(service, **body)
    new = [note["onset"] for note in notes if note["is_new"]]
    assert len(new) > 3
    assert [2 * onset % 1 for onset in new] == [0] * len(new)
    assert set(new) <= set(onsets_in_file(piece, 0))
