"""Read Standard MIDI Files tolerantly: only the messages that decide which note sounds when.

mido's reader rejects the whole file at the first byte that it does not expect, also inside messages that we ignore,
and spends most of its time on those. This reader gives well-formed files the order and the meaning that mido gives
them (tests compare the two), skips messages that it does not need, and stops a track where its data stop.

It works in two passes, because Python is slow byte by byte. The first pass only finds where each message begins; the
second decodes all messages at once with NumPy.
Source: Standard MIDI Files 1.0, RP-001 (chunks, running status, meta events); RP-029 (RMID).
"""

from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from amt.errors import MidiError

NOTE_OFF: Final = 0x80
NOTE_ON: Final = 0x90
PROGRAM_CHANGE: Final = 0xC0
TRACK_NAME: Final = 0x03
TEMPO: Final = 0x51
TIME_SIGNATURE: Final = 0x58
OTHER: Final = 0
"""A message that we ignore. It is kept because times are summed message by message, which decides their rounding."""

DEFAULT_TEMPO: Final = 500_000
"""Microseconds per quarter note: 120 bpm."""

_DATA_BYTES: Final = {0x80: 2, 0x90: 2, 0xA0: 2, 0xB0: 2, 0xC0: 1, 0xD0: 1, 0xE0: 2}
_TWO_DATA_BYTES: Final = frozenset(kind | channel for kind, n in _DATA_BYTES.items() if n == 2 for channel in range(16))
_SYSTEM_DATA_BYTES: Final = {0xF1: 1, 0xF2: 2, 0xF3: 1}
_SYSEX: Final = (0xF0, 0xF7)
_META: Final = 0xFF
_END_OF_TRACK: Final = 0x2F
_DROPPED: Final = -1
"""A message that is not kept, although its delta time counts for those after it."""

_MAX_DELTA_BYTES: Final = 4
_MAX_NOTE_BYTES: Final = _MAX_DELTA_BYTES + 3
"""A delta time, a status byte and two data bytes."""

_UNKNOWN_LENGTH: Final = 0x80
_LENGTH_AFTER_DELTA: Final = bytes(
    2 if byte < 0x80 else 3 if byte in _TWO_DATA_BYTES else _UNKNOWN_LENGTH for byte in range(256)
)
"""Number of bytes after the delta time, looked up by the first of them, if the running status takes two data bytes."""

Column = NDArray[np.int64]
"""One field of every message; shape = (n_messages,)."""


class Message(NamedTuple):
    """Hold one message: its time in file ticks from the start of its track, its kind, and its data.

    The data are, for notes: pitch and velocity; program changes: the program; tempos: microseconds per quarter note;
    time signatures: their four bytes as one number; track names: their position in the file, and their length.
    """

    tick: int
    kind: int
    channel: int = 0
    data1: int = 0
    data2: int = 0


@dataclass(frozen=True, eq=False)
class Messages:
    """Hold many messages, one array for each field of `Message`."""

    tick: Column
    kind: Column
    channel: Column
    data1: Column
    data2: Column

    def __len__(self) -> int:
        return len(self.tick)

    def __getitem__(self, index: NDArray[np.int64] | NDArray[np.bool_]) -> "Messages":
        """Return the messages at these places, or those where a mask is true."""
        return Messages(self.tick[index], self.kind[index], self.channel[index], self.data1[index], self.data2[index])

    @property
    def switches_on(self) -> NDArray[np.bool_]:
        """Return which messages begin a note; a note-on with velocity 0 ends one. Shape = (n_messages,)."""
        begins: NDArray[np.bool_] = (self.kind == NOTE_ON) & (self.data2 > 0)
        return begins

    def rows(self) -> list[Message]:
        """Return the messages one by one."""
        columns = (self.tick, self.kind, self.channel, self.data1, self.data2)
        return list(map(Message, *(column.tolist() for column in columns)))


