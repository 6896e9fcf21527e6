import pytest
from hypothesis import given
from hypothesis import strategies as st

from amt.errors import HarmonyError
from amt.harmony.keys import MODES, find_key, parse_key
from amt.midi.notes import DRUMS, Note

C_MAJOR = {0, 2, 4, 5, 7, 9, 11}


@pytest.mark.parametrize(
    ("written", "name", "pitch_classes"),
    [
        ("C major", "C major", C_MAJOR),
        ("a minor", "A minor", C_MAJOR),
        ("  A   Minor ", "A minor", C_MAJOR),
        ("C", "C major", C_MAJOR),
        ("CM", "C major", C_MAJOR),
        ("Cmaj", "C major", C_MAJOR),
        ("Am", "A minor", C_MAJOR),
        ("am", "A minor", C_MAJOR),
        ("A natural minor", "A minor", C_MAJOR),
        ("C ionian", "C ionian", C_MAJOR),
        ("D DORIAN", "D dorian", C_MAJOR),
        ("e phrygian", "E phrygian", C_MAJOR),
        ("F lydian", "F lydian", C_MAJOR),
        ("G mixolydian", "G mixolydian", C_MAJOR),
        ("A aeolian", "A aeolian", C_MAJOR),
        ("B locrian", "B locrian", C_MAJOR),
        ("Bb mixolydian", "Bb mixolydian", {10, 0, 2, 3, 5, 7, 8}),
        ("B♭m", "Bb minor", {10, 0, 1, 3, 5, 6, 8}),
        ("bb minor", "Bb minor", {10, 0, 1, 3, 5, 6, 8}),
        ("b minor", "B minor", {11, 1, 2, 4, 6, 7, 9}),
        ("F♯ major", "F# major", {6, 8, 10, 11, 1, 3, 5}),
        ("E flat major", "Eb major", {3, 5, 7, 8, 10, 0, 2}),
        ("C-sharp minor", "C# minor", {1, 3, 4, 6, 8, 9, 11}),
        ("F# harmonic minor", "F# harmonic minor", {6, 8, 9, 11, 1, 2, 5}),
        ("A melodic minor", "A melodic minor", {9, 11, 0, 2, 4, 6, 8}),
        ("C major pentatonic", "C major pentatonic", {0, 2, 4, 7, 9}),
        ("A pentatonic minor", "A minor pentatonic", {0, 2, 4, 7, 9}),
        ("B blues", "B blues", {11, 2, 4, 5, 6, 9}),
        ("C whole tone", "C whole tone", {0, 2, 4, 6, 8, 10}),
        ("Chromatic", "chromatic", set(range(12))),
    ],
)
def test_a_key_is_read_as_it_is_written(written, name, pitch_classes):
    key = parse_key(written)
    assert (key.name, key.pitch_classes) == (name, pitch_classes)


def test_every_key_but_the_chromatic_has_its_tonic():
    assert [parse_key(f"{tonic} {mode}").tonic for mode in MODES for tonic in ("C", "Eb")] == [0, 3] * len(MODES)
    assert parse_key("chromatic").tonic is None


@pytest.mark.parametrize(
    ("written", "near"),
    [("C mjaor", "'C major'"), ("H minor", "'B minor'"), ("G pentatonic", "'G major pentatonic'")],
)
def test_an_unknown_key_is_refused_with_one_that_is_near(written, near):
    with pytest.raises(HarmonyError, match=near):
        parse_key(written)


@pytest.mark.parametrize("written", ["", "b", "c", "Z", "C##", "Am7", "C " + 10_000 * "x"])
def test_what_is_no_key_or_not_clear_is_refused_in_a_short_message(written):
    with pytest.raises(HarmonyError, match="dorian") as refused:
        parse_key(written)
    assert len(str(refused.value)) < 400


@given(st.text(max_size=20))
def test_any_text_is_a_key_or_refused(text):
    try:
        key = parse_key(text)
    except HarmonyError:
        return
    assert parse_key(key.name) == key


def scale(tonic, steps):
    """Quarter notes up the scale, with the tonic held at the end."""
    return [Note(50 * i, 50, tonic + step, 0) for i, step in enumerate(steps)] + [Note(350, 200, tonic, 0)]


@pytest.mark.parametrize(
    ("tonic", "major", "minor"),
    [
        (60, "C", "C"), (61, "Db", "C#"), (62, "D", "D"), (63, "Eb", "Eb"), (64, "E", "E"), (65, "F", "F"),
        (66, "F#", "F#"), (67, "G", "G"), (68, "Ab", "G#"), (69, "A", "A"), (70, "Bb", "Bb"), (71, "B", "B"),
    ],
)  # fmt: skip
def test_the_key_of_a_scale_that_ends_on_its_tonic_is_found(tonic, major, minor):
    found = [find_key(scale(tonic, MODES[mode])) for mode in ("major", "harmonic minor")]
    assert found == [parse_key(f"{major} major"), parse_key(f"{minor} minor")]


def test_drums_have_no_key():
    assert find_key([Note(0, 50, 36, DRUMS)]) is None
    assert find_key([*scale(62, MODES["major"]), *[Note(0, 900, 37, DRUMS)] * 9]) == parse_key("D major")


def test_where_all_pitch_classes_sound_equally_long_there_is_no_key():
    assert find_key([]) is None
    assert find_key([Note(0, 10, pitch, 0) for pitch in range(60, 72)]) is None


@given(
    st.lists(st.builds(Note, st.just(0), st.integers(1, 500), st.integers(20, 90), st.just(0)), min_size=3),
    st.integers(-12, 12),
)
def test_a_transposed_piece_has_the_transposed_key(notes, semitones):
    # Uneven weights, so that no two keys fit equally well.
    notes = [*notes, *scale(60, MODES["major"])]
    key, moved = (find_key([note._replace(pitch=note.pitch + by) for note in notes]) for by in (0, semitones))
    assert moved.tonic == (key.tonic + semitones) % 12
    assert moved.name.split()[1] == key.name.split()[1]
