import pytest

from amt.errors import InstrumentError
from amt.midi.instruments import NAMES, find_instruments, instrument_name
from amt.midi.notes import DRUMS, N_INSTRUMENTS


def test_no_two_instruments_have_the_same_name():
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
def test_names_are_those_of_the_general_midi_programs(program, name):
    assert instrument_name(program) == name


def test_names_can_be_written_in_a_track_name():
    assert all(name == name.strip() and name.isascii() for name in NAMES)


@pytest.mark.parametrize(
    ("wanted", "instruments"),
    [
        (32, {32}),
        (128, {DRUMS}),
        ("Acoustic Bass", {32}),
        (" acoustic  bass", {32}),
        ("drums", {DRUMS}),
        ("strings", set(range(40, 48))),
        ("Piano", set(range(8))),
    ],
)
def test_an_instrument_is_found_by_number_name_and_family(wanted, instruments):
    assert find_instruments(wanted) == instruments


@pytest.mark.parametrize(("wanted", "nearest"), [("acustic bass", "'acoustic bass'"), ("violins", "'violin'")])
def test_an_unknown_name_is_refused_with_the_nearest_name(wanted, nearest):
    with pytest.raises(InstrumentError, match=f"no instrument '{wanted}': did you mean {nearest}"):
        find_instruments(wanted)


@pytest.mark.parametrize("wanted", [-1, 129])
def test_an_unknown_number_is_refused_with_the_range(wanted):
    with pytest.raises(InstrumentError, match=r"range 0\.\.128"):
        find_instruments(wanted)
