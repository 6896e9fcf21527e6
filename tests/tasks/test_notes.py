"""Notes as JSON go in and come out."""

import base64
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amt.errors import MidiError, NoNotesError
from amt.midi.codec import read_piece, write_notes
from amt.midi.notes import Note
from amt.midi.timing import TempoChange, Timing
from tasks import embed
from tests.tasks.bodies import problems, read
from tests.tasks.results import answer, golden, job_of, piece_in

CHORALE = golden("chorale_001")
NOTES = [
    {"onset": 1.5, "duration": 0.1, "pitch": 62, "instrument": "Violin", "velocity": 33},
    {"onset": 0, "duration": 0.3333333333, "pitch": 60},
    {"onset": 2 / 3, "duration": 1 / 3, "pitch": 38, "instrument": "drums"},
]
BOTH = {"include": ["midi", "notes"]}

sent_notes = st.lists(
    st.fixed_dictionaries(
        {
            "onset": st.floats(0, 50, allow_subnormal=False),
            "duration": st.floats(0, 20, allow_subnormal=False),
            "pitch": st.integers(0, 127),
            "instrument": st.integers(0, 128),
            "velocity": st.integers(1, 127),
        }
    ),
    min_size=1,
    max_size=12,
)


def without(found: list[dict[str, Any]], *names: str) -> list[dict[str, Any]]:
    return [{name: value for name, value in note.items() if name not in names} for note in found]


@pytest.mark.parametrize("unit", ["seconds", "beats"])
@given(sent_notes)
def test_kept_notes_come_back_with_the_very_numbers_that_were_sent(unit: str, notes: list[dict[str, Any]]) -> None:
    body = {"task": "continue", "prime_from": "end", "notes": notes, "include": ["notes"]}
    [variation] = answer(**body, time_unit=unit, bpm=97)["variations"]
    assert "midi_base64" not in variation
    assert without(variation["notes"], "is_new") == sorted(notes, key=lambda note: note["onset"])
    assert not any(note["is_new"] for note in variation["notes"])


def test_what_a_note_leaves_out_is_filled_in_and_names_become_numbers() -> None:
    [variation] = answer(task="continue", notes=NOTES, prime_seconds=2, include=["notes"])["variations"]
    found = [(note["pitch"], note["instrument"], note["velocity"]) for note in variation["notes"]]
    assert found == [(60, 0, 80), (38, 128, 80), (62, 40, 33)]
    assert variation["num_events"] == 3


def test_notes_are_written_to_the_file_at_their_own_times() -> None:
    score = piece_in(answer(task="continue", notes=NOTES, prime_seconds=2)).score
    assert score
    onsets = score.seconds[score.pairs.on]
    assert sorted(onsets) == pytest.approx([0, 2 / 3, 1.5], abs=2.6e-4)
    assert sorted(score.end_seconds - onsets) == pytest.approx([0.1, 1 / 3, 1 / 3], abs=5.1e-4)


