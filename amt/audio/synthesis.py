"""Play a score with a SoundFont, without a sound card: a file becomes sound as General MIDI devices have it.

Volume, expression, pan, bends and their range are followed; the sustain pedal makes notes longer. Each instrument of
a channel has a channel of its own in the synthesizer: `amt/midi/players.py` has found out who plays a note.
"""

from collections import defaultdict
from collections.abc import Iterator
from itertools import chain, islice, takewhile
from operator import itemgetter
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from amt.errors import RenderingError
from amt.midi.kinds import CONTROL_CHANGE, EXPRESSION, PAN, PITCH_BEND, RESET_CONTROLLERS, VOLUME
from amt.midi.notes import DRUMS, TICKS_PER_SECOND
from amt.midi.score import Score
from amt.midi.sustain import sustained_notes

SAMPLE_RATE: Final = 44_100
N_VOICES: Final = 256

MAX_TAIL_SECONDS: Final = 3.0
"""Sound goes on so long after the last note, if it has not died away before."""

FADE_SECONDS: Final = 0.25
SILENCE: Final = 10 ** (-60 / 20)

GAIN_DB: Final = 6.0
MAX_PEAK: Final = 10 ** (-1 / 20)
"""Louder music is turned down as a whole, so that nothing clips; music is never turned up."""

MIN_NOTE_SECONDS: Final = 0.02
"""Some files end drums at once."""

DEFAULT_VOLUME: Final = 100
BLOCK_FRAMES: Final = 4_096

MAX_EVENTS: Final = 400_000
"""More, in a few minutes, is no music that anybody could tell apart."""

FULL: Final = 127
BEND_AT_REST: Final = 8_192

DATA_ENTRY, DATA_ENTRY_LSB, PARAMETER_LSB, PARAMETER_MSB = 6, 38, 100, 101
FOLLOWED: Final = (
    *(VOLUME, PAN, EXPRESSION, RESET_CONTROLLERS),
    *(DATA_ENTRY, DATA_ENTRY_LSB, PARAMETER_LSB, PARAMETER_MSB),
)

Frames: TypeAlias = NDArray[np.float32]
"""Sound, shape = (n_frames, 2), each value from -1 to 1."""


class _Event(NamedTuple):
    """Hold what happens at a frame; events of one frame happen in the order of their places."""

    frame: int
    place: int
    channel: int
    action: str
    data1: int
    data2: int = 0


def synthesize(score: Score, sound_font: Path) -> Frames:
    """Return a score as sound, with what is still heard after its last note.

    The libraries must be there, and the score must have notes.

    Args:
        score: of at most a few minutes: a minute takes 21 MB.
        sound_font: an .sf2 file.

    Raises:
        RenderingError: there is too much to play.
        Exception: the file is no SoundFont.
    """
    import tinysoundfont

    synth = tinysoundfont.Synth(GAIN_DB, SAMPLE_RATE)
    font = synth.sfload(str(sound_font), max_voices=N_VOICES)
    channels = _channels(score)
    for (_, instrument), channel in channels.items():
        _select(synth, font, channel, instrument)
        synth.control_change(channel, VOLUME, DEFAULT_VOLUME)
    events = sorted(_events(score, channels), key=itemgetter(0, 1))
    n_frames = max(round(SAMPLE_RATE * score.length_seconds), *(each.frame for each in events if each.action == "off"))
    sound = np.zeros((n_frames + round(SAMPLE_RATE * MAX_TAIL_SECONDS), 2), np.float32)
    done = 0
    for event in takewhile(lambda event: event.frame < n_frames, events):
        done = _play(synth, sound, done, event.frame)
        _act(synth, event)
    done = _play(synth, sound, done, n_frames)
    return _levelled(sound[: _tail_end(synth, sound, done)])


def _channels(score: Score) -> dict[tuple[int, int], int]:
    """Return the synthesizer's channel of each (channel of the file, instrument)."""
    pairs = zip(score.note_channels.tolist(), score.instruments.tolist(), strict=True)
    return {pair: number for number, pair in enumerate(dict.fromkeys(pairs))}


