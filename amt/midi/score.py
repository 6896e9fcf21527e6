"""Hold a MIDI file as a player hears it: every message in order of time, who plays each note, and until when."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Final, cast

import numpy as np
from numpy.typing import NDArray

from amt.midi import smf
from amt.midi.kinds import DRUM_CHANNEL, N_CHANNELS, TIME_SIGNATURE
from amt.midi.notes import TICKS_PER_SECOND, Note
from amt.midi.pairing import TRACK_END, NotePairs, pair_notes
from amt.midi.players import Players, find_players
from amt.midi.ports import find_ports
from amt.midi.timing import Clock, message_times

MAX_TAIL_SECONDS: Final = 600
"""An end of track, or a message that is no note, later than this behind the last note is taken for a mistake."""

DEFAULT_BEAT_SECONDS: Final = 0.5

_NEW_NOTE: Final = cast(Callable[[tuple[int, ...]], Note], partial(tuple.__new__, Note))
"""Make a note of its fields, sooner than a call of `Note` does: a file has thousands."""

_BASE_CHANNELS: Final = (12, 13, 14, 15)
MIN_DOUBLED: Final = 0.8
"""Share of the notes on the base channels that the extended ones have too, if they are the same arrangement twice."""


@dataclass(frozen=True, eq=False)
class Score:
    """Hold what a file says. Arrays of messages and notes are in order of time; notes as they are switched on.

    Attributes:
        file: as it was read.
        messages: of all tracks; shape = (n_messages,) each.
        tracks: the number of each message's track.
        channels: for each message 16 x port + channel; pattern after pattern the ports are others.
        patterns: the number of each message's pattern; 0 unless the file is of type 2.
        clock: when each message comes.
        pairs: the messages that begin and end each note.
        players: who plays each note.
        end_ticks: the file tick at which each note ends.
        end_seconds: likewise in seconds.
        notices: what was mended, in sentences.
    """

    file: smf.File
    messages: smf.Messages
    tracks: smf.Column
    channels: smf.Column
    patterns: smf.Column
    clock: Clock
    pairs: NotePairs
    players: Players
    end_ticks: smf.Column
    end_seconds: NDArray[np.float64]
    notices: tuple[str, ...]

    @cached_property
    def notes(self) -> list[Note]:
        """The notes, with onsets and durations rounded to ticks of 10 ms."""
        on = self.pairs.on
        onsets = np.rint(TICKS_PER_SECOND * self.seconds[on]).astype(int)
        durations = np.rint(TICKS_PER_SECOND * (self.end_seconds - self.seconds[on])).astype(int)
        columns = (onsets, durations, self.messages.data1[on], self.instruments, self.messages.data2[on])
        rows = zip(*(column.tolist() for column in columns), strict=True)
        return list(map(_NEW_NOTE, rows))

    @property
    def seconds(self) -> NDArray[np.float64]:
        """When each message comes, from the start of the file."""
        return self.clock.seconds

    @property
    def instruments(self) -> smf.Column:
        """The instrument of each note; 128 is drums."""
        return self.players.instruments

    @property
    def note_tracks(self) -> smf.Column:
        """The number of each note's track."""
        return self.tracks[self.pairs.on]

    @property
    def note_channels(self) -> smf.Column:
        """16 x port + channel of each note."""
        return self.channels[self.pairs.on]

    @cached_property
    def length_seconds(self) -> float:
        """When the piece ends: with its last note, or with its last track if that is on a beat a bar or less behind.

        So a clip ends on its bar line. A silent tail of hours does not count, nor do some ticks that a writer leaves.
        """
        last, end = int(self.end_ticks.max(initial=0)), max(self.file.track_ends)
        if self.file.has_beats and 0 < last < end:
            since, beats, beat_ticks = self._metre(last)
            if end - last <= beats * beat_ticks and (end - since) % beat_ticks == 0:
                begin, stop = np.array([0]), np.array([len(self.messages)])
                return float(_seconds_at(self.file, self.messages, self.clock, np.array([end]), begin, stop)[0])
        return float(self.end_seconds.max(initial=0))

    def _metre(self, tick: int) -> tuple[int, int, int]:
        """Return (file tick at which the metre of a time begins, beats in its bars, file ticks of a beat)."""
        found = np.flatnonzero((self.messages.kind == TIME_SIGNATURE) & (self.messages.tick <= tick))
        if not len(found):
            return 0, 4, self.file.ticks_per_beat
        numerator, power, *_ = int(self.messages.data1[found[-1]]).to_bytes(4, "big")
        return int(self.messages.tick[found[-1]]), numerator, max(4 * self.file.ticks_per_beat >> power, 1)


