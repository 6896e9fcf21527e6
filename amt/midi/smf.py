"""Read Standard MIDI Files tolerantly: every message of every track, wherever a file contradicts itself.

mido's reader rejects the whole file at the first byte that it does not expect, and spends most of its time on messages
that decide nothing. This reader gives well-formed files the order and the meaning that mido gives them (tests compare
the two), and of the others it reads what can be read: headers and lengths are hints, an end-of-track message ends a
track, and what was mended is said in notices.

It works in two passes, because Python is slow byte by byte. The first pass only finds where each message begins; the
second decodes all messages at once with NumPy.
Source: Standard MIDI Files 1.0, RP-001 (chunks, running status, meta events); RP-029 (RMID).
"""

from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from amt.errors import MidiError
from amt.midi.chunks import CHUNK_HEADER_BYTES, MAX_NOTE_BYTES, MAX_VARIABLE_LENGTH, Layout, find_messages
from amt.midi.kinds import CHANNEL_PRESSURE, END_OF_TRACK, NOTE_ON, PROGRAM_CHANGE

DEFAULT_TEMPO: Final = 500_000
"""Microseconds per quarter note: 120 bpm."""

_HEADER: Final = b"MThd"
_HEADER_BYTES: Final = CHUNK_HEADER_BYTES + 6

Column = NDArray[np.int64]
"""One field of every message; shape = (n_messages,)."""


class Message(NamedTuple):
    """Hold one message: its time in file ticks from the start of its track, its kind, and its data.

    The data are, for channel messages: their data bytes; tempos: microseconds per quarter note; time signatures: their
    four bytes as one number; of other meta messages and of system exclusive ones none.

    Attributes:
        begin: where its payload begins in the file: the data bytes, or those behind the length.
        end: where it ends.
    """

    tick: int
    kind: int
    channel: int = 0
    data1: int = 0
    data2: int = 0
    begin: int = 0
    end: int = 0


@dataclass(frozen=True, eq=False)
class Messages:
    """Hold many messages, one array for each field of `Message`."""

    tick: Column
    kind: Column
    channel: Column
    data1: Column
    data2: Column
    begin: Column
    end: Column

    def __len__(self) -> int:
        return len(self.tick)

    def __getitem__(self, index: Column) -> "Messages":
        """Return the messages at these places."""
        return Messages(*(getattr(self, name).take(index) for name in Message._fields))

    @property
    def switches_on(self) -> NDArray[np.bool_]:
        """Return which messages begin a note; a note-on with velocity 0 ends one. Shape = (n_messages,)."""
        begins: NDArray[np.bool_] = (self.kind == NOTE_ON) & (self.data2 > 0)
        return begins

    def rows(self) -> list[Message]:
        """Return the messages one by one."""
        return list(map(Message, *(getattr(self, name).tolist() for name in Message._fields)))


class File(NamedTuple):
    """Hold the messages of a file, track after track, and its unit of time.

    Attributes:
        type: 0, 1 or 2.
        messages: of all tracks, without their ends.
        track_lengths: the number of messages in each track.
        track_ends: the file tick at which each track ends.
        ticks_per_beat: file ticks per quarter note; 0 if the file counts in SMPTE frames.
        seconds_per_tick: set if the file counts in SMPTE frames; tempo does not matter then.
        data: the bytes that were read.
        notices: what was mended, in sentences.
    """

    type: int
    messages: Messages
    track_lengths: list[int]
    track_ends: list[int]
    ticks_per_beat: int
    seconds_per_tick: float | None
    data: bytes
    notices: list[str]

    @property
    def has_beats(self) -> bool:
        """Whether its times can be counted in beats: it has no SMPTE frames, and no patterns that are independent."""
        return not self.seconds_per_tick and self.type != 2

    def tick_seconds(self, tempo: int) -> float:
        """Return the length of a file tick at a tempo in microseconds per quarter note."""
        return self.seconds_per_tick or tempo * 1e-6 / self.ticks_per_beat

    def track_numbers(self) -> Column:
        """Return for each message which track holds it, counted from 0."""
        return np.repeat(np.arange(len(self.track_lengths)), self.track_lengths)