class File(NamedTuple):
    """Hold the messages of a file, track after track, and its unit of time.

    Attributes:
        type: 0, 1 or 2.
        messages: of all tracks.
        track_lengths: the number of messages in each track.
        ticks_per_beat: file ticks per quarter note; 0 if the file counts in SMPTE frames.
        seconds_per_tick: set if the file counts in SMPTE frames; tempo does not matter then.
    """

    type: int
    messages: Messages
    track_lengths: list[int]
    ticks_per_beat: int
    seconds_per_tick: float | None

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
    start = data.find(b"MThd") if data[:4] == b"RIFF" else 0
    header = data[start : start + 14]
    if start < 0 or header[:4] != b"MThd":
        raise MidiError("not a MIDI file: it does not begin with an MThd header")
    if len(header) < 14:
        raise MidiError("the MIDI header is cut short")
    file_type = int.from_bytes(header[8:10], "big")
    if file_type > 2:
        raise MidiError(f"unknown MIDI file type {file_type}: it must be 0, 1 or 2")
    ticks_per_beat, seconds_per_tick = _division(header[12:14])
    layout = _Layout()
    _walk_tracks(data, start + 8 + int.from_bytes(header[4:8], "big"), layout)
    if not layout.track_starts:
        raise MidiError("the MIDI file holds no track")
    return File(file_type, *_decode(data, layout), ticks_per_beat, seconds_per_tick)


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


class _Layout:
    """Collect where each message begins, in the first pass.

    Attributes:
        positions: of each message, the position of its delta time.
        track_starts: of each track, the index of its first message.
        special: (index, kind, data1, data2) of messages that are more than a status byte and two data bytes.
    """

    def __init__(self) -> None:
        self.positions: list[int] = []
        self.track_starts: list[int] = []
        self.special: list[tuple[int, int, int, int]] = []

    def add_special(self, kind: int, data1: int, data2: int) -> None:
        """Set what the message that is added next says."""
        self.special.append((len(self.positions), kind, data1, data2))


def _walk_tracks(data: bytes, position: int, layout: _Layout) -> None:
    """Find the messages of every track chunk, and skip the bytes between the chunks."""
    lengths = _note_lengths(data)
    while (position := data.find(b"MTrk", position)) >= 0:
        body = position + 8
        claimed_end = body + int.from_bytes(data[position + 4 : body], "big")
        end = min(claimed_end, len(data))
        # The last bytes are looked at one by one, so that no message reaches past the chunk.
        tail = max(end - _MAX_NOTE_BYTES, 0)
        lengths[tail:end] = bytes(end - tail)
        layout.track_starts.append(len(layout.positions))
        stop = _walk_track(data, lengths, body, end, layout, stop_at_end_of_track=claimed_end > len(data))
        position = max(stop, body)


def _note_lengths(data: bytes) -> bytearray:
    """Return for each position the length of the message that begins there, or 0 where it must be looked at.

    Lengths are those of messages under a status with two data bytes (notes, controllers, pitch bends), because nearly
    all messages are of that kind.
    """
    padded = np.frombuffer(data.translate(_LENGTH_AFTER_DELTA) + bytes(_MAX_DELTA_BYTES), np.uint8)
    ends_delta = np.frombuffer(data + bytes(_MAX_DELTA_BYTES), np.uint8) < 0x80
    lengths = padded[_MAX_DELTA_BYTES:] + np.uint8(_MAX_DELTA_BYTES)
    for n_delta in range(_MAX_DELTA_BYTES - 1, 0, -1):
        ends_here = ends_delta[n_delta - 1 : n_delta - 1 + len(data)]
        lengths = np.where(ends_here, padded[n_delta : n_delta + len(data)] + np.uint8(n_delta), lengths)
    lengths[lengths >= _UNKNOWN_LENGTH] = 0
    return bytearray(lengths)


