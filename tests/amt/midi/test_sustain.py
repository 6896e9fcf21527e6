"""With sustain "apply", notes last as long as the pedal holds them."""

import pytest

from amt.midi.codec import read_piece, write_piece
from tests.amt.midi.building import body, control, note, on, song
from tests.amt.midi.hearing import Hearing

PEDAL = 64


def lengths(*tracks):
    """(onset, duration, pitch) in milliseconds, as the pedal holds the notes."""
    piece = read_piece(song(*tracks), sustained=True)
    return [(10 * each.onset, 10 * each.duration, each.pitch) for each in piece.notes]


def test_a_note_that_ends_while_the_pedal_is_down_lasts_until_it_goes_up():
    track = [
        control(0, PEDAL, 127),
        *note(0, 250, 60),
        *note(500, 750, 64),
        control(2_000, PEDAL, 0),
        *note(2_100, 2_500, 67),
    ]
    assert lengths(track) == [(0, 2_000, 60), (500, 1_500, 64), (2_100, 400, 67)]


def test_it_ends_when_its_key_is_struck_again():
    track = [control(0, PEDAL, 127), *note(0, 250, 60), *note(500, 750, 60), control(2_000, PEDAL, 0)]
    assert lengths(track) == [(0, 500, 60), (500, 1_500, 60)]


def test_a_pedal_that_stays_down_holds_until_the_piece_ends():
    assert lengths(body(control(0, PEDAL, 127), note(0, 250, 60), note(500, 800, 64), end=1_000)) == [
        (0, 1_000, 60),
        (500, 500, 64),
    ]


def test_a_pedal_that_goes_down_with_the_end_of_a_note_does_not_catch_it():
    off_first = [*note(0, 500, 60), control(500, PEDAL, 127), control(900, PEDAL, 0)]
    pedal_first = [control(500, PEDAL, 127), *note(0, 500, 60), control(900, PEDAL, 0)]
    assert lengths(off_first) == [(0, 500, 60)]
    assert lengths(pedal_first) == [(0, 900, 60)]


@pytest.mark.parametrize("value", [0, 1, 63])
def test_below_64_the_pedal_is_up(value):
    assert lengths([control(0, PEDAL, value), *note(0, 250, 60), control(500, PEDAL, 0)]) == [(0, 250, 60)]


def test_a_reset_of_all_controllers_lifts_the_pedal():
    assert lengths([control(0, PEDAL, 127), *note(0, 250, 60), control(700, 121, 0)]) == [(0, 700, 60)]


def test_the_pedal_is_of_its_channel_and_holds_no_drums():
    track = [control(0, PEDAL, 127), control(0, PEDAL, 127, 9), *note(0, 250, 60, 1), *note(0, 250, 40, 9)]
    assert lengths([*track, control(900, PEDAL, 0)]) == [(0, 250, 60), (0, 250, 40)]


def test_a_note_that_is_never_closed_needs_no_pedal():
    assert lengths(body(control(0, PEDAL, 127), on(0, 60), control(500, PEDAL, 0), end=2_000)) == [(0, 2_000, 60)]


def test_what_is_given_back_is_as_it_was_struck():
    data = song([control(0, PEDAL, 127), *note(0, 250, 60), control(2_000, PEDAL, 0)])
    piece = read_piece(data, sustained=True)
    hearing = Hearing(write_piece(piece, piece.notes, [], piece.length_ticks, piece.timing))
    assert [(heard.begin, heard.end, heard.state["control", PEDAL]) for heard in hearing.notes] == [(0, 250, 127)]
