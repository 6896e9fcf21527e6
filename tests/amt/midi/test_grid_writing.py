"""Notes of a grid are written on file ticks that are exact fractions of a beat, and read back at their own ticks."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amt.midi.codec import Piece, read_piece, write_notes, write_piece
from amt.midi.grid import STEPS, make_grid, spans_on
from amt.midi.notes import DRUMS, Note
from amt.midi.timing import MAX_TICKS_PER_BEAT, TempoChange, TimeSignature, Timing
from tests.amt.midi import building

divisions = st.sampled_from(list(STEPS))
bpms = st.floats(20, 300).map(lambda bpm: round(bpm, 2))


@st.composite
def notes_on_lines(draw, grid):
    """New notes that begin on lines, and end there or anywhere."""
    indices = draw(st.lists(st.integers(0, len(grid.ticks) - 2), min_size=1, max_size=12, unique=True))
    notes = []
    for number, index in enumerate(indices):
        onset = int(grid.ticks[index])
        end = draw(st.one_of(st.sampled_from(grid.ticks[index + 1 :].tolist()), st.integers(onset + 1, onset + 300)))
        notes.append(Note(onset, end - onset, 40 + number, draw(st.sampled_from([0, 33, DRUMS]))))
    return notes


def has_exact_tick(milliseconds):
    """Whether a time is not right between two ticks, where a reader may take either."""
    return abs(milliseconds % 10 - 5) > 1e-6


def beats_of(data, pitches):
    """{pitch: (onset, end)} in quarter notes as symusic reads them."""
    symusic = pytest.importorskip("symusic")
    score = symusic.Score.from_midi(data)
    return {
        note.pitch: (Fraction(note.start, score.tpq), Fraction(note.end, score.tpq))
        for track in score.tracks
        for note in track.notes
        if note.pitch in pitches
    }


def check(data, notes, grid, division):
    """Hold what is read to what was written."""
    on_lines = set(grid.ticks.tolist())
    times = dict(zip(grid.ticks.tolist(), grid.milliseconds.tolist(), strict=True))
    beats = beats_of(data, {note.pitch for note in notes})
    found = {note.pitch: note for note in read_piece(data).notes}
    for note in notes:
        start, end = beats[note.pitch]
        assert start % STEPS[division] == 0
        assert note.onset + note.duration not in on_lines or end % STEPS[division] == 0
        assert found[note.pitch].onset == note.onset or not has_exact_tick(times[note.onset])


@given(st.data(), divisions, bpms)
def test_from_nothing_at_any_tempo(data, division, bpm):
    timing = Timing().with_tempo(bpm, 24)
    grid = make_grid(timing, division, 0.5, 0, 1_000)
    notes = data.draw(notes_on_lines(grid))
    check(write_notes(notes, 1_000, timing.for_grid(), spans_on(grid.times, notes)), notes, grid, division)


@given(
    st.data(),
    divisions,
    st.sampled_from([24, 96, 100, 120, 192, 220, 384, 480, 500, 960, 1_024, 15_360]),
    st.dictionaries(st.integers(1, 40), st.integers(200_000, 1_500_000), max_size=3),
    st.sampled_from([(1, 4), (3, 4), (4, 4), (6, 8)]),
)
def test_in_a_file_with_its_own_tempo_map(data, division, ticks_per_beat, tempos, first_bar):
    events = [building.meta(0, 0x58, bytes((first_bar[0], {4: 2, 8: 3}[first_bar[1]], 24, 8)))]
    events += [building.meta(ticks_per_beat * first_bar[0] * 4 // first_bar[1], 0x58, bytes((4, 2, 24, 8)))]
    events += [building.tempo(quarter * ticks_per_beat, tempo) for quarter, tempo in tempos.items()]
    events += building.note(0, 17 * ticks_per_beat + 1, 30)
    piece = read_piece(building.song(events, division=ticks_per_beat))
    timing = piece.timing.for_grid()
    grid = make_grid(timing, division, 0.5, 300, 1_500)
    notes = data.draw(notes_on_lines(grid))
    written = write_piece(piece, piece.notes, notes, 1_500, timing, None, spans_on(grid.times, notes))
    check(written, notes, grid, division)
    assert beats_of(written, {30}) == {30: (0, Fraction(17 * ticks_per_beat + 1, ticks_per_beat))}


def test_swung_notes_are_at_the_nearest_file_tick():
    timing = Timing().with_tempo(97, 24)
    grid = make_grid(timing, "1/8", 0.61, 0, 1_000)
    notes = [Note(int(tick), 5, 60, 0) for tick in grid.ticks]
    found = read_piece(write_notes(notes, 1_000, timing.for_grid(), spans_on(grid.times, notes))).score
    assert [1_000 * time for time in found.seconds[found.pairs.on]] == pytest.approx(list(grid.milliseconds), abs=0.26)


def test_a_file_that_counts_too_finely_for_both_gets_the_nearest_file_ticks():
    timing = Timing(MAX_TICKS_PER_BEAT, (TempoChange(0, 500_000),), (TimeSignature(0, 4, 4),)).for_grid()
    grid = make_grid(timing, "1/16T", 0.5, 0, 100)
    notes = [Note(int(tick), 5, 60, 0) for tick in grid.ticks]
    found = read_piece(write_notes(notes, 100, timing, spans_on(grid.times, notes)))
    assert found.timing.ticks_per_beat == MAX_TICKS_PER_BEAT
    assert all(abs(each.onset - note.onset) <= 1 for each, note in zip(found.notes, notes, strict=True))


def test_notes_of_a_list_are_written_at_their_own_times():
    kept, new = [Note(12, 25, 60, 0), Note(33, 33, 64, 0)], [Note(100, 50, 67, 0)]
    piece = Piece(kept, Timing().for_grid(), spans=[(124.6, 374.8), (333.25, 666.5)])
    found = read_piece(write_piece(piece, kept, new, 150, piece.timing, 100)).score
    times = sorted(1_000 * float(time) for time in found.seconds[found.pairs.on])
    assert times == pytest.approx([124.6, 333.25, 1_000], abs=0.26)
    assert sorted(1_000 * found.end_seconds) == pytest.approx([374.8, 666.5, 1_500], abs=0.26)


def test_some_notes_of_a_list_are_written_at_theirs():
    listed = [Note(40, 10, 62, 0), Note(0, 10, 60, 0), Note(20, 10, 61, 0)]
    piece = Piece(listed, Timing().for_grid(), spans=[(401.5, 500), (1.5, 100), (201.5, 300)])
    found = read_piece(write_piece(piece, [listed[1], listed[0]], [], 50, piece.timing)).score
    assert [1_000 * float(time) for time in found.seconds[found.pairs.on]] == pytest.approx([1.5, 401.5], abs=0.26)
