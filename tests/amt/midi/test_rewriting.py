"""What is given back: each thing that a file can say, in one small file each."""

import pytest

from amt.midi.codec import read_piece, write_piece
from amt.midi.notes import DRUMS, Note
from tests.amt.midi.building import (
    GS_RESET,
    Timed,
    bend,
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
)
from tests.amt.midi.hearing import Hearing

PORT = 0x21


def given_back(*tracks, new=(), until_ticks=None, **choices):
    """What mido hears of a file that is given back with some new notes and a second of time for them."""
    piece = read_piece(song(*tracks, **choices))
    kept = piece.notes if until_ticks is None else [each for each in piece.notes if each.onset < until_ticks]
    length = max([piece.length_ticks if until_ticks is None else until_ticks, *(each.onset for each in new)]) + 100
    timing = piece.timing if until_ticks is None else piece.timing.until(10 * until_ticks)
    return Hearing(write_piece(piece, kept, new, length, timing, until_ticks))


def messages(hearing, track):
    """(file tick, text) of a track's messages, without the number of the channel."""
    found, tick = [], 0
    for message in hearing.file.tracks[track]:
        tick += message.time
        found.append((tick, str(message.copy(time=0)).removesuffix(" time=0")))
    return found


def test_tracks_keep_their_order_their_names_and_their_texts():
    first = [name("Conductor"), meta(0, 0x02, b"(C) 1999"), meta(500, 0x06, b"Verse")]
    second = [name("Voice"), meta(0, 0x05, b"La"), *note(0, 400, 60), meta(500, 0x05, b"la")]
    third = [name("Empty"), meta(10, 0x01, b"nothing")]
    hearing = given_back(first, second, third)
    assert hearing.names == ["Conductor", "Voice", "Empty"]
    assert [len(own) for own in hearing.texts] == [2, 2, 1]


def test_names_come_back_byte_for_byte_in_any_encoding():
    shift_jis = "ピアノ".encode("cp932")
    piece = read_piece(song([name(shift_jis), *note(0, 400, 60)]))
    assert shift_jis in write_piece(piece, piece.notes, [], 100, piece.timing)


def test_a_pedal_that_goes_down_with_the_end_of_a_note_does_not_catch_it():
    """At one file tick the order of the input holds."""
    hearing = given_back([on(0, 60), off(400, 60), control(400, 64, 127), *note(450, 500, 62)])
    kinds = [text.split()[0] for _, text in messages(hearing, 0) if not text.startswith("Meta")]
    assert kinds == [
        "program_change", "note_on", "note_off", "control_change", "note_on", "note_off",
    ]  # fmt: skip


def test_a_system_exclusive_message_in_parts_comes_back_in_one():
    parts = [sysex(0, b"\x7d\x01"), Timed(10, b"\xf7\x01\x02"), Timed(20, b"\xf7\x02\x03\xf7")]
    hearing = given_back([*parts, *note(0, 400, 60)])
    assert hearing.texts[0] == [(0, "sysex data=(125,1,2,3) time=0")]


@pytest.mark.parametrize(
    ("kind", "payload"),
    [(0x59, b"\x0b\x02"), (0x59, b"\0"), (0x54, b"\xff" * 5), (0x54, b""), (0x00, b"\1"), (0x90, b"")],
)
def test_a_meta_message_that_other_readers_refuse_is_left_out(kind, payload):
    hearing = given_back([meta(0, kind, payload), *note(0, 400, 60)])
    assert len(hearing.notes) == 1


def test_drums_by_bank_or_by_message_come_back_on_channel_10():
    tracks = [
        [gs_rhythm(0, 10, 1), *note(0, 100, 40, 10)],
        [control(0, 0, 120, 3), program(0, 16, 3), *note(0, 100, 41, 3)],
    ]
    hearing = given_back(*tracks)
    assert [heard.instrument for heard in hearing.notes] == [DRUMS] * 2
    assert not any("sysex" in text for own in hearing.texts for _, text in own)