def test_triplets_in_beats_are_on_file_ticks_exactly() -> None:
    notes = [{"onset": n / 3, "duration": 1 / 3, "pitch": 60} for n in range(7)]
    piece = piece_in(answer(task="continue", notes=notes, time_unit="beats", bpm=93, prime_seconds=2))
    assert piece.score
    ticks = piece.score.messages.tick[piece.score.pairs.on].tolist()
    assert ticks == [n * piece.timing.ticks_per_beat // 3 for n in range(len(ticks))]
    assert len(ticks) > 5


def test_the_notes_of_an_answer_can_be_sent_as_they_are() -> None:
    new = [Note(250, 50, 64, 40, 90)]
    body = {"task": "continue", "include": ["notes"], "prime_seconds": 2}
    first = answer(new, **body, midi_input=CHORALE)["variations"][0]["notes"]
    second = answer(**body | {"prime_from": "end"}, notes=first)["variations"][0]["notes"]
    assert without(second, "is_new") == without(first, "is_new")
    assert sum(note["is_new"] for note in first) == 1


def test_notes_of_a_file_are_in_seconds_of_10_ms_or_in_its_own_beats() -> None:
    timing = Timing(480, (TempoChange(0, 650_000), TempoChange(960, 500_000)))
    data = write_notes([Note(0, 65, 60, 0), Note(130, 50, 62, 0), Note(163, 17, 64, 0)], 180, timing)
    encoded = base64.b64encode(data).decode()
    file = {"task": "continue", "prime_from": "end", "midi_input": encoded, "include": ["notes"]}
    in_seconds = answer(**file)["variations"][0]["notes"]
    in_beats = answer(**file, time_unit="beats")["variations"][0]["notes"]
    assert [(note["onset"], note["duration"]) for note in in_seconds] == [(0, 0.65), (1.3, 0.5), (1.63, 0.17)]
    assert [(note["onset"], note["duration"]) for note in in_beats[:2]] == [(0, 1), (2, 1)]
    ticks = read_piece(data)
    assert ticks.score
    assert in_beats[2]["onset"] == ticks.score.messages.tick[ticks.score.pairs.on[2]] / ticks.timing.ticks_per_beat


def test_with_another_tempo_beats_are_those_of_the_answer() -> None:
    body = {"task": "continue", "prime_from": "end", "midi_input": CHORALE, "time_unit": "beats", "include": ["notes"]}
    slow = answer(**body, bpm=60)["variations"][0]["notes"]
    own = answer(**body)["variations"][0]["notes"]
    assert [note["onset"] for note in slow] == [note["onset"] / 2 for note in own]


def test_new_notes_on_the_grid_are_told_exactly_and_written_there() -> None:
    body = {"length_seconds": 2, "bpm": 120, "grid": "1/16", "include": ["midi", "notes"]}
    [new] = answer([Note(12, 26, 60, 0)], **body)["variations"][0]["notes"]
    assert (new["onset"], new["duration"], new["is_new"]) == (0.125, 0.25, True)
    [new] = answer([Note(12, 26, 60, 0)], **body, time_unit="beats")["variations"][0]["notes"]
    assert (new["onset"], new["duration"]) == (0.25, 0.5)
    piece = piece_in(answer([Note(12, 26, 60, 0)], **body))
    assert piece.score
    assert piece.score.messages.tick[piece.score.pairs.on[0]] * 4 == piece.timing.ticks_per_beat


@pytest.mark.parametrize("task", ["continue", "accompany", "infill"])
def test_new_notes_join_those_that_were_sent(task: str) -> None:
    notes = [{"onset": n / 2, "duration": 0.5, "pitch": 60 + n} for n in range(8)]
    span = {"start_bar": 1, "end_bar": 2} if task == "infill" else {}
    found = answer([Note(170, 10, 90, 5)], task=task, notes=notes, prime_seconds=1.5, **span, **BOTH)
    [variation] = found["variations"]
    assert [(note["onset"], note["pitch"]) for note in variation["notes"] if note["is_new"]] == [(1.7, 90)]
    read_back = [(note.onset / 100, note.pitch, note.instrument) for note in piece_in(found).notes]
    assert sorted(read_back) == [(note["onset"], note["pitch"], note["instrument"]) for note in variation["notes"]]


@pytest.mark.parametrize(
    ("note", "problem"),
    [
        ({"pitch": 128}, ("pitch", "pitch must be in range 0..127, got 128")),
        ({"pitch": 60.5}, ("pitch", "pitch must be a whole number in range 0..127, got 60.5")),
        ({"velocity": 0}, ("velocity", "velocity must be in range 1..127, got 0")),
        ({"onset": -1}, ("onset", "onset must be in range 0.0..86400.0, got -1")),
        ({"duration": "1"}, ("duration", "duration must be a number in range 0.0..86400.0, got '1'")),
        ({"instrument": 129}, ("instrument", "an instrument's number must be in range 0..128 (128: drums), got 129")),
        ({"instrument": "strings"}, ("instrument", "General MIDI name of one, got 'strings'")),
        ({"instrument": "violn"}, ("instrument", "did you mean 'violin'")),
        ({"tone": 1}, ("a note is an object of onset, duration, pitch, instrument, velocity, is_new, got 'tone'",)),
    ],
)
def test_what_is_wrong_with_a_note_says_which_one(note: dict[str, Any], problem: tuple[str, ...]) -> None:
    fine = {"onset": 0, "duration": 1, "pitch": 60}
    [(*where, message)] = problems({"task": "continue", "notes": [fine, fine | note, fine | note]})
    assert where == ["notes", 1, *problem[:-1]]
    assert problem[-1] in message


def test_of_notes_there_is_a_largest_number_and_a_latest_time() -> None:
    note = {"onset": 0, "duration": 1, "pitch": 60}
    [(where, message)] = problems({"task": "continue", "notes": [note] * 20_001})
    assert (where, "at most 20000 items" in message) == ("notes", True)
    with pytest.raises(MidiError, match="last 48 hours: at most 24"):
        job_of(task="continue", notes=[{**note, "onset": 86_399}], bpm=30, time_unit="beats")


@pytest.mark.parametrize("task", ["continue", "accompany"])
def test_no_notes_are_refused(task: str) -> None:
    with pytest.raises(NoNotesError, match="the input holds no notes"):
        job_of(task=task, notes=[], prime_bars=1)
    with pytest.raises(NoNotesError, match="the input holds no notes"):
        job_of(task="infill", notes=[], start_bar=1, end_bar=2)


def test_notes_are_embedded_like_the_file_that_holds_them() -> None:
    notes = [Note(0, 50, 60, 0), Note(50, 25, 64, 40)]
    sent = [
        {"onset": n.onset / 50, "duration": n.duration / 50, "pitch": n.pitch, "instrument": n.instrument}
        for n in notes
    ]
    data = base64.b64encode(write_notes(notes)).decode()
    bodies = {"time_unit": "beats", "notes": sent}, {"midi_input": data}
    jobs = [embed.decode_request(read(task="embed", **body), "tiny", {}, streams=False) for body in bodies]
    of_notes, of_file = (job.excerpts[0].windows[0].events for job in jobs)
    assert of_notes.tolist() == of_file.tolist()
