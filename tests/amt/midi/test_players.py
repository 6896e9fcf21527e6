"""Who plays each note: programs, banks, ports and rhythm parts."""

import pytest

from amt.midi.codec import read_piece
from amt.midi.notes import DRUMS
from tests.amt.midi.building import (
    GM_ON,
    GS_RESET,
    XG_ON,
    body,
    control,
    gs_rhythm,
    meta,
    name,
    note,
    off,
    on,
    program,
    song,
    sysex,
    xg_part_mode,
)

PORT = 0x21
DEVICE = 0x09
DRUM_CHANNEL = 9


def players(*tracks, **choices):
    """(onset in ms, pitch) -> instrument; no two notes of a test have the same."""
    notes = read_piece(song(*tracks, **choices)).notes
    found = {(10 * each.onset, each.pitch): each.instrument for each in notes}
    assert len(found) == len(notes)
    return found


def test_a_program_holds_for_its_channel_in_every_track():
    assert players([program(0, 5), *note(0, 400, 60)], note(0, 400, 64), note(0, 400, 67, channel=1)) == {
        (0, 60): 5,
        (0, 64): 5,
        (0, 67): 0,
    }


def test_a_program_from_a_setup_track_behind_the_notes_holds_from_its_tick_on():
    setup = [program(0, 73), program(500, 74)]
    assert players(note(0, 400, 60), [*note(500, 600, 62), *note(700, 800, 64)], setup) == {
        (0, 60): 73,
        (500, 62): 74,
        (700, 64): 74,
    }


def test_a_program_that_follows_a_note_at_its_own_tick_holds_for_it():
    assert players([on(0, 60), program(0, 81), off(400, 60), *note(500, 900, 62)]) == {(0, 60): 81, (500, 62): 81}


def test_between_two_programs_at_one_tick_a_note_has_the_one_before_it():
    track = [program(0, 10), on(0, 60), program(0, 20), on(0, 64), off(400, 60), off(400, 64)]
    assert players(track) == {(0, 60): 10, (0, 64): 20}


def test_a_program_change_neither_cuts_nor_renames_a_note_that_sounds():
    piece = read_piece(song([program(0, 30), on(0, 60), program(500, 48), *note(600, 700, 64), off(1_000, 60)]))
    assert [(each.duration, each.instrument) for each in piece.notes] == [(100, 30), (10, 48)]


def test_tracks_that_all_sit_on_one_channel_with_a_program_each_sound_by_track():
    tracks = [
        [program(0, number), *note(0, 400, pitch), *note(500, 900, pitch)] for number, pitch in ((4, 60), (40, 64))
    ]
    drums = note(0, 100, 36, channel=DRUM_CHANNEL)
    assert players(*tracks, drums) == {(0, 60): 4, (500, 60): 4, (0, 64): 40, (500, 64): 40, (0, 36): DRUMS}


def test_tracks_on_one_channel_may_set_their_program_when_they_come_in():
    """MidiWriterJS does so."""
    first = [program(0, 4), *note(0, 400, 60), *note(1_000, 1_400, 60)]
    second = [program(500, 40), *note(500, 900, 64)]
    assert players(first, second) == {(0, 60): 4, (500, 64): 40, (1_000, 60): 4}


def test_tracks_that_set_different_programs_at_one_time_on_a_shared_channel_keep_their_own():
    tracks = [[program(0, number), *note(0, 400, pitch)] for number, pitch in ((4, 60), (40, 64))]
    other = [program(0, 33, channel=1), *note(0, 400, 36, channel=1)]
    assert players(*tracks, other) == {(0, 60): 4, (0, 64): 40, (0, 36): 33}


def test_tracks_that_take_turns_on_a_channel_hear_each_others_programs():
    first = [program(0, 4), *note(0, 400, 60), *note(1_000, 1_400, 60)]
    second = [program(500, 40), *note(500, 900, 64)]
    other = [program(0, 33, channel=1), *note(0, 400, 36, channel=1)]
    assert players(first, second, other) == {(0, 60): 4, (500, 64): 40, (1_000, 60): 40, (0, 36): 33}


