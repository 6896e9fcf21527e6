import pytest

from amt.instruments import NAMES, instrument_name
from amt.vocab import DRUMS, N_INSTRUMENTS


def test_every_instrument_has_a_name_of_its_own():
    assert len(set(NAMES)) == N_INSTRUMENTS


@pytest.mark.parametrize(
    ("program", "name"),
    [
        # The first program of some families, and the last of all, by the table of General MIDI Level 1.
        (0, "Acoustic Grand Piano"),
        (8, "Celesta"),
        (24, "Acoustic Guitar (nylon)"),
        (40, "Violin"),
        (56, "Trumpet"),
        (73, "Flute"),
        (80, "Lead 1 (square)"),
        (104, "Sitar"),
        (127, "Gunshot"),
        (DRUMS, "Drums"),
    ],
)
def test_names_stand_at_their_general_midi_programs(program, name):
    assert instrument_name(program) == name


def test_names_can_be_written_in_a_track_name():
    assert all(name == name.strip() and name.isascii() for name in NAMES)