def read(data: bytes) -> File:
    """Read a MIDI file, with or without a RIFF (RMID) wrapper.

    Raises:
        MidiError: there is no header or no track, or the unit of time makes no sense.
    """
    start = data.find(_HEADER) if data[:4] == b"RIFF" else 0
    header = data[start : start + _HEADER_BYTES]
    if start < 0 or header[:4] != _HEADER:
        raise MidiError("not a MIDI file: it does not begin with an MThd header")
    if len(header) < _HEADER_BYTES:
        raise MidiError("the MIDI header is cut short")
    ticks_per_beat, seconds_per_tick = _division(header[12:14])
    claimed_end = start + CHUNK_HEADER_BYTES + int.from_bytes(header[4:8], "big")
    layout = find_messages(data, start + _HEADER_BYTES, claimed_end)
    n_tracks = len(layout.track_starts)
    if not n_tracks:
        raise MidiError("the MIDI file holds no track")
    file_type, claimed_tracks = (int.from_bytes(header[place : place + 2], "big") for place in (8, 10))
    notices = []
    if claimed_tracks != n_tracks:
        notices.append(f"the header claims {claimed_tracks} tracks: there are {n_tracks}")
    if file_type > 2 or (file_type == 0 and n_tracks > 1):
        notices.append(f"the header says type {file_type}: the tracks are read as sounding together, as in type 1")
        file_type = 1
    decoded = _decode(data, layout)
    return File(file_type, *decoded, ticks_per_beat, seconds_per_tick, data, [*notices, *layout.notices])


def _division(field: bytes) -> tuple[int, float | None]:
    """Return (ticks per quarter note, None), or (0, seconds per tick) if the field counts SMPTE frames."""
    if field[0] < 0x80:
        ticks_per_beat = int.from_bytes(field, "big")
        if not ticks_per_beat:
            raise MidiError("the MIDI header gives 0 ticks a quarter note: it must be in range 1..32767")
        return ticks_per_beat, None
    frames_per_second = 256 - field[0]
    if frames_per_second not in (24, 25, 29, 30) or not field[1]:
        raise MidiError(f"the MIDI header gives an unknown SMPTE time code: {frames_per_second} x {field[1]}")
    real_rate = 30_000 / 1_001 if frames_per_second == 29 else float(frames_per_second)
    return 0, 1 / (real_rate * field[1])


def _decode(data: bytes, layout: Layout) -> tuple[Messages, list[int], list[int]]:
    """Return (all messages, the number of messages in each track, the file tick at which each track ends)."""
    bytes_at = np.frombuffer(data + bytes(MAX_NOTE_BYTES), np.uint8)
    delta, position = _delta_times(bytes_at, np.array(layout.positions, np.int64))
    status = bytes_at[position]
    position += status >= 0x80
    status = _with_running_status(status)
    kind = (status & 0xF0).astype(np.int64)
    data1, data2 = (np.minimum(bytes_at[position + n], 127).astype(np.int64) for n in range(2))
    has_two = (kind != PROGRAM_CHANGE) & (kind != CHANNEL_PRESSURE)
    tick = _ticks_in_track(delta, layout.track_starts)
    messages = Messages(
        tick=tick,
        kind=kind,
        channel=(status & 0x0F).astype(np.int64),
        data1=data1,
        data2=data2 * has_two,
        begin=position,
        end=position + 1 + has_two,
    )
    special, kinds, values, begins, ends = np.array(layout.special, np.int64).reshape(-1, 5).T
    messages.kind[special], messages.channel[special] = kinds, 0
    messages.data1[special], messages.data2[special] = values, 0
    messages.begin[special], messages.end[special] = begins, ends
    track_ends = _track_ends(tick, layout.track_starts)
    kept = np.flatnonzero(messages.kind != END_OF_TRACK)
    places = np.searchsorted(kept, [*layout.track_starts, len(messages)])
    return messages[kept], np.diff(places).tolist(), track_ends


def _track_ends(tick: Column, track_starts: list[int]) -> list[int]:
    """Return the file tick of each track's last message, the end-of-track message if it has one."""
    stops = [*track_starts[1:], len(tick)]
    return [int(tick[stop - 1]) if stop > start else 0 for start, stop in zip(track_starts, stops, strict=True)]


def _delta_times(bytes_at: NDArray[np.uint8], position: Column) -> tuple[Column, Column]:
    """Return (the delta times of the messages at these positions, where each of them ends)."""
    delta, position = np.zeros_like(position), position.copy()
    unfinished = np.arange(len(position))
    while len(unfinished):
        byte = bytes_at[position[unfinished]]
        delta[unfinished] = np.minimum(delta[unfinished] << 7 | byte & 0x7F, MAX_VARIABLE_LENGTH)
        position[unfinished] += 1
        unfinished = unfinished[byte >= 0x80]
    return delta, position


def _with_running_status(status: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Replace data bytes in the place of a status by the last channel status before them; shape = (n_messages,)."""
    sets_status = (status >= 0x80) & (status < 0xF0)
    last_set = np.maximum.accumulate(np.where(sets_status, np.arange(len(status)), 0))
    return np.where(status < 0x80, status[last_set], status)


def _ticks_in_track(delta: Column, track_starts: list[int]) -> Column:
    """Return delta times summed within each track; shape = (n_messages,)."""
    total = np.concatenate([[0], np.cumsum(delta)])
    before_track = total[track_starts]
    track_lengths = np.diff([*track_starts, len(delta)])
    ticks: Column = total[1:] - np.repeat(before_track, track_lengths)
    return ticks
