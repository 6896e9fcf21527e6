"""Hold a MIDI file as a player hears it: every message in order of time, who plays each note, and until when."""

from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np
from numpy.typing import NDArray

from amt.midi import smf
from amt.midi.notes import TICKS_PER_SECOND, Note
from amt.midi.pairing import TRACK_END, NotePairs, pair_notes
from amt.midi.players import DRUM_CHANNEL, N_CHANNELS, find_players, find_ports
from amt.midi.timing import message_seconds

MAX_TAIL_SECONDS: Final = 60
"""An end of track later than this behind the last message of all is taken for a mistake."""

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
        seconds: when each message comes, from the start of the file.
        pairs: the messages that begin and end each note.
        instruments: of each note; 128 is drums.
        end_ticks: the file tick at which each note ends.
        end_seconds: likewise in seconds.
        notices: what was mended, in sentences.
    """

    file: smf.File
    messages: smf.Messages
    tracks: smf.Column
    channels: smf.Column
    seconds: NDArray[np.float64]
    pairs: NotePairs
    instruments: smf.Column
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
        return list(map(Note, *(column.tolist() for column in columns)))

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
        """When the piece ends: with its last track if that is on a beat a bar or less behind the last note, else with it.

        So a clip ends on its bar line. A silent tail of hours does not count, nor do some ticks that a writer leaves.
        """
        last, end = int(self.end_ticks.max(initial=0)), max(self.file.track_ends)
        if not self.file.seconds_per_tick and self.file.type != 2 and last < end:
            begin, beats, beat_ticks = self._metre(last)
            if end - last <= beats * beat_ticks and (end - begin) % beat_ticks == 0:
                return float(_seconds_at(self.file, self.messages, self.seconds, np.array([end]))[0])
        return float(self.end_seconds.max(initial=0))

    def _metre(self, tick: int) -> tuple[int, int, int]:
        """Return (file tick at which the metre of a time begins, beats in its bars, file ticks of a beat)."""
        found = np.flatnonzero((self.messages.kind == smf.TIME_SIGNATURE) & (self.messages.tick <= tick))
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
    seconds = message_seconds(file, messages, starts_pattern=np.diff(patterns, prepend=-1) > 0)
    pairs = pair_notes(messages, channels, tracks)
    instruments = find_players(messages, data, channels, tracks, pairs.on)
    end_ticks, end_seconds = _ends(file, messages, tracks, patterns, seconds, pairs)
    notices = [*file.notices, *_notices_of_notes(pairs)]
    single = _without_doubles(messages, channels, pairs.on)
    if not single.all():
        notices.append(
            f"{(~single).sum()} notes of a second arrangement for other devices on channels 13 to 16 are left out"
        )
        pairs = NotePairs(pairs.on[single], pairs.end[single], pairs.is_closed[single])
        instruments, end_ticks, end_seconds = instruments[single], end_ticks[single], end_seconds[single]
    return Score(file, messages, tracks, channels, seconds, pairs, instruments, end_ticks, end_seconds, tuple(notices))


def _ends(
    file: smf.File,
    messages: smf.Messages,
    tracks: smf.Column,
    patterns: smf.Column,
    seconds: NDArray[np.float64],
    pairs: NotePairs,
) -> tuple[smf.Column, NDArray[np.float64]]:
    """Return (the file tick, the second) at which each note ends; those that end with their track, at its end."""
    end = pairs.end
    if not (end == TRACK_END).any():
        return messages.tick[end], seconds[end]
    limit = np.array(file.track_ends)[tracks[pairs.on]]
    last = np.zeros(int(patterns.max()) + 1, np.int64)
    np.maximum.at(last, patterns, messages.tick)
    per_second = 1 / max(file.tick_seconds(smf.DEFAULT_TEMPO), 1e-9)
    is_mistaken = limit > last[patterns[pairs.on]] + MAX_TAIL_SECONDS * per_second
    limit = np.where(is_mistaken, last[patterns[pairs.on]], limit)
    ticks = np.where(end == TRACK_END, limit, messages.tick[end])
    begins = np.searchsorted(patterns, patterns[pairs.on])
    stops = np.searchsorted(patterns, patterns[pairs.on], side="right")
    at_end = seconds[end].copy()
    for note in np.flatnonzero(end == TRACK_END).tolist():
        within = slice(int(begins[note]), int(stops[note]))
        own = _seconds_at(file, messages[np.arange(within.start, within.stop)], seconds[within], ticks[[note]])
        at_end[note] = own[0]
    return ticks, at_end


def _seconds_at(
    file: smf.File, messages: smf.Messages, seconds: NDArray[np.float64], ticks: smf.Column
) -> NDArray[np.float64]:
    """Return when file ticks are, by the last message before each; messages are of one pattern, in order of time."""
    if not len(messages):
        return ticks * np.float64(file.tick_seconds(smf.DEFAULT_TEMPO))
    place = np.searchsorted(messages.tick, ticks, side="right") - 1
    changes = np.flatnonzero(messages.kind == smf.TEMPO)
    tempos = np.concatenate([[smf.DEFAULT_TEMPO], messages.data1[changes]])
    tempo = tempos[np.searchsorted(changes, place, side="right")]
    tick_seconds = np.array([file.tick_seconds(each) for each in tempo.tolist()], np.float64)
    before = np.where(place >= 0, seconds[np.maximum(place, 0)], 0.0)
    since = ticks - np.where(place >= 0, messages.tick[np.maximum(place, 0)], 0)
    times: NDArray[np.float64] = before + since * tick_seconds
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