def _select(synth: Any, font: int, channel: int, instrument: int) -> None:
    """Give a channel its instrument; if the SoundFont has none of that kind, its first one."""
    is_drums = instrument == DRUMS
    program = 0 if is_drums else instrument
    for bank, each in ((0, program), (0, program - program % 8), (0, 0)):
        try:
            synth.program_select(channel, font, bank, each, is_drums)
        except RuntimeError:
            continue
        return
    synth.soundfonts[font].channel_set_preset_index(channel, 0)


def _events(score: Score, channels: dict[tuple[int, int], int]) -> list[_Event]:
    """Return all that happens, in any order. Raise RenderingError if that is too much."""
    events = list(islice(chain(_key_events(score, channels), _channel_events(score, channels)), MAX_EVENTS + 1))
    if len(events) > MAX_EVENTS:
        raise RenderingError(f"the MIDI file holds more than {MAX_EVENTS} notes, controllers and bends to play")
    return events


def _key_events(score: Score, channels: dict[tuple[int, int], int]) -> Iterator[_Event]:
    """Yield what happens to keys, in any order. A key is released before it is struck again."""
    on, notes = score.pairs.on, sustained_notes(score)
    held = [(note.onset + note.duration) / TICKS_PER_SECOND for note in notes]
    seconds = score.seconds[on].tolist()
    struck = np.maximum(score.end_seconds, score.seconds[on] + MIN_NOTE_SECONDS).tolist()
    columns = (on.tolist(), score.note_channels.tolist(), notes, seconds, struck, held)
    for place, channel, note, start, end, held_until in zip(*columns, strict=True):
        number = channels[channel, note.instrument]
        yield _Event(round(SAMPLE_RATE * start), place, number, "on", note.pitch, note.velocity)
        yield _Event(round(SAMPLE_RATE * max(end, held_until)), -1, number, "off", note.pitch)


def _channel_events(score: Score, channels: dict[tuple[int, int], int]) -> Iterator[_Event]:
    """Yield controllers and bends, once for each instrument of their channel."""
    of_channel: defaultdict[int, list[int]] = defaultdict(list)
    for (channel, _), number in channels.items():
        of_channel[channel].append(number)
    messages = score.messages
    is_controller = (messages.kind == CONTROL_CHANGE) & np.isin(messages.data1, FOLLOWED)
    for place in np.flatnonzero(is_controller | (messages.kind == PITCH_BEND)).tolist():
        frame = round(SAMPLE_RATE * float(score.seconds[place]))
        data1, data2 = int(messages.data1[place]), int(messages.data2[place])
        action, data1 = ("bend", data2 << 7 | data1) if messages.kind[place] == PITCH_BEND else ("control", data1)
        for number in of_channel.get(int(score.channels[place]), ()):
            yield _Event(frame, place, number, action, data1, data2)


def _act(synth: Any, event: _Event) -> None:
    match event.action:
        case "on":
            synth.noteon(event.channel, event.data1, event.data2)
        case "off":
            synth.noteoff(event.channel, event.data1)
        case "control" if event.data1 == RESET_CONTROLLERS:  # the synthesizer's own would reset the volume too
            synth.control_change(event.channel, EXPRESSION, FULL)
            synth.pitchbend(event.channel, BEND_AT_REST)
        case "control":
            synth.control_change(event.channel, event.data1, event.data2)
        case "bend":
            synth.pitchbend(event.channel, event.data1)


def _play(synth: Any, sound: Frames, done: int, until: int) -> int:
    """Let the synthesizer play on until a frame, or the end; return where it is then."""
    until = min(until, len(sound))
    if until > done:
        synth.generate_simple(until - done, sound[done:until].data.cast("B"))
    return max(until, done)


def _tail_end(synth: Any, sound: Frames, done: int) -> int:
    """Play until all is silent; what still sounds at the end is faded out. Return where it ends."""
    while done < len(sound):
        begun, done = done, _play(synth, sound, done, done + BLOCK_FRAMES)
        if np.abs(sound[begun:done]).max() < SILENCE:
            return done
    n_faded = round(SAMPLE_RATE * FADE_SECONDS)
    sound[-n_faded:] *= np.linspace(1, 0, n_faded, dtype=np.float32)[:, None]
    return done


def _levelled(sound: Frames) -> Frames:
    """Return the sound, turned down if it is too loud."""
    peak = float(max(sound.max(), -sound.min()))
    if peak > MAX_PEAK:
        sound *= np.float32(MAX_PEAK / peak)
    return sound
