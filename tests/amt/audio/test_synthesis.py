"""What is heard of a file: onsets, pitches, silence and places, measured in the sound."""

import struct

import numpy as np
import pytest

from amt.audio import synthesis
from amt.audio.synthesis import SAMPLE_RATE, synthesize
from amt.errors import RenderingError
from amt.midi.codec import read_piece, write_notes
from amt.midi.notes import DRUMS, Note
from server import Settings
from tests.amt.midi.building import bend, control, note, program, song
from tests.conftest import GOLDEN

pytest.importorskip("tinysoundfont", reason="the group audio is not installed: uv run --group audio pytest")

FONT = Settings().sound_font
ORGAN = 16
OCARINA = 79  # hardly any overtones


def play(data, font=FONT):
    return synthesize(read_piece(data).score, font)


def level(sound, begin, end, side=slice(None)):
    """The root mean square of a span of seconds."""
    part = sound[round(begin * SAMPLE_RATE) : round(end * SAMPLE_RATE), side].astype(np.float64)
    return float(np.sqrt(np.mean(part**2)))


def pitch(sound, begin, end):
    """The strongest frequency of a span, as a MIDI pitch."""
    part = sound[round(begin * SAMPLE_RATE) : round(end * SAMPLE_RATE)].sum(axis=1)
    spectrum = np.abs(np.fft.rfft(part * np.hanning(len(part)), 2**19))
    hertz = np.argmax(spectrum) * SAMPLE_RATE / 2**19
    return 69 + 12 * np.log2(hertz / 440)


def onsets(sound):
    """The seconds at which the sound grows out of silence."""
    hops = np.abs(sound[: len(sound) // 441 * 441]).reshape(-1, 882).max(axis=1)
    loud = hops > 0.1 * hops.max()
    return [index / 100 for index in np.flatnonzero(loud) if not loud[max(0, index - 10) : index].any()]


def test_notes_begin_when_the_file_says():
    times = [0.0, 0.73, 1.5, 2.25]
    sound = play(write_notes([Note(round(100 * time), 20, 60, ORGAN) for time in times]))
    assert onsets(sound) == pytest.approx(times, abs=0.02)


@pytest.mark.parametrize("key", [60, 67, 72])
def test_notes_have_their_pitch(key):
    assert pitch(play(write_notes([Note(0, 100, key, OCARINA)])), 0.3, 0.9) == pytest.approx(key, abs=0.2)


def test_it_is_silent_where_nothing_plays():
    sound = play(write_notes([Note(0, 50, 60, ORGAN), Note(300, 50, 60, ORGAN)]))
    assert level(sound, 0.1, 0.4) > 0.01
    assert level(sound, 1.5, 2.9) < 0.0005


def test_it_ends_when_the_last_note_has_died_away():
    for seconds in (1, 4):
        duration = len(play(write_notes([Note(0, 100 * seconds, 60, ORGAN)]))) / SAMPLE_RATE
        assert seconds <= duration <= seconds + synthesis.MAX_TAIL_SECONDS


def test_volume_expression_and_reset():
    def loudness(*controls):
        return level(play(song([program(0, ORGAN), *controls, *note(0, 1_000, 60)])), 0.2, 0.9)

    plain = loudness()
    assert loudness(control(0, 7, 0)) == 0
    assert loudness(control(0, 7, 100)) == pytest.approx(plain, rel=0.01)
    assert 0 < loudness(control(0, 11, 64)) < 0.6 * plain
    assert loudness(control(0, 11, 64), control(0, 121, 0)) == pytest.approx(plain, rel=0.01)


def test_pan():
    for value, near, far in ((0, 0, 1), (127, 1, 0)):
        sound = play(song([program(0, 73), control(0, 10, value), *note(0, 1_000, 72)]))
        assert level(sound, 0.2, 0.9, near) > 10 * level(sound, 0.2, 0.9, far)


def test_bends_and_their_range():
    wide = [control(0, 101, 0), control(0, 100, 0), control(0, 6, 12)]
    for before, semitones in (([], 2), (wide, 12)):
        sound = play(song([program(0, OCARINA), *before, bend(0, 8_191), *note(0, 1_000, 60)]))
        assert pitch(sound, 0.3, 0.9) == pytest.approx(60 + semitones, abs=0.25)


def test_the_pedal_holds_notes():
    held = [program(0, ORGAN), control(0, 64, 127), *note(0, 200, 60), control(1_500, 64, 0), *note(2_900, 3_000, 60)]
    sound = play(song(held))
    assert level(sound, 0.5, 1.4) > 0.01
    assert level(sound, 2.2, 2.8) < 0.0005


def test_programs_and_drums_are_those_of_the_notes():
    def spectrum(instrument):
        return np.abs(np.fft.rfft(play(write_notes([Note(0, 50, 60, instrument)]))[:22_050, 0]))

    sounds = [spectrum(each) for each in (0, 19, 56, DRUMS)]
    for index, one in enumerate(sounds):
        for other in sounds[index + 1 :]:
            assert np.corrcoef(one, other)[0, 1] < 0.9


def test_more_instruments_than_channels_are_all_heard():
    notes = [Note(100 * place, 50, 60, 8 * (place % 4) + 16 + place // 4) for place in range(20)]
    sound = play(write_notes(notes))
    assert all(level(sound, place, place + 0.5) > 0.002 for place in range(20))


def test_many_loud_notes_do_not_clip():
    chord = [Note(0, 100, key, instrument, 127) for key in range(48, 84, 2) for instrument in (48, 56, 61)]
    assert 0.5 < np.abs(play(write_notes(chord))).max() <= synthesis.MAX_PEAK + 1e-6


def test_soft_notes_are_softer():
    soft, loud = (play(write_notes([Note(0, 100, 60, 0, velocity)])) for velocity in (30, 110))
    assert level(soft, 0, 1) < 0.5 * level(loud, 0, 1)


@pytest.mark.parametrize("name", ["tempo_changes", "overlapping_same_pitch", "unclosed_notes", "pedal_and_bends"])
def test_odd_files_are_heard(name):
    piece = read_piece((GOLDEN / f"midi/{name}.mid").read_bytes())
    sound = synthesize(piece.score, FONT)
    assert piece.length_ticks / 100 <= len(sound) / SAMPLE_RATE <= piece.length_ticks / 100 + 3.1
    for each in piece.notes:
        assert level(sound, each.onset / 100, each.onset / 100 + 0.1) > 0.001


def test_too_much_to_play_is_refused():
    bends = [bend(0, 0)] * synthesis.MAX_EVENTS
    with pytest.raises(RenderingError, match=f"more than {synthesis.MAX_EVENTS} notes"):
        play(song([*bends, *note(0, 100, 60)]))


def test_a_sound_font_that_lacks_a_program_plays_another_of_its_family(tmp_path):
    data = bytearray(FONT.read_bytes())
    begin = data.index(b"phdr") + 8
    (size,) = struct.unpack_from("<I", data, begin - 4)
    for place in range(begin, begin + size - 38, 38):  # each header: a name of 20 bytes, the program, the bank
        if struct.unpack_from("<HH", data, place + 20) == (73, 0):  # the flute
            struct.pack_into("<HH", data, place + 20, 73, 5)
    font = tmp_path / "fluteless.sf2"
    font.write_bytes(data)
    flute, piccolo = (write_notes([Note(0, 100, 60, instrument)]) for instrument in (73, 72))
    assert np.array_equal(play(flute, font), play(piccolo, font))
    assert not np.array_equal(play(flute, font), play(flute))
