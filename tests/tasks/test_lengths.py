"""What is asked for in bars is as long as the bars are."""

import base64
from typing import Any

import pytest

from amt.errors import ArrangementError, ConstraintError, HarmonyError
from amt.midi.notes import Note
from tests.amt.midi import building
from tests.tasks.results import answer, golden, job_of, piece_in

CHORALE = golden("chorale_001")
"""24.5 s at 120 bpm, without a time signature: it ends in bar 13."""


def signature(tick: int, numerator: int, power: int) -> building.Timed:
    return building.meta(tick, 0x58, bytes((numerator, power, 24, 8)))


WALTZ = base64.b64encode(
    building.song(
        [
            *(signature(0, 1, 2), signature(500, 3, 2), signature(3_500, 4, 2)),
            *(building.tempo(0, 500_000), building.tempo(2_000, 1_000_000)),
            *[event for tick in range(0, 7_500, 500) for event in building.note(tick, tick + 500, 60 + tick // 500)],
        ]
    )
).decode()
"""A pickup of a quarter, two bars of 3/4 of which the second is slower, and two of 4/4: from 0, 0.5, 2, 5 and 9 s."""


def span(**body: Any) -> tuple[float, float]:
    plan = job_of(**body).plan
    return plan.start_ticks / 100, plan.end_ticks / 100


def test_from_nothing_bars_are_of_the_tempo_and_the_signature() -> None:
    assert span(length_bars=4) == (0, 8)
    assert span(length_bars=4, bpm=100, time_signature="6/8") == (0, 7.2)
    assert span(length_bars=3, bpm=93) == (0, 7.74)


def test_a_prime_is_the_first_bars_of_the_input() -> None:
    assert span(task="continue", midi_input=WALTZ, prime_bars=2, length_bars=1) == (2, 3.5)
    assert span(task="continue", midi_input=WALTZ, prime_bars=3, length_bars=1)[0] == 5
    assert answer(task="continue", midi_input=WALTZ, prime_bars=2)["prime_seconds"] == 2


def test_a_prime_from_the_end_is_the_last_bars() -> None:
    def first(n: int) -> int:
        return min(
            note.onset for note in job_of(task="continue", midi_input=WALTZ, prime_from="end", prime_bars=n).plan.prompt
        )

    assert [first(n) for n in (1, 2, 3, 4, 5, 9)] == [900, 500, 200, 50, 0, 0]


def test_new_music_that_begins_within_a_bar_ends_on_a_bar_line() -> None:
    body = {"task": "continue", "midi_input": CHORALE, "prime_seconds": 5}
    assert span(**body, length_bars=2) == (5, 10)
    assert span(**body | {"prime_seconds": 4}, length_bars=2) == (4, 8)
    assert span(**body, prime_from="end", length_bars=2) == (24.5, 30)


def test_accompaniment_is_counted_in_bars_from_its_start() -> None:
    assert span(task="accompany", midi_input=WALTZ, prime_bars=1, length_bars=2) == (0.5, 5)
    assert span(task="accompany", midi_input=WALTZ, prime_bars=0, length_bars=3) == (0, 5)


def test_an_infill_is_from_bar_to_bar_or_to_the_last_note() -> None:
    assert span(task="infill", midi_input=WALTZ, start_bar=2, end_bar=4) == (0.5, 5)
    assert span(task="infill", midi_input=WALTZ, start_bar=1, end_bar=2) == (0, 0.5)
    assert span(task="infill", midi_input=CHORALE, start_bar=12, end_bar=14) == (22, 24.5)
    found = answer(task="infill", midi_input=WALTZ, start_bar=2, end_bar=4)
    assert (found["start_seconds"], found["end_seconds"]) == (0.5, 5)


def test_tempo_and_signature_of_the_request_go_before_those_of_the_input() -> None:
    body = {"task": "continue", "midi_input": WALTZ, "prime_bars": 2, "length_bars": 1}
    assert span(**body, time_signature="2/4") == (2, 3)
    assert span(**body, bpm=60) == (2, 3)
    assert span(**body, bpm=60, time_signature="2/4") == (4, 6)


def test_the_file_ends_exactly_on_the_bar_line() -> None:
    piece = piece_in(answer([Note(0, 50, 60, 0)], length_bars=3, bpm=97, grid="1/4"))
    assert piece.score
    assert set(piece.score.file.track_ends) == {12 * piece.timing.ticks_per_beat}


def test_the_answer_says_where_bars_begin() -> None:
    timing = answer(task="continue", midi_input=WALTZ, prime_from="end", length_bars=1)["timing"]
    assert timing["bars"] == [0, 0.5, 2, 5, 9, 13]
    assert (timing["bpm"], timing["time_signature"]) == (None, None)
    assert timing["tempos"] == [{"seconds": 0, "bpm": 120}, {"seconds": 2, "bpm": 60}]
    assert [(each["bar"], each["time_signature"]) for each in timing["time_signatures"]] == [
        *((1, "1/4"), (2, "3/4"), (4, "4/4"))
    ]


def test_the_answer_says_the_tempo_where_there_is_one() -> None:
    timing = answer(length_bars=2, bpm=93, time_signature="7/8")["timing"]
    assert (timing["bpm"], timing["time_signature"]) == (93, "7/8")
    assert timing["bars"] == pytest.approx([0, 3.5 * 60 / 93], abs=1e-5)
    assert [len(timing[name]) for name in ("tempos", "time_signatures")] == [1, 1]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"length_bars": 100}, "length_bars 100 lasts 200 s by the tempo .* it must be 1 to 120 s"),
        ({"length_bars": 1, "bpm": 300, "time_signature": "1/4"}, r"length_bars 1 lasts 0\.2 s .* 1 to 120 s"),
        ({"task": "continue", "midi_input": CHORALE, "prime_bars": 40}, "prime_bars 40 lasts 80 s .* 1 to 60 s"),
        ({"task": "accompany", "midi_input": CHORALE, "prime_bars": 40}, "prime_bars 40 lasts 80 s .* 0 to 60 s"),
        (
            {"task": "infill", "midi_input": CHORALE, "start_bar": 2, "end_bar": 15},
            r"end_bar must be in range 2\.\.14, for the last note of the input ends in bar 13, got 15",
        ),
    ],
)
def test_bars_that_are_too_many_or_too_few_are_told_in_seconds(body: dict[str, Any], message: str) -> None:
    with pytest.raises(ArrangementError, match=message):
        job_of(**body)