def test_drum_kits_of_two_channels_keep_their_volumes():
    tracks = [
        [gs_rhythm(0, 10, 1), control(0, 7, 33, 10), *note(10, 100, 40, 10)],
        [control(0, 7, 99, 9), *note(10, 100, 41, 9)],
    ]
    assert {heard.pitch: heard.state["control", 7] for heard in given_back(*tracks).notes} == {40: 33, 41: 99}


def test_channel_10_made_melodic_comes_back_on_another_channel():
    hearing = given_back([gs_rhythm(0, 9, 0), program(0, 24, 9), control(0, 7, 33, 9), *note(10, 100, 60, 9)])
    assert [(heard.instrument, heard.state["control", 7]) for heard in hearing.notes] == [(24, 33)]


def test_tracks_with_a_program_each_on_one_channel_come_back_on_one_each_with_their_own_controllers():
    tracks = [[program(0, number), control(0, 7, number), *note(10, 100, number)] for number in (4, 40, 73)]
    for heard in given_back(*tracks).notes:
        assert heard.instrument == heard.state["control", 7] == heard.pitch


def test_two_hands_that_strike_one_key_keep_the_pedal_that_one_of_them_has():
    right = [program(0, 3), control(100, 64, 127), *note(500, 900, 62)]
    left = note(0, 2_000, 62)
    hearing = given_back(right, left)
    assert [(heard.begin, heard.end, heard.instrument) for heard in hearing.notes] == [(0, 2_000, 3), (500, 900, 3)]
    assert hearing.notes[0].changes == [(100, ("control", 64), 127)]


def test_more_than_sixteen_parts_of_two_ports_come_back_on_two_ports():
    tracks = [
        [meta(0, PORT, bytes((port,))), program(0, 50 * port + channel, channel), *note(0, 400, 60 + channel, channel)]
        for port in range(2)
        for channel in range(9)
    ]
    found = sorted((heard.pitch - 60, heard.instrument) for heard in given_back(*tracks).notes)
    assert found == sorted((channel, 50 * port + channel) for port in range(2) for channel in range(9))


def test_unclosed_notes_and_those_ended_with_all_others_come_back_with_note_offs():
    hearing = given_back(body(on(0, 60), on(0, 64, 1), control(300, 123, 0, 1), end=1_000))
    assert [(heard.pitch, heard.end) for heard in hearing.notes] == [(60, 1_000), (64, 300)]
    assert not any("control=123" in text for _, text in messages(hearing, 0))


def test_new_notes_join_the_track_and_the_channel_of_their_instrument():
    tracks = [
        [name("Bass"), program(0, 33, 1), *note(0, 400, 36, 1)],
        [name("Piano"), program(0, 0), control(0, 7, 77), *note(0, 400, 60)],
    ]
    hearing = given_back(*tracks, new=[Note(60, 20, 61, 0), Note(60, 20, 40, 33), Note(60, 20, 70, 40)])
    new = {heard.pitch: heard for heard in hearing.notes if heard.begin > 500}
    assert [hearing.names[new[pitch].track] for pitch in (40, 61, 70)] == ["Bass", "Piano", "Violin"]
    assert new[61].state["control", 7] == 77


@pytest.mark.parametrize(
    "colour", [control(200, 64, 127), control(200, 66, 127), bend(200, 3_000), control(200, 11, 5), control(200, 7, 0)]
)
def test_new_notes_that_would_be_bent_held_or_muted_get_a_channel_of_their_own(colour):
    track = [control(0, 0, 8), program(0, 5), control(0, 10, 20), control(0, 7, 90), *note(10, 400, 60), colour]
    hearing = given_back(track, new=[Note(60, 20, 61, 5)])
    kept, new = hearing.notes
    assert (new.track, new.instrument) == (kept.track, kept.instrument)
    assert (new.state["bend"], new.state["control", 64], new.state["control", 11]) == (0, 0, 127)
    assert [new.state["control", each] for each in (0, 7, 10)] == [8, 90, 20]


