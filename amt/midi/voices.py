"""Give the notes of a file channels on which any player sounds them as they were read.

A file may be right only for one reader: tracks with a program each on one channel, drums by system exclusive message,
two ports, two hands that strike one key. Here what sounds alike gets a channel of its own, with all that belongs to it.
"""

from collections import defaultdict
from itertools import count
from typing import Final, NamedTuple

import numpy as np

from amt.midi.kinds import DRUM_CHANNEL, N_CHANNELS, NOTE_OFF, NOTE_ON
from amt.midi.notes import DRUMS
from amt.midi.score import Score
from amt.midi.smf import Column

ANY: Final = -1

MAX_PORTS: Final = 128
MAX_SPLIT: Final = 64
"""Tracks of one channel that may get a channel each, or programs of their own."""

MAX_COPIES: Final = 1_000_000
"""Messages that may be written for that: beyond it, fewer tracks do."""


class Voice(NamedTuple):
    """Tell apart what needs a channel of its own.

    Attributes:
        channel: 16 x port + channel in the input.
        is_drums: whether it plays drums.
        track: the only track whose notes it has, or `ANY`.
        instrument: the only one that it has, or `ANY`.
    """

    channel: int
    is_drums: bool
    track: int = ANY
    instrument: int = ANY


class Voices:
    """Know the voice of each part, and the channel of each voice in the output.

    Attributes:
        channels: of each voice, 16 x port + channel in the output. Drums are on channel 10.
        tracks: the tracks that have notes of a voice.
        instruments: who plays in a voice.
    """

    def __init__(self, score: Score, kept: Column, others: frozenset[int]) -> None:
        """Find the voices.

        Args:
            score: of the input.
            kept: the numbers of the kept notes, in order of time.
            others: instruments whose channels are wanted too if none of their notes is kept.
        """
        self._by_track = score.players.by_track
        n_copied = int((~np.isin(score.messages.kind, (NOTE_ON, NOTE_OFF))).sum())
        self._max_split = min(MAX_SPLIT, MAX_COPIES // max(n_copied, 1))
        self._split_tracks = _channels_to_split(score, kept, self._max_split)
        self._split_instruments = _channels_with_clashes(score, kept, self._split_tracks)
        self.channels: dict[Voice, int] = {}
        self.tracks: defaultdict[Voice, list[int]] = defaultdict(list)
        self.instruments: defaultdict[Voice, set[int]] = defaultdict(set)
        for numbers in (kept, np.flatnonzero(np.isin(score.instruments, list(others)))):
            for channel, track, instrument in _parts(score, numbers):
                self._add(channel, track, instrument)
        self._taken = {DRUM_CHANNEL}
        self._free = (number for number in count() if number % N_CHANNELS != DRUM_CHANNEL)
        self._free_drums = count(DRUM_CHANNEL, N_CHANNELS)
        self._assign(list(self.tracks))
        self._of_channel: defaultdict[int, list[Voice]] = defaultdict(list)
        for voice in self.channels:
            self._of_channel[voice.channel].append(voice)

    def _add(self, channel: int, track: int, instrument: int) -> None:
        voice = self.voice(channel, track, instrument)
        self.instruments[voice].add(instrument)
        if track not in self.tracks[voice] and len(self.tracks[voice]) < max(self._max_split, 1):
            self.tracks[voice].append(track)

    def voice(self, channel: int, track: int, instrument: int) -> Voice:
        """Return the voice of a note."""
        is_drums = instrument == DRUMS
        if is_drums:  # whichever track hits a drum, it is the same
            return Voice(channel, is_drums)
        own_track = track if channel in self._split_tracks else ANY
        return Voice(channel, is_drums, own_track, instrument if channel in self._split_instruments else ANY)

    def _assign(self, voices: list[Voice]) -> None:
        """Give each voice its own channel as far as that is free, and the others what is left."""
        for voice in sorted(voices, key=lambda voice: voice.channel != DRUM_CHANNEL):
            if voice.is_drums:
                self.channels[voice] = next(self._free_drums) % (N_CHANNELS * MAX_PORTS)
            elif voice.channel < N_CHANNELS and voice.channel not in self._taken:
                self.channels[voice] = voice.channel
                self._taken.add(voice.channel)
        for voice in voices:
            if voice not in self.channels:
                self.channels[voice] = self.take_free_channel()

    def take_free_channel(self) -> int:
        """Return the first channel that no voice has; behind 16 they are on further ports."""
        channel = next(channel for channel in self._free if channel not in self._taken)
        return channel % (N_CHANNELS * MAX_PORTS)

    def targets(self, channel: int, track: int) -> list[Voice]:
        """Return whose a channel message is.

        It is for all of its channel, unless its tracks have a program each: then it is for those of its own track, or
        if this has no notes for all.
        """
        alike = self._of_channel.get(channel, [])
        own = [voice for voice in alike if voice.track == track] if channel in self._by_track else []
        return own or alike


def _parts(score: Score, numbers: Column) -> list[tuple[int, int, int]]:
    """Return (channel, track, instrument) of some notes, each once, in the order of the channels' first notes."""
    rows = np.stack([score.note_channels[numbers], score.note_tracks[numbers], score.instruments[numbers]], axis=1)
    parts, first = np.unique(rows, axis=0, return_index=True)
    return [(channel, track, instrument) for channel, track, instrument in parts[np.argsort(first)].tolist()]


def _channels_to_split(score: Score, kept: Column, max_split: int) -> set[int]:
    """Return the channels whose tracks must not share one: each has its program, or one key sounds in two at once."""
    kept = kept[score.instruments[kept] != DRUMS]
    tracks: defaultdict[int, set[int]] = defaultdict(set)
    for channel, track, _ in _parts(score, kept):
        tracks[channel].add(track)
    shared = {channel for channel, own in tracks.items() if 1 < len(own) <= max_split}
    split = shared & score.players.by_track
    candidates = kept[np.isin(score.note_channels[kept], list(shared - split))]
    on = score.pairs.on[candidates]
    columns = (
        score.note_channels[candidates],
        score.messages.data1[on],
        score.note_tracks[candidates],
        score.messages.tick[on],
        score.end_ticks[candidates],
    )
    # Of each key: the track that sounds longest, until when, and until when any other one does.
    sounding: dict[tuple[int, int], tuple[int, int, int]] = {}
    for channel, pitch, track, onset, end in zip(*(column.tolist() for column in columns), strict=True):
        longest, until, others_until = sounding.get((channel, pitch), (track, -1, -1))
        if onset < (others_until if track == longest else until):
            split.add(channel)
        if track == longest:
            sounding[channel, pitch] = track, max(until, end), others_until
        elif end > until:
            sounding[channel, pitch] = track, end, until
        else:
            sounding[channel, pitch] = longest, until, max(others_until, end)
    return split


def _channels_with_clashes(score: Score, kept: Column, split_tracks: set[int]) -> set[int]:
    """Return the channels on which two programs begin notes at one tick."""
    melodic = kept[score.instruments[kept] != DRUMS]
    columns = (
        score.note_channels[melodic],
        np.where(np.isin(score.note_channels[melodic], list(split_tracks)), score.note_tracks[melodic], ANY),
        score.messages.tick[score.pairs.on[melodic]],
        score.instruments[melodic],
    )
    found: dict[tuple[int, int, int], int] = {}
    clashing = set()
    for channel, track, tick, instrument in zip(*(column.tolist() for column in columns), strict=True):
        if found.setdefault((channel, track, tick), instrument) != instrument:
            clashing.add(channel)
    return clashing
