from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amt.harmony.analysis import find_chords
from amt.harmony.keys import MODES, find_key
from amt.harmony.symbols import NO_CHORD, parse_symbol
from amt.midi.notes import DRUMS, Note

BEAT = 50

SCALE = [60, 62, 64, 65, 67, 69, 71, 72, 71, 69, 67, 65, 64, 62, 60, 60]

ALL_IN_C = [Note(0, 400, pitch, 0) for pitch in (48, 52, 55)]


def chords_of(notes, end=None):
    """The chords of notes at 120 bpm in 4/4."""
    end = end or max(note.onset + note.duration for note in notes)
    beats, bars = [*range(0, end, BEAT), end], [*range(0, end, 4 * BEAT), end]
    return find_chords(notes, beats, bars)


def named(spans):
    return [(span.start_ticks, span.symbol) for span in spans]


def block_chords(symbols, length=4 * BEAT):
    """Chords in root position, each for some ticks."""
    notes = []
    for number, symbol in enumerate(symbols):
        notes += [Note(number * length, length, 48 + pitch_class, 0) for pitch_class in parse_symbol(symbol)]
    return notes


def line(pitches, length=BEAT):
    return [Note(number * length, length, pitch, 0) for number, pitch in enumerate(pitches)]


melodies = st.lists(
    st.tuples(st.integers(1, 8), st.sampled_from(MODES["major"]), st.integers(4, 6)), min_size=4, max_size=40
).map(
    lambda steps: [
        Note(25 * sum(step[0] for step in steps[:number]), 25 * length, 12 * octave + degree, number % 2)
        for number, (length, degree, octave) in enumerate(steps)
    ]
)

anything = st.lists(
    st.builds(Note, st.integers(0, 3_000), st.integers(0, 400), st.integers(0, 127), st.sampled_from([0, 40, DRUMS])),
    max_size=30,
)


@pytest.mark.parametrize(
    "symbols",
    [
        ["C", "F", "G7", "C"],
        ["Am", "F", "C", "G"],
        ["Dm", "Bm7b5", "E7", "Am"],
        ["Eb", "Ab", "Bb7", "Eb"],
        ["F#m", "C#7", "F#m", "Bm"],
        ["E", "B", "C#m", "A"],
        ["C", "Am7", "Dm7", "G7"],
    ],
)
@pytest.mark.parametrize("length", [2 * BEAT, 4 * BEAT])
def test_the_chords_of_block_chords_are_these_spelled_as_in_their_key(symbols, length):
    expected = [(number * length, symbol) for number, symbol in enumerate(symbols)]
    assert named(chords_of(block_chords(symbols, length))) == expected


def test_arpeggios_are_heard_as_their_chords():
    notes = line([48, 52, 55, 60, 55, 52, 55, 52, 53, 57, 60, 65, 60, 57, 60, 57, 47, 50, 55, 59, 55, 50, 55, 50], 25)
    assert named(chords_of(notes)) == [(0, "C"), (200, "F"), (400, "G")]


def test_the_scale_of_c_has_a_few_of_its_commonest_chords_and_not_one_for_each_note():
    spans = chords_of(line(SCALE))
    assert {span.symbol for span in spans} <= {"C", "F", "G", "Am"}
    assert 3 <= len(spans) <= len(SCALE) / 2


def test_a_folk_song_is_harmonised_by_tonic_subdominant_and_dominant():
    # Twinkle, twinkle: two quarters a pitch, the last of each line is a half.
    notes = line([60, 60, 67, 67, 69, 69, 67, 67, 65, 65, 64, 64, 62, 62, 60, 60])
    spans = chords_of(notes)
    assert {span.symbol for span in spans} == {"C", "F", "G"}
    assert named(spans)[0] == (0, "C")
    assert named(spans)[-1] == (700, "C")
    assert all(note.pitch % 12 in sounding(spans, note.onset).pitch_classes for note in notes)


def sounding(spans, tick):
    return next(span for span in reversed(spans) if span.start_ticks <= tick)


