"""Standard MIDI Files, read tolerantly: only what decides which note sounds when.

mido's reader gives up on the whole file at the first byte that it does not expect, also inside messages that we
ignore, and spends most of its time on them. This one keeps the order and the meaning that mido gives to well-formed
files (tests hold it against mido), skips what it need not understand, and stops a track where the data stop. Python
only walks from one message to the next; what they say is then read of all messages at once.
Source: Standard MIDI Files 1.0, RP-001 (chunks, running status, meta events); RP-029 (RMID).
"""

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
"""A message that we ignore, kept because its place in time decides how seconds are rounded."""

DEFAULT_TEMPO: Final = 500_000
"""Microseconds a quarter note: 120 bpm."""

_DATA_BYTES: Final = {0x80: 2, 0x90: 2, 0xA0: 2, 0xB0: 2, 0xC0: 1, 0xD0: 1, 0xE0: 2}
_TWO_DATA_BYTES: Final = frozenset(kind | channel for kind, n in _DATA_BYTES.items() if n == 2 for channel in range(16))
_SYSTEM_DATA_BYTES: Final = {0xF1: 1, 0xF2: 2, 0xF3: 1}
_SYSEX: Final = (0xF0, 0xF7)
_META: Final = 0xFF
_END_OF_TRACK: Final = 0x2F
_DROPPED: Final = -1
"""A message that is not kept, though its time counts."""

_MAX_DELTA_BYTES: Final = 4
_LONGEST_STEP: Final = _MAX_DELTA_BYTES + 3
_UNKNOWN_STEP: Final = 0x80
_STEP_AFTER_DELTA: Final = bytes(
    2 if byte < 0x80 else 3 if byte in _TWO_DATA_BYTES else _UNKNOWN_STEP for byte in range(256)
)
"""By the byte behind a message's delta time: how many more bytes it has if the running status takes two data bytes."""

Messages = NDArray[np.int64]
"""Shape = (n_messages, 5): a `Message` in each row."""


class Message(NamedTuple):
    """One message: its time in file ticks from the track's start, what it is, and its data.

    For notes: channel, pitch, velocity. For program changes: channel, program. For tempo: microseconds a quarter. For
    time signatures: their four bytes as one number. For track names: where in the file they begin, and their length.
    """

    tick: int
    kind: int
    channel: int = 0
    data1: int = 0
    data2: int = 0


class File(NamedTuple):
    """What a file says, track after track, and its unit of time."""

    type: int
    messages: Messages
    lengths: list[int]
    """How many messages each track has."""

    ticks_per_beat: int
    seconds_per_tick: float | None
    """Set when the file counts in SMPTE frames, and then tempo does not matter."""

    def tick_seconds(self, tempo: int) -> float:
        """How long a tick lasts at a tempo in microseconds a quarter note."""
        return self.seconds_per_tick or tempo * 1e-6 / self.ticks_per_beat


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
    found = _Found()
    _walk_tracks(data, start + 8 + int.from_bytes(header[4:8], "big"), found)
    if not found.tracks:
        raise MidiError("the MIDI file holds no track")
    return File(file_type, *_decode(data, found), ticks_per_beat, seconds_per_tick)


def _division(field: bytes) -> tuple[int, float | None]:
    """(ticks a quarter note, None) or (0, seconds a tick) when the field counts SMPTE frames."""
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


class _Found:
    """Where the messages are.

    Attributes:
        positions: of each message, where its delta time begins.
        tracks: how many messages there were when each track began.
        special: (which message, kind, data1, data2) where more than the status decides.
    """

    def __init__(self) -> None:
        self.positions: list[int] = []
        self.tracks: list[int] = []
        self.special: list[tuple[int, int, int, int]] = []

    def mark(self, kind: int, data1: int = 0, data2: int = 0) -> None:
        """The message to be added next is special."""
        self.special.append((len(self.positions), kind, data1, data2))


def _walk_tracks(data: bytes, position: int, found: _Found) -> None:
    """Find the messages of every track chunk; what lies between them is skipped."""
    steps = _steps(data)
    while (position := data.find(b"MTrk", position)) >= 0:
        body = position + 8
        claimed = body + int.from_bytes(data[position + 4 : body], "big")
        end = min(claimed, len(data))
        steps[max(end - _LONGEST_STEP, 0) : end] = bytes(end - max(end - _LONGEST_STEP, 0))
        found.tracks.append(len(found.positions))
        stop = _walk(data, steps, body, end, found, stop_at_end_of_track=claimed > len(data))
        position = max(stop, body)