def _walk_track(
    data: bytes, lengths: bytearray, position: int, end: int, layout: _Layout, *, stop_at_end_of_track: bool
) -> int:
    """Find the messages of data[position:end], and return where the track stopped.

    An end-of-track message in the middle is skipped, as mido does. A chunk that claims more bytes than the file has
    is the exception: its length cannot be trusted, so the message is the only mark of its end.
    """
    positions = layout.positions
    running_status = 0
    try:
        while position < end:
            if running_status in _TWO_DATA_BYTES:
                while length := lengths[position]:
                    positions.append(position)
                    position += length
            begin = position
            _, position = _variable_length(data, position)
            status = data[position]
            if status >= 0x80:
                position += 1
            elif running_status:
                status = running_status
            else:
                break  # data bytes without a status: there is no way to tell what they mean
            if status < 0xF0:
                running_status = status
                position += _DATA_BYTES[status & 0xF0]
                if position > end:
                    break
            elif status == _META:
                position, kind, *values = _read_meta(data, position)
                if kind == _DROPPED and stop_at_end_of_track:
                    break
                if kind != OTHER:
                    layout.add_special(kind, *values)
            else:
                position = _skip_system_message(data, position, status)
            positions.append(begin)
    except IndexError:  # the file ends in the middle of a message; what came before it is kept
        position = end
    return min(position, end) if stop_at_end_of_track else end


def _read_meta(data: bytes, position: int) -> tuple[int, int, int, int]:
    """Return (where it ends, kind, data1, data2) of the meta message whose type byte is at `position`."""
    meta_type = data[position]
    length, position = _variable_length(data, position + 1)
    payload = data[position : position + length]
    position += length
    if meta_type == _END_OF_TRACK:
        return position, _DROPPED, 0, 0
    if meta_type == TEMPO and length == 3 and any(payload):
        return position, TEMPO, int.from_bytes(payload, "big"), 0
    if meta_type == TIME_SIGNATURE and length == len(payload) == 4:
        return position, TIME_SIGNATURE, int.from_bytes(payload, "big"), 0
    if meta_type == TRACK_NAME:
        return position, TRACK_NAME, position - length, length
    return position, OTHER, 0, 0


def _skip_system_message(data: bytes, position: int, status: int) -> int:
    """Return where a system message ends whose status byte was just before `position`."""
    if status in _SYSEX:
        length, position = _variable_length(data, position)
        return position + length
    return position + _SYSTEM_DATA_BYTES.get(status, 0)


def _decode(data: bytes, layout: _Layout) -> tuple[Messages, list[int]]:
    """Return (all messages, the number of messages in each track)."""
    bytes_at = np.frombuffer(data + bytes(_MAX_NOTE_BYTES), np.uint8)
    delta, position = _delta_times(bytes_at, np.array(layout.positions, np.int64))
    status = bytes_at[position]
    position += status >= 0x80
    status = _with_running_status(status)
    kind = status & 0xF0
    is_read = np.isin(kind, (NOTE_ON, NOTE_OFF, PROGRAM_CHANGE))
    data1, data2 = (np.minimum(bytes_at[position + n], 127) for n in range(2))
    nothing = np.int64(OTHER)
    messages = Messages(
        tick=_ticks_in_track(delta, layout.track_starts),
        kind=np.where(is_read, kind, nothing),
        channel=np.where(is_read, status & 0x0F, nothing),
        data1=np.where(is_read, data1, nothing),
        data2=np.where(is_read & (kind != PROGRAM_CHANGE), data2, nothing),
    )
    special, *values = np.array(layout.special, np.int64).reshape(-1, 4).T
    messages.kind[special], messages.data1[special], messages.data2[special] = values
    kept = messages.kind != _DROPPED
    n_kept = np.concatenate([[0], np.cumsum(kept)])
    return messages[kept], np.diff(n_kept[[*layout.track_starts, len(kept)]]).tolist()


def _delta_times(bytes_at: NDArray[np.uint8], position: Column) -> tuple[Column, Column]:
    """Return (the delta times of the messages at these positions, where each of them ends)."""
    delta, position = np.zeros_like(position), position.copy()
    unfinished = np.arange(len(position))
    for _ in range(_MAX_DELTA_BYTES):
        byte = bytes_at[position[unfinished]]
        delta[unfinished] = delta[unfinished] << 7 | byte & 0x7F
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


def _variable_length(data: bytes, position: int) -> tuple[int, int]:
    """Return (a variable-length quantity of at most 4 bytes, where it ends)."""
    value = 0
    for _ in range(_MAX_DELTA_BYTES):
        byte = data[position]
        position += 1
        value = value << 7 | byte & 0x7F
        if byte < 0x80:
            break
    return value, position