def test_chords_are_found_where_the_beats_mean_nothing():
    played = [0, 143, 331, 478, 655, 822, 985, 1_170, 1_352]
    symbols = ["C", "F", "G", "C", "Am", "F", "G", "C"]
    notes = [
        Note(start + 2 * spread, end - start - 10, 48 + pitch_class, 0)
        for (start, end), symbol in zip(pairwise(played), symbols, strict=True)
        for spread, pitch_class in enumerate(sorted(parse_symbol(symbol)))
    ]
    assert named(chords_of(notes)) == list(zip(played, symbols, strict=False))


def test_nothing_is_found_without_pitched_notes():
    assert chords_of([], end=400) == ()
    assert chords_of([Note(0, 50, 36, DRUMS)]) == ()


def test_drums_change_nothing():
    notes = block_chords(["Am", "F", "C", "G"])
    drums = [Note(25 * n, 25, 36 + n % 7, DRUMS) for n in range(32)]
    assert chords_of(notes + drums) == chords_of(notes)


def test_a_chord_lasts_through_a_short_silence_and_not_through_a_long_one():
    again = [note._replace(onset=800) for note in ALL_IN_C]
    assert named(chords_of(ALL_IN_C + again)) == [(0, "C")]
    again = [note._replace(onset=801) for note in ALL_IN_C]
    assert named(chords_of(ALL_IN_C + again)) == [(0, "C"), (400, NO_CHORD), (801, "C")]
    assert named(chords_of(ALL_IN_C, end=800)) == [(0, "C")]
    assert named(chords_of(ALL_IN_C, end=850)) == [(0, "C"), (400, NO_CHORD)]
    late = [note._replace(onset=450) for note in ALL_IN_C]
    assert named(chords_of(late)) == [(0, NO_CHORD), (450, "C")]
    late = [note._replace(onset=100) for note in ALL_IN_C]
    assert named(chords_of(late)) == [(0, "C")]


def test_notes_after_the_last_beat_count_too():
    notes = block_chords(["C", "F", "G", "C"])
    assert find_chords(notes, [0, 50, 100, 150, 200], [0, 200])[0].symbol == "C"


def test_without_a_key_there_are_chords():
    notes = [Note(50 * pitch_class, 50, 60 + pitch_class, 0) for pitch_class in range(12)]
    assert find_key(notes) is None
    assert chords_of(notes)


@given(anything)
def test_chords_cover_time_from_zero_on_in_order_and_are_what_their_symbols_say(notes):
    spans = chords_of(notes, end=3_500)
    assert bool(spans) == any(note.instrument != DRUMS for note in notes)
    assert [span.start_ticks for span in spans[:1]] == [0] * bool(spans)
    assert all(a.start_ticks < b.start_ticks and a[1:] != b[1:] for a, b in pairwise(spans))
    assert all(parse_symbol(span.symbol) == span.pitch_classes for span in spans)


@given(anything, st.randoms())
def test_the_order_of_the_notes_does_not_matter(notes, random):
    shuffled = random.sample(notes, len(notes))
    assert chords_of(shuffled, end=3_500) == chords_of(notes, end=3_500)


@given(melodies, st.integers(-12, 12))
def test_a_transposed_piece_has_the_transposed_chords(notes, semitones):
    notes = [*notes, *line(SCALE)]  # so that no two keys fit equally well
    moved = [note._replace(pitch=note.pitch + semitones) for note in notes]
    spans, moved_spans = chords_of(notes), chords_of(moved)
    assert [span.start_ticks for span in moved_spans] == [span.start_ticks for span in spans]
    assert [span.pitch_classes for span in moved_spans] == [
        {(pitch_class + semitones) % 12 for pitch_class in span.pitch_classes} for span in spans
    ]


@given(melodies)
def test_what_is_played_again_has_the_same_chords_again(notes):
    # The whole ends with a chord of a bar, which the beginning of the next cannot change.
    length = -(-max(note.onset + note.duration for note in notes) // 200) * 200
    phrase = [*notes, *[Note(length, 400, pitch, 0) for pitch in (36, 48, 52, 55, 60)]]
    length += 400
    spans = chords_of([note._replace(onset=note.onset + n * length) for n in range(3) for note in phrase])
    second, third = ([(at, sounding(spans, n * length + at).symbol) for at in range(0, length, 25)] for n in (1, 2))
    assert second == third