def test_the_grid_is_that_of_the_answers_timing() -> None:
    job = job_of(task="continue", midi_input=WALTZ, prime_bars=3, length_bars=1, grid="1/4")
    assert job.grid
    assert job.grid.milliseconds.tolist() == [5_000, 6_000, 7_000, 8_000]
    assert job.sequences[0].constraints.grid is not None


def test_a_grid_without_a_tempo_is_of_120_bpm_and_says_so() -> None:
    assert answer(length_seconds=2, grid="1/8")["notices"] == ["the grid is that of 120 bpm, for no bpm was sent"]
    assert answer(length_seconds=2, grid="1/8", bpm=120)["notices"] == []


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"swing": 0.6}, "swing needs a grid"),
        ({"grid_durations": True}, "grid_durations needs a grid"),
        ({"grid": "1/4", "swing": 0.6}, "only 1/8 and 1/16 can swing"),
        (
            {"task": "infill", "midi_input": CHORALE, "start_seconds": 1.1, "end_seconds": 1.3, "grid": "1/4"},
            r"grid '1/4' has no line within the new music, which lasts 0\.2 s: a finer one is needed",
        ),
    ],
)
def test_a_grid_that_cannot_be_is_refused(body: dict[str, Any], message: str) -> None:
    with pytest.raises(ConstraintError, match=message):
        job_of(**body)


def test_keys_and_chords_are_named_in_the_answer() -> None:
    found = answer(length_bars=2, bpm=120, key="a  minor", chords="Am | F C")
    assert found["key"] == "A minor"
    assert [(chord["symbol"], chord["start_bar"], chord["start_seconds"]) for chord in found["chords"]] == [
        *(("Am", 1, 0), ("F", 2, 2), ("C", 2.5, 3))
    ]
    assert {"key", "chords"}.isdisjoint(answer(length_seconds=2))


def test_chords_begin_with_the_bar_of_the_new_music_or_where_a_list_says() -> None:
    body = {"task": "continue", "midi_input": WALTZ, "prime_bars": 3, "length_bars": 2}
    assert [chord["start_bar"] for chord in answer(**body, chords="Am | F")["chords"]] == [4, 5]
    listed = [{"symbol": "F", "start_bar": 5}, {"symbol": "C", "start_seconds": 5}]
    found = answer(**body, chords=listed)["chords"]
    assert [(chord["symbol"], chord["start_seconds"]) for chord in found] == [("C", 5), ("F", 8)]


def test_what_is_kept_says_the_key_and_the_chords() -> None:
    found = answer(task="accompany", midi_input=CHORALE, key="auto", length_seconds=8)
    assert found["key"] in ("A major", "F# minor", "D major")
    assert found["chords"][0]["start_seconds"] == 0
    assert len(found["chords"]) > 4
    assert "chords" not in answer(task="accompany", midi_input=CHORALE, chords=None, length_seconds=8)


def test_nothing_that_sounds_beside_the_new_music_implies_no_chords() -> None:
    assert "chords" not in answer(task="infill", midi_input=CHORALE, start_bar=3, end_bar=5)
    drums = [{"onset": n / 2, "duration": 0.1, "pitch": 38, "instrument": "drums"} for n in range(16)]
    found = answer(task="accompany", notes=drums, key="auto")
    assert {"key", "chords"}.isdisjoint(found)
    assert found["notices"] == ["no key was found, for what is kept of the input has no pitches"]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"chords": "auto"}, "nothing does in task 'generate'"),
        ({"task": "continue", "midi_input": CHORALE, "chords": "auto"}, "nothing does in task 'continue'"),
        ({"key": "auto"}, "name a key"),
        ({"key": "H major"}, "there is no key 'H major'"),
        ({"chords": "Am | Xm"}, "chord 2, 'Xm', is not known"),
    ],
)
def test_harmony_that_cannot_be_found_is_refused(body: dict[str, Any], message: str) -> None:
    with pytest.raises(HarmonyError, match=message):
        job_of(**body)