def test_two_hands_on_one_channel_change_their_program_together():
    right = [program(0, 0), *note(0, 400, 72), program(500, 19), *note(500, 900, 72)]
    left = [program(0, 0), *note(0, 400, 48), *note(500, 900, 48)]
    assert players(right, left) == {(0, 72): 0, (0, 48): 0, (500, 72): 19, (500, 48): 19}


@pytest.mark.parametrize(("kind", "first", "second"), [(PORT, b"\0", b"\1"), (DEVICE, b"Synth A", b"Synth B")])
def test_channels_of_two_ports_are_others(kind, first, second):
    piano = [meta(0, kind, first), program(0, 1), *note(0, 900, 60)]
    strings = [meta(0, kind, second), program(0, 48), *note(0, 400, 60), *note(500, 800, 62)]
    notes = sorted(read_piece(song(piano, strings)).notes)
    assert [(each.duration, each.instrument) for each in notes] == [(40, 48), (90, 1), (30, 48)]


def test_more_than_sixteen_parts_on_two_ports_have_a_program_each():
    tracks = [
        [
            meta(0, PORT, bytes((port,))),
            program(0, 50 * port + channel, channel),
            *note(0, 400, 20 + 20 * port + channel, channel),
        ]
        for port in range(2)
        for channel in range(16)
    ]
    found = players(*tracks)
    assert len(found) == 32
    for (_, pitch), instrument in found.items():
        port, channel = divmod(pitch - 20, 20)
        assert instrument == (DRUMS if channel == DRUM_CHANNEL else 50 * port + channel)


def test_a_track_without_a_port_is_on_the_first():
    plain = [program(0, 5), *note(0, 400, 60)]
    second = [meta(0, PORT, b"\1"), program(0, 7), *note(0, 400, 64)]
    assert players(plain, second) == {(0, 60): 5, (0, 64): 7}
    assert players(second, plain) == {(0, 60): 5, (0, 64): 7}


@pytest.mark.parametrize(("kind", "payload"), [(PORT, b"\3"), (DEVICE, b"Synth")])
def test_a_setup_track_without_a_port_speaks_for_the_only_one(kind, payload):
    assert players([program(0, 5)], [meta(0, kind, payload), *note(0, 400, 60)]) == {(0, 60): 5}


def test_a_program_in_front_of_its_tracks_port_is_for_that_port():
    first = [meta(0, PORT, b"\0"), program(0, 5), *note(0, 400, 60)]
    second = [program(0, 7), meta(0, DEVICE, b"X"), meta(0, PORT, b"\1"), *note(0, 400, 64)]
    assert players(first, second) == {(0, 60): 5, (0, 64): 7}


def test_a_track_can_change_its_port():
    track = [meta(0, PORT, b"\0"), program(0, 5), meta(100, PORT, b"\1"), program(100, 7), *note(200, 300, 60)]
    back = [*note(400, 500, 62)]
    assert players(track, [meta(0, PORT, b"\0"), *back]) == {(200, 60): 7, (400, 62): 5}


def test_gs_rhythm_parts_play_drums_until_they_do_no_more():
    track = [gs_rhythm(0, 10, 1), *(each for tick in (0, 500, 1_000) for each in note(tick, tick + 100, 40, 10))]
    switched = [gs_rhythm(400, 10, 0), gs_rhythm(900, 10, 2)]
    assert players([*track, *switched]) == {(0, 40): DRUMS, (500, 40): 0, (1_000, 40): DRUMS}


@pytest.mark.parametrize("channel", range(16))
def test_each_channel_can_be_a_gs_rhythm_part(channel):
    others = [each for other in range(16) for each in note(0, 100, 30 + other, other)]
    found = players([gs_rhythm(0, DRUM_CHANNEL, 0), gs_rhythm(0, channel, 1), *others])
    assert [pitch - 30 for (_, pitch), instrument in found.items() if instrument == DRUMS] == [channel]


def test_part_10_made_melodic_plays_its_program():
    track = [gs_rhythm(0, DRUM_CHANNEL, 0), program(0, 24, DRUM_CHANNEL), *note(0, 100, 60, DRUM_CHANNEL)]
    assert players(track) == {(0, 60): 24}