def _steps(data: bytes) -> bytearray:
    """For each position how long the message is that begins there, or 0 where only a closer look can tell.

    Messages under a status that takes two data bytes: notes, pedals, bends; that is nearly all.
    """
    padded = np.frombuffer(data.translate(_STEP_AFTER_DELTA) + bytes(_MAX_DELTA_BYTES), np.uint8)
    ends_delta = np.frombuffer(data + bytes(_MAX_DELTA_BYTES), np.uint8) < 0x80
    steps = padded[_MAX_DELTA_BYTES:] + np.uint8(_MAX_DELTA_BYTES)
    for length in range(_MAX_DELTA_BYTES - 1, 0, -1):
        ends_here = ends_delta[length - 1 : length - 1 + len(data)]
        steps = np.where(ends_here, padded[length : length + len(data)] + np.uint8(length), steps)
    steps[steps >= _UNKNOWN_STEP] = 0
    return bytearray(steps)


def _walk(data: bytes, steps: bytearray, position: int, end: int, found: _Found, *, stop_at_end_of_track: bool) -> int:
    """Find the messages of data[position:end]; return where the track stopped.

    An end-of-track message in the middle is passed over, as mido does, unless the chunk claims more bytes than the
    file has: then its length is worthless and the message is all there is to go by.
    """
    positions = found.positions
    running_status = 0
    try:
        while position < end:
            if running_status in _TWO_DATA_BYTES:
                while step := steps[position]:  # there is none in the chunk's last bytes
                    positions.append(position)
                    position += step
            begin = position
            _, position = _variable_length(data, position)
            status = data[position]
            if status >= 0x80:
                position += 1
            elif running_status:
                status = running_status
            else:
                break  # no way to tell what these data bytes belong to
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
                    found.mark(kind, *values)
            else:
                position = _behind_system_message(data, position, status)
            positions.append(begin)
    except IndexError:  # the file ends in the middle of a message; what came before stands
        position = end
    return min(position, end) if stop_at_end_of_track else end


def _read_meta(data: bytes, position: int) -> tuple[int, int, int, int]:
    """(where it ends, kind, data1, data2) of a meta message whose type is at `position`."""
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


def _behind_system_message(data: bytes, position: int, status: int) -> int:
    if status in _SYSEX:
        length, position = _variable_length(data, position)
        return position + length
    return position + _SYSTEM_DATA_BYTES.get(status, 0)


def _decode(data: bytes, found: _Found) -> tuple[Messages, list[int]]:
    """(all messages, how many each track has)."""
    buffer = np.frombuffer(data + bytes(_LONGEST_STEP), np.uint8)
    position = np.array(found.positions, np.int64)
    delta = np.zeros(len(position), np.int64)
    unfinished = np.arange(len(position))
    for _ in range(_MAX_DELTA_BYTES):
        byte = buffer[position[unfinished]]
        delta[unfinished] = delta[unfinished] << 7 | byte & 0x7F
        position[unfinished] += 1
        unfinished = unfinished[byte >= 0x80]
    status = buffer[position]
    position += status >= 0x80
    starts_run = (status >= 0x80) & (status < 0xF0)
    run = np.maximum.accumulate(np.where(starts_run, np.arange(len(status)), 0))
    status = np.where(status < 0x80, status[run], status)
    kind = status & 0xF0
    messages = np.zeros((len(position), len(Message._fields)), np.int64)
    messages[:, 0] = _since_track_began(delta, found.tracks)
    messages[:, 1:4] = np.stack([kind, status & 0x0F, np.minimum(buffer[position], 127)], axis=1)
    messages[:, 4] = np.minimum(buffer[position + 1], 127) * (kind != PROGRAM_CHANGE)
    messages[~np.isin(kind, (NOTE_ON, NOTE_OFF, PROGRAM_CHANGE)), 1:] = OTHER
    special, kinds, data1, data2 = np.array(found.special, np.int64).reshape(-1, 4).T
    messages[special, 1], messages[special, 3], messages[special, 4] = kinds, data1, data2
    kept = messages[:, 1] != _DROPPED
    n_kept = np.concatenate([[0], np.cumsum(kept)])
    return messages[kept], np.diff(n_kept[[*found.tracks, len(kept)]]).tolist()


def _since_track_began(delta: NDArray[np.int64], tracks: list[int]) -> NDArray[np.int64]:
    """Delta times, shape = (n_messages,), added up in each track."""
    total = np.concatenate([[0], np.cumsum(delta)])
    before = total[tracks]
    lengths = np.diff([*tracks, len(delta)])
    ticks: NDArray[np.int64] = total[1:] - np.repeat(before, lengths)
    return ticks


def _variable_length(data: bytes, position: int) -> tuple[int, int]:
    """(a variable-length quantity of at most 4 bytes, where it ended)."""
    value = 0
    for _ in range(_MAX_DELTA_BYTES):
        byte = data[position]
        position += 1
        value = value << 7 | byte & 0x7F
        if byte < 0x80:
            break
    return value, position