def test_at_a_cut_pedals_go_up_and_bends_go_back():
    track = [control(100, 64, 127), bend(100, 3_000), *note(0, 400, 60), control(900, 64, 0), meta(900, 0x01, b"late")]
    hearing = given_back(track, until_ticks=50, new=[Note(55, 20, 61, 0)])
    new = hearing.notes[-1]
    assert (new.pitch, new.state["bend"], new.state["control", 64]) == (61, 0, 0)
    assert hearing.texts == [[]]


def test_new_notes_of_an_instrument_whose_notes_are_all_replaced_have_its_mix():
    piece = read_piece(song([program(0, 5), control(0, 7, 33), *note(0, 400, 60)], note(0, 400, 40, 1)))
    kept = [each for each in piece.notes if each.instrument != 5]
    hearing = Hearing(write_piece(piece, kept, [Note(10, 20, 61, 5)], 100, piece.timing))
    assert [heard.state["control", 7] for heard in hearing.notes if heard.instrument == 5] == [33]


def test_of_notes_that_are_alike_the_one_that_was_kept_stays_in_its_track():
    piece = read_piece(song([name("One"), *note(0, 400, 60)], [name("Two"), *note(0, 400, 60)]))
    hearing = Hearing(write_piece(piece, piece.notes[1:], [], 100, piece.timing))
    assert [hearing.names[heard.track] for heard in hearing.notes] == ["Two"]


def test_a_silent_tail_is_left_out():
    hearing = given_back(body(*note(0, 500, 60), control(200_000_000, 7, 0)), new=[Note(60, 20, 61, 0)])
    assert hearing.file.length == pytest.approx(1.6)


@pytest.mark.parametrize("file_type", [0, 1])
def test_a_file_of_one_track_comes_back_with_one_track(file_type):
    hearing = given_back([name("All"), *note(0, 400, 60), *note(0, 400, 40, 9)], file_type=file_type)
    assert (hearing.file.type, hearing.names) == (1, ["All"])


def test_of_independent_patterns_the_notes_come_back():
    piece = read_piece(song(note(0, 400, 60), note(0, 400, 62), file_type=2))
    hearing = Hearing(write_piece(piece, piece.notes, [], 100, piece.timing))
    assert [heard.pitch for heard in hearing.notes] == [60, 62]
    assert "type 2" in piece.notices[0]


def test_a_file_in_smpte_frames_comes_back_with_its_messages_at_their_times():
    track = [sysex(0, GS_RESET), control(100, 7, 33), *note(200, 600, 60), bend(400, 1_000)]
    hearing = given_back(track, division=0xE728)  # 25 frames of 40 ticks: 1 ms
    (heard,) = hearing.notes
    assert (heard.begin, heard.end, heard.state["control", 7]) == (200, 600, 33)
    assert heard.changes == [(400, "bend", 1_000)]
    assert "SMPTE" in read_piece(song(track, division=0xE728)).notices[0]


def test_a_tempo_map_that_no_file_can_hold_is_told():
    fast = [meta(0, 0x51, b"\0\0\1"), *note(200_000_000, 250_000_000, 60), *note(400_000_000, 450_000_000, 62)]
    piece = read_piece(song(fast, division=96))
    assert "tempo map" in piece.notices[0]
    hearing = Hearing(write_piece(piece, piece.notes, [], piece.length_ticks, piece.timing))
    assert [heard.begin for heard in hearing.notes] == [2_083, 4_167]


def test_notices_are_twenty_at_most():
    tracks = [note(0, 400, 60) for _ in range(30)]
    data = song(*tracks).replace(b"MTrk\0\0\0\x0d", b"MTrk\0\0\0\x0c")
    assert len(read_piece(data).notices) == 20
