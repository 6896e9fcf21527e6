import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from amt.arranging.velocity import MAX_OFFSET, VelocityContext, VelocityShaper
from amt.midi.codec import read_notes
from amt.midi.notes import DEFAULT_VELOCITY, DRUMS, Note
from tests.conftest import GOLDEN

PIECE = sorted(read_notes((GOLDEN / "midi/easyrpg_castle1.mid").read_bytes()))[:600]

notes = st.lists(
    st.builds(
        Note,
        st.integers(0, 300),
        st.integers(0, 100),
        st.integers(0, 127),
        st.sampled_from([0, 48, DRUMS]),
        st.integers(1, 127),
    ),
    max_size=30,
).map(sorted)


def shaped(new, kept=(), velocity=None, seed=0):
    velocity_shaper = VelocityShaper(VelocityContext(kept), velocity, seed)
    return [velocity_shaper.shape(note) for note in new]


def velocities(new, *args, **named):
    return [note.velocity for note in shaped(new, *args, **named)]


def line(instrument=0, n_notes=40, velocity=72, start=0):
    return [Note(start + 25 * step, 20, 60, instrument, velocity) for step in range(n_notes)]


def test_every_new_note_has_the_requested_velocity():
    assert set(velocities(PIECE, line(velocity=20), velocity=80)) == {80}


@settings(max_examples=40, deadline=None)
@given(notes, notes, st.integers(0, 2**63 - 1))
def test_only_velocities_change_and_all_are_legal(new, kept, seed):
    found = shaped(new, kept, seed=seed)
    assert [note[:-1] for note in found] == [note[:-1] for note in new]
    assert all(1 <= note.velocity <= 127 for note in found)


@settings(max_examples=40, deadline=None)
@given(notes, notes)
def test_a_velocity_does_not_depend_on_later_notes(new, kept):
    whole = shaped(new, kept)
    for end in (len(new) // 3, len(new) // 2):
        assert shaped(new[:end], kept) == whole[:end]


@settings(max_examples=40, deadline=None)
@given(notes, notes, st.randoms(use_true_random=False))
def test_the_order_of_simultaneous_notes_does_not_matter(new, kept, rng):
    mixed = sorted(rng.sample(new, len(new)), key=lambda note: note.onset)
    assert sorted(shaped(mixed, kept)) == sorted(shaped(new, kept))


def test_the_seed_makes_a_small_difference():
    first, again, other = (np.array(velocities(PIECE, seed=seed)) for seed in (1, 1, 2))
    assert first.tolist() == again.tolist() != other.tolist()
    assert np.abs(first - other).mean() < 4


def test_without_kept_notes_velocities_vary_a_little_around_72():
    levels = np.array(velocities(PIECE))
    assert abs(levels.mean() - DEFAULT_VELOCITY) < 4
    assert 2 < levels.std() < 6
    assert np.abs(levels - DEFAULT_VELOCITY).max() <= MAX_OFFSET + 8


def test_among_kept_notes_of_one_velocity_new_notes_have_that_velocity():
    new = [note._replace(instrument=0) for note in PIECE]
    assert set(velocities(new, line(velocity=101))) == {101}


def test_among_kept_notes_of_varied_velocity_new_notes_vary_around_their_average():
    kept = [note._replace(velocity=50 + 20 * (index % 2)) for index, note in enumerate(line())]
    levels = np.array(velocities([note._replace(instrument=0) for note in PIECE if note.onset > 1_000], kept))
    assert abs(levels.mean() - 60) < 4
    assert levels.std() > 2


def test_the_nearest_kept_notes_decide_the_velocity():
    kept = line(velocity=30) + line(velocity=110, start=10_000)
    assert set(velocities(line(start=1_000, n_notes=8), kept)) == {30}
    assert set(velocities(line(start=9_000, n_notes=8), kept)) == {110}


def test_each_drum_is_as_loud_as_the_kept_hits_of_the_same_drum():
    kept = [Note(25 * step, 5, pitch, DRUMS, level) for step in range(20) for pitch, level in ((38, 100), (42, 40))]
    assert velocities([Note(600, 5, 42, DRUMS), Note(600, 5, 38, DRUMS)], kept) == [40, 100]


def test_a_new_instrument_is_about_as_loud_as_the_kept_ones():
    levels = np.array(velocities(line(instrument=40, start=1_000), line(velocity=45)))
    assert abs(levels.mean() - 45) < 4


def test_pads_and_hi_hats_are_softer_than_leads_and_snares():
    lead, pad = (np.mean(velocities(line(instrument))) for instrument in (80, 90))
    snare, hat = (np.mean(velocities([Note(25 * i, 5, drum, DRUMS) for i in range(40)])) for drum in (38, 42))
    assert lead - pad > 4
    assert snare - hat > 4


def test_the_top_of_a_chord_is_louder_than_its_bottom():
    chords = [Note(60 * step, 50, pitch, 0) for step in range(30) for pitch in (48, 60, 72)]
    levels = np.array(velocities(chords)).reshape(30, 3)
    assert (levels[1:, 0] < levels[1:, 2]).all()
    assert (levels[1:, 2] - levels[1:, 0] <= 9).all()


def test_notes_on_the_beat_are_louder_than_notes_off_the_beat():
    swung = [Note(60 * step + late, 10, 60, 0) for step in range(60) for late in (0, 40) if late == 0 or step % 2]
    found = shaped(swung)[20:]
    on, off = ([note.velocity for note in found if note.onset % 60 == late] for late in (0, 40))
    assert np.mean(on) - np.mean(off) > 3
