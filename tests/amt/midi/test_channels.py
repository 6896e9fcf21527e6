from hypothesis import given, settings
from hypothesis import strategies as st

from amt.midi.channels import MELODIC_CHANNELS, assign_channels
from amt.midi.kinds import DRUM_CHANNEL
from amt.midi.notes import DRUMS, Note

notes_by_onset = st.lists(
    st.tuples(st.integers(0, 200), st.integers(0, 60), st.integers(58, 62), st.integers(0, DRUMS)),
    max_size=80,
).map(lambda rows: [Note(*row) for row in sorted(rows)])


@settings(max_examples=100, deadline=None)
@given(notes_by_onset)
def test_the_drum_channel_has_all_drums_and_nothing_else(notes):
    for note, channel in zip(notes, assign_channels(notes), strict=True):
        assert (channel == DRUM_CHANNEL) == (note.instrument == DRUMS)
        assert channel in range(16)


def test_fifteen_instruments_have_a_channel_each():
    notes = [Note(10 * step, 10, 60, step % 15) for step in range(60)]
    channels = assign_channels(notes)
    assert [channels[step] for step in range(15)] == list(MELODIC_CHANNELS)
    assert all(channels[step] == channels[step % 15] for step in range(60))


def test_a_note_that_overlaps_another_of_its_pitch_takes_a_free_channel():
    assert assign_channels([Note(0, 20, 60, 5), Note(10, 5, 60, 5), Note(12, 5, 60, 5)]) == [0, 1, 2]


def test_a_note_that_follows_another_of_its_pitch_stays_on_the_channel():
    assert assign_channels([Note(0, 10, 60, 5), Note(10, 10, 60, 5), Note(30, 10, 60, 5)]) == [0, 0, 0]


def test_a_chord_stays_on_one_channel():
    assert assign_channels([Note(0, 10, pitch, 5) for pitch in (60, 64, 67)]) == [0, 0, 0]


def test_a_note_without_a_free_channel_stays_with_its_instrument():
    notes = [Note(0, 10, 60, instrument) for instrument in range(15)]
    assert assign_channels([*notes, Note(5, 10, 60, 7)])[-1] == assign_channels(notes)[7]


def test_the_sixteenth_instrument_takes_the_channel_that_has_been_silent_longest():
    notes = [Note(10 * instrument, 10, 60, instrument) for instrument in range(16)]
    assert assign_channels(notes)[15] == assign_channels(notes)[0]


def test_when_all_channels_sound_the_first_to_fall_silent_is_shared():
    notes = [Note(0, 100 - instrument, 60, instrument) for instrument in range(15)]
    channels = assign_channels([*notes, Note(50, 10, 72, 40)])
    assert channels[15] == channels[14]


def test_drums_take_no_melodic_channel():
    notes = [Note(0, 10, 60, instrument) for instrument in range(15)]
    assert sorted(assign_channels([Note(0, 10, 38, DRUMS), *notes])) == list(range(16))
