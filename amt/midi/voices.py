"""Give the kept notes of a file channels on which any player sounds them as they were read.

A file may be right only for one reader: tracks with a program each on one channel, drums by system exclusive message,
two ports, two hands that strike one key. Here what sounds alike gets a channel of its own, with all that belongs to it.
"""

from collections.abc import Iterable
from itertools import count
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from amt.midi.notes import DRUMS
from amt.midi.players import DRUM_CHANNEL, N_CHANNELS
from amt.midi.score import Score
from amt.midi.smf import CONTROL_CHANGE, PITCH_BEND, Column

ANY_TRACK: Final = -1

SUSTAIN: Final = 64
SOSTENUTO: Final = 66
"""The pedals that let notes sound on."""

PEDAL_DOWN: Final = 64
FOR_EVER: Final = 1 << 60
"""The file tick at which ends what is never ended."""

_CENTRE_MSB: Final = 64


class Voice(NamedTuple):
    """Tell apart what needs a channel of its own.

    Attributes:
        channel: 16 x port + channel in the input.
        is_drums: whether it plays drums.
        track: the only track whose notes it has, or `ANY_TRACK`.
    """

    channel: int
    is_drums: bool
    track: int


class Voices:
    """Know the voice of each kept note, and the channel of each voice in the output.

    Attributes:
        of_notes: for each kept note its voice.
        channels: 16 x port + channel in the output. All drums are on channel 10.
    """

    def __init__(self, score: Score, kept: Column) -> None:
        """`kept`: the numbers of the kept notes, in order of time."""
        split = _channels_to_split(score, kept)
        channels, tracks = score.note_channels[kept].tolist(), score.note_tracks[kept].tolist()
        drums = (score.instruments[kept] == DRUMS).tolist()
        self.of_notes = [
            Voice(channel, is_drums, track if channel in split else ANY_TRACK)
            for channel, is_drums, track in zip(channels, drums, tracks, strict=True)
        ]
        self.channels: dict[Voice, int] = {}
        voices = list(dict.fromkeys(self.of_notes))
        for voice in voices:  # each its own, as far as that is free
            if voice.is_drums:
                self.channels[voice] = DRUM_CHANNEL
            elif voice.channel < N_CHANNELS and voice.channel not in self._taken():
                self.channels[voice] = voice.channel
        for voice in voices:
            if voice not in self.channels:
                self.channels[voice] = self.free_channel()

    def free_channel(self, taken: Iterable[int] = ()) -> int:
        """Return the first channel that no voice has, and that is not taken; behind 16 they are on further ports."""
        taken = self._taken() | set(taken)
        return next(channel for channel in count() if channel not in taken and channel % N_CHANNELS != DRUM_CHANNEL)

    def _taken(self) -> set[int]:
        return {DRUM_CHANNEL, *self.channels.values()}

    def targets(self, channel: int, track: int) -> list[Voice]:
        """Return whose a channel message is: those of its own track, or if there are none all of its channel."""
        alike = [voice for voice in self.channels if voice.channel == channel]
        own = [voice for voice in alike if voice.track == track]
        return own or alike


def _channels_to_split(score: Score, kept: Column) -> set[int]:
    """Return the channels whose tracks must not share one: others play in them, or one key sounds in two at once."""
    rows: dict[int, list[tuple[int, int, int, int, int]]] = {}
    on = score.pairs.on[kept]
    columns = (
        score.note_channels[kept],
        score.note_tracks[kept],
        score.instruments[kept],
        score.messages.tick[on],
        score.end_ticks[kept],
        score.messages.data1[on],
    )
    for channel, *row in zip(*(column.tolist() for column in columns), strict=True):
        rows.setdefault(channel, []).append(tuple(row))
    return {channel for channel, notes in rows.items() if _is_ambiguous(notes)}


def _is_ambiguous(notes: list[tuple[int, int, int, int, int]]) -> bool:
    """Tell whether notes as (track, instrument, onset, end, pitch) of one channel are of tracks to be kept apart."""
    instruments: dict[int, set[int]] = {}
    for track, instrument, *_ in notes:
        instruments.setdefault(track, set()).add(instrument)
    if len(instruments) < 2:
        return False
    if len({frozenset(each) for each in instruments.values()}) > 1:
        return True
    sounding: dict[int, list[tuple[int, int]]] = {}
    for track, _, onset, end, pitch in notes:
        others = sounding.setdefault(pitch, [])
        if any(other != track and until > onset for other, until in others):
            return True
        others[:] = [(other, until) for other, until in others if until > onset]
        others.append((track, end))
    return False


def bend_spans(score: Score) -> dict[int, list[tuple[int, int]]]:
    """Return for each channel of the input the spans in file ticks in which its notes are bent."""
    found = np.flatnonzero(score.messages.kind == PITCH_BEND)
    is_bent = (score.messages.data1[found] != 0) | (score.messages.data2[found] != _CENTRE_MSB)
    return _spans(score, found, is_bent)


def pedal_spans(score: Score, pedal: int) -> dict[int, list[tuple[int, int]]]:
    """Return for each channel of the input the spans in file ticks in which a pedal is down."""
    is_pedal = (score.messages.kind == CONTROL_CHANGE) & (score.messages.data1 == pedal)
    found = np.flatnonzero(is_pedal)
    return _spans(score, found, score.messages.data2[found] >= PEDAL_DOWN)


def _spans(score: Score, found: Column, is_on: NDArray[np.bool_]) -> dict[int, list[tuple[int, int]]]:
    """Return for each channel the spans from a message that begins something to the next that ends it."""
    began: dict[int, int] = {}
    spans: dict[int, list[tuple[int, int]]] = {}
    columns = (score.channels[found], score.messages.tick[found], is_on)
    for channel, tick, on in zip(*(column.tolist() for column in columns), strict=True):
        if on:
            began.setdefault(channel, tick)
        elif channel in began:
            spans.setdefault(channel, []).append((began.pop(channel), tick))
    for channel, tick in began.items():
        spans.setdefault(channel, []).append((tick, FOR_EVER))
    return spans