def read_score(data: bytes) -> Score:
    """Read a MIDI file. Raise MidiError if the bytes are none."""
    file = smf.read(data)
    track_numbers = file.track_numbers()
    patterns = track_numbers * (file.type == 2)  # in the other types all tracks sound together
    order = np.lexsort((file.messages.tick, patterns))
    messages, patterns, tracks = file.messages[order], patterns[order], track_numbers[order]
    ports = find_ports(file)[order]
    channels = N_CHANNELS * (ports + patterns * (int(ports.max(initial=0)) + 1)) + messages.channel
    clock = message_times(file, messages, starts_pattern=np.diff(patterns, prepend=-1) > 0)
    pairs = pair_notes(messages, channels, tracks)
    notices = [*file.notices, *_notices_of_notes(pairs)]
    single = _without_doubles(messages, channels, pairs.on)
    if not single.all():
        pairs = pairs.where(single)
        notices.append(
            f"{(~single).sum()} notes of a second arrangement for other devices on channels 13 to 16 are left out"
        )
    players = find_players(messages, data, channels, tracks, pairs.on)
    ends = _ends(file, messages, tracks, patterns, clock, pairs)
    return Score(file, messages, tracks, channels, patterns, clock, pairs, players, *ends, tuple(notices))


def _ends(
    file: smf.File,
    messages: smf.Messages,
    tracks: smf.Column,
    patterns: smf.Column,
    clock: Clock,
    pairs: NotePairs,
) -> tuple[smf.Column, NDArray[np.float64]]:
    """Return (the file tick, the second) at which each note ends; those that end with their track, at its end.

    If that is long after the last note message of all, they end there, but last a beat at least.
    """
    ticks, at_end = messages.tick[pairs.end], clock.seconds[pairs.end]
    unended = np.flatnonzero(pairs.end == TRACK_END)
    if not len(unended):
        return ticks, at_end
    on = pairs.on[unended]
    note_messages = np.concatenate([pairs.on, pairs.end[pairs.end != TRACK_END]])
    last = np.zeros(len(file.track_lengths), np.int64)  # note message of each pattern, of which there are no more
    np.maximum.at(last, patterns[note_messages], note_messages)
    last = last[patterns[on]]
    limits = np.array(file.track_ends)[tracks[on]]
    begin, stop = (np.searchsorted(patterns, patterns[on], side=side) for side in ("left", "right"))
    is_mistaken = _seconds_at(file, messages, clock, limits, begin, stop) > clock.seconds[last] + MAX_TAIL_SECONDS
    beat = file.ticks_per_beat or round(DEFAULT_BEAT_SECONDS / file.tick_seconds(smf.DEFAULT_TEMPO))
    limits = np.where(is_mistaken, np.maximum(messages.tick[last], messages.tick[on] + beat), limits)
    ticks[unended] = limits
    at_end[unended] = _seconds_at(file, messages, clock, limits, begin, stop)
    return ticks, at_end


def _seconds_at(
    file: smf.File, messages: smf.Messages, clock: Clock, ticks: smf.Column, begin: smf.Column, stop: smf.Column
) -> NDArray[np.float64]:
    """Return when file ticks are; each is of the pattern whose messages are in range begin..stop.

    None is before the first message of its pattern.
    """
    low, high = begin.copy(), stop.copy()
    while (is_open := low < high).any():  # a binary search of all at once for the first message that is later
        middle = (low + high) // 2
        is_later = messages.tick[np.minimum(middle, len(messages) - 1)] > ticks
        low = np.where(is_open & ~is_later, middle + 1, low)
        high = np.where(is_open & is_later, middle, high)
    before = np.maximum(low - 1, 0)
    since = (ticks - messages.tick[before]) * clock.tick_seconds[before]
    times: NDArray[np.float64] = clock.seconds[before] + since
    return times


def _notices_of_notes(pairs: NotePairs) -> list[str]:
    n_open = int((~pairs.is_closed).sum())
    if not n_open:
        return []
    return [f"{n_open} notes were never closed" if n_open > 1 else "1 note was never closed"]


def _without_doubles(messages: smf.Messages, channels: smf.Column, on: smf.Column) -> NDArray[np.bool_]:
    """Return which notes are no second arrangement: old files hold one for small devices on channels 13 to 16.

    Source: Microsoft's MIDI mapper: extended devices play channels 1 to 10, base-level ones 13 to 16.
    """
    everything = np.ones(len(on), np.bool_)
    note_channels = channels[on]
    used = set(note_channels.tolist())
    if not {15, DRUM_CHANNEL} <= used or used & {10, 11} or max(used) >= N_CHANNELS:
        return everything
    is_base = np.isin(note_channels, _BASE_CHANNELS)
    keys = list(zip(messages.tick[on].tolist(), messages.data1[on].tolist(), strict=True))
    extended = Counter(key for key, base in zip(keys, is_base.tolist(), strict=True) if not base)
    doubled = sum(key in extended for key, base in zip(keys, is_base.tolist(), strict=True) if base)
    return ~is_base if doubled >= MIN_DOUBLED * is_base.sum() else everything