@pytest.mark.parametrize("reset", [GM_ON, GS_RESET, XG_ON])
def test_a_reset_makes_channel_10_the_only_rhythm_part_again(reset):
    track = [gs_rhythm(0, 2, 1), *note(0, 100, 40, 2), sysex(200, reset), *note(300, 400, 40, 2)]
    assert players(track) == {(0, 40): DRUMS, (300, 40): 0}


def test_a_rhythm_part_that_is_set_at_the_tick_of_a_reset_comes_after_it():
    assert players([gs_rhythm(0, 2, 1), *note(0, 100, 40, 2)], [sysex(0, GS_RESET)]) == {(0, 40): DRUMS}


def test_rhythm_parts_are_of_the_port_of_their_message():
    parts = [
        [meta(0, PORT, bytes((port,))), *note(0, 100, 40 + port, 2), *([gs_rhythm(0, 2, 1)] if port else [])]
        for port in range(2)
    ]
    assert players(*parts) == {(0, 40): 0, (0, 41): DRUMS}


def test_xg_part_modes_make_drums():
    track = [xg_part_mode(0, 3, 2), *note(0, 100, 40, 3), xg_part_mode(200, 3, 0), *note(300, 400, 40, 3)]
    assert players(track) == {(0, 40): DRUMS, (300, 40): 0}


@pytest.mark.parametrize("bank", [120, 126, 127])
def test_drum_banks_hold_drums_until_another_bank_is_chosen(bank):
    track = [
        *(control(0, 0, bank, 4), program(0, 16, 4), *note(0, 100, 40, 4)),
        *(control(400, 0, 0, 4), *note(450, 480, 40, 4), program(500, 16, 4), *note(500, 600, 40, 4)),
    ]
    assert players(track) == {(0, 40): DRUMS, (450, 40): DRUMS, (500, 40): 16}


@pytest.mark.parametrize("bank", [126, 127])
def test_on_a_gs_device_the_banks_of_xg_drums_hold_other_sounds(bank):
    track = [control(10, 0, bank, 4), program(10, 16, 4), *note(10, 100, 40, 4)]
    assert players([sysex(0, GS_RESET), *track]) == {(10, 40): 16}
    assert players([sysex(0, GS_RESET), sysex(0, XG_ON), *track]) == {(10, 40): DRUMS}


@pytest.mark.parametrize("bank", [0, 1, 64, 121])
def test_other_banks_hold_programs(bank):
    assert players([control(0, 0, bank), program(0, 16), *note(0, 100, 40)]) == {(0, 40): 16}


def arrangement(*channels):
    """A track for each channel with the same two notes, and on the drum channels 10 and 16 two others."""
    return [
        [each for tick in (0, 500) for each in note(tick, tick + 400, 36 if channel in (9, 15) else 60, channel)]
        for channel in channels
    ]


def test_an_arrangement_for_base_and_extended_devices_is_read_once():
    piece = read_piece(song(*arrangement(0, 9, 12, 15)))
    assert sorted((each.onset, each.pitch, each.instrument) for each in piece.notes) == [
        (0, 36, DRUMS), (0, 60, 0), (50, 36, DRUMS), (50, 60, 0),
    ]  # fmt: skip
    assert piece.notices == ["4 notes of a second arrangement for other devices on channels 13 to 16 are left out"]


@pytest.mark.parametrize("channels", [(12, 15), (0, 9), (0, 9, 12), (0, 9, 10, 12, 15), (0, 9, 11, 12, 15)])
def test_a_file_that_is_no_double_arrangement_is_read_whole(channels):
    assert len(read_piece(song(*arrangement(*channels))).notes) == 2 * len(channels)


def test_other_music_on_channels_13_to_16_is_no_second_arrangement():
    other = [each for tick in (200, 700) for each in note(tick, tick + 100, 72, 12)]
    fill = [each for tick in (250, 750) for each in note(tick, tick + 100, 72, 15)]
    assert len(read_piece(song(*arrangement(0, 9), other, fill)).notes) == 8


def test_names_of_tracks_do_not_matter_to_who_plays():
    assert players([name("Drums"), *note(0, 100, 40)], body(name("Violin"))) == {(0, 40): 0}
