"""Read Standard MIDI Files tolerantly: every message of every track, wherever a file contradicts itself.

mido's reader rejects the whole file at the first byte that it does not expect, and spends most of its time on messages
that decide nothing. This reader gives well-formed files the order and the meaning that mido gives them (tests compare
the two), and of the others it reads what can be read: headers and lengths are hints, an end-of-track message ends a
track, and what was mended is said in notices.

It works in two passes, because Python is slow byte by byte. The first pass only finds where each message begins; the
second decodes all messages at once with NumPy.
Source: Standard MIDI Files 1.0, RP-001 (chunks, running status, meta events); RP-029 (RMID).
"""

from dataclasses import dataclass, field
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from amt.errors import MidiError

NOTE_OFF: Final = 0x80
NOTE_ON: Final = 0x90
CONTROL_CHANGE: Final = 0xB0
PROGRAM_CHANGE: Final = 0xC0
PITCH_BEND: Final = 0xE0
SYSEX: Final = 0xF0
ESCAPE: Final = 0xF7
"""A message of any bytes; its payload may continue a system exclusive message."""

META: Final = 0x100
"""Added to the type of a meta message, so that no kind means two things."""

TRACK_NAME: Final = META | 0x03
DEVICE_NAME: Final = META | 0x09
CHANNEL_PREFIX: Final = META | 0x20
PORT: Final = META | 0x21
END_OF_TRACK: Final = META | 0x2F
TEMPO: Final = META | 0x51
TIME_SIGNATURE: Final = META | 0x58
OTHER: Final = 0
"""A message that says nothing that we could keep. Its place counts: times are summed message by message."""

DEFAULT_TEMPO: Final = 500_000
"""Microseconds per quarter note: 120 bpm."""

_DATA_BYTES: Final = {0x80: 2, 0x90: 2, 0xA0: 2, 0xB0: 2, 0xC0: 1, 0xD0: 1, 0xE0: 2}
_TWO_DATA_BYTES: Final = frozenset(kind | channel for kind, n in _DATA_BYTES.items() if n == 2 for channel in range(16))
_SYSTEM_DATA_BYTES: Final = {0xF1: 1, 0xF2: 2, 0xF3: 1}
_META_STATUS: Final = 0xFF

_HEADER: Final = b"MThd"
_TRACK: Final = b"MTrk"
_CHUNK_HEADER_BYTES: Final = 8

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

    def __getitem__(self, index: NDArray[np.int64] | NDArray[np.bool_]) -> "Messages":
        """Return the messages at these places, or those where a mask is true."""
        return Messages(*(getattr(self, name)[index] for name in Message._fields))

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
    header = data[start : start + 14]
    if start < 0 or header[:4] != _HEADER:
        raise MidiError("not a MIDI file: it does not begin with an MThd header")
    if len(header) < 14:
        raise MidiError("the MIDI header is cut short")
    ticks_per_beat, seconds_per_tick = _division(header[12:14])
    layout = _Layout()
    first_chunk = start + _CHUNK_HEADER_BYTES + int.from_bytes(header[4:8], "big")
    if not _is_chunk(data, first_chunk):
        first_chunk = start + len(header)
    _walk_chunks(data, first_chunk, layout)
    if not layout.track_starts:
        raise MidiError("the MIDI file holds no track")
    file_type = int.from_bytes(header[8:10], "big")
    if file_type > 2 or (file_type == 0 and len(layout.track_starts) > 1):
        layout.notices.append(f"the header says type {file_type}; the tracks are read as sounding together")
        file_type = 1
    return File(file_type, *_decode(data, layout), ticks_per_beat, seconds_per_tick, data, layout.notices)


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


@dataclass
class _Layout:
    """Collect where each message begins, in the first pass.

    Attributes:
        positions: of each message, the position of its delta time.
        track_starts: of each track, the index of its first message.
        special: (index, kind, data1, begin, end) of messages that are no channel messages.
        notices: what was mended.
    """

    positions: list[int] = field(default_factory=list)
    track_starts: list[int] = field(default_factory=list)
    special: list[tuple[int, int, int, int, int]] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)


def _is_chunk(data: bytes, position: int) -> bool:
    """Tell whether a chunk may begin at a position: a name of four printable characters, and a length."""
    name = data[position : position + 4]
    return len(data) >= position + _CHUNK_HEADER_BYTES and all(0x20 <= byte < 0x7F for byte in name)


def _walk_chunks(data: bytes, position: int, layout: _Layout) -> None:
    """Find the messages of every track; chunks of other kinds are passed over whole."""
    lengths = _note_lengths(data)
    tracks = _track_headers(data, position)
    for header in tracks:  # so that the walk looks at them
        lengths[header] = 0
    while 0 <= position <= len(data) - _CHUNK_HEADER_BYTES:
        body = position + _CHUNK_HEADER_BYTES
        end = body + int.from_bytes(data[position + 4 : body], "big")
        if data[position : position + 4] == _TRACK:
            layout.track_starts.append(len(layout.positions))
            position = _walk_track(data, lengths, body, end, layout)
        elif _is_chunk(data, position) and end <= len(data):
            position = end
        else:
            position = data.find(_TRACK, position + 1)


def _track_headers(data: bytes, position: int) -> list[int]:
    """Return every position where the bytes of a track's header stand: of a track, or within a message."""
    found = []
    while (position := data.find(_TRACK, position)) >= 0:
        found.append(position)
        position += 1
    return found


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


def _walk_track(data: bytes, lengths: bytearray, body: int, claimed_end: int, layout: _Layout) -> int:
    """Find the messages of a track, and return where the next chunk begins.

    The track ends with its end-of-track message, where another track's header stands in the place of a message, or
    where its length says, if a chunk or nothing follows there: else the length claims too few bytes.
    """
    is_end = claimed_end >= len(data) - _CHUNK_HEADER_BYTES or _is_chunk(data, claimed_end)
    end = min(claimed_end, len(data)) if is_end else len(data)
    # The last bytes are looked at one by one, so that no message reaches past the chunk.
    tail = max(end - _MAX_NOTE_BYTES, 0)
    lengths[tail:end] = bytes(end - tail)
    stop, has_end = _walk_messages(data, lengths, body, end, layout)
    number = len(layout.track_starts)
    if stop > claimed_end:
        layout.notices.append(f"track {number} claims {stop - claimed_end} bytes too few")
    elif not has_end and claimed_end > len(data):
        layout.notices.append(f"track {number} is cut short: {claimed_end - len(data)} bytes are missing")
    elif _is_track(data, stop) and stop < claimed_end:
        layout.notices.append(f"track {number} claims {claimed_end - stop} bytes too many")
    elif stop < end:
        layout.notices.append(f"track {number} has {end - stop} bytes behind its end, which are not read")
    if _is_track(data, stop) or not is_end or claimed_end > len(data):
        return stop
    return claimed_end


def _is_track(data: bytes, position: int) -> bool:
    """Tell whether a track begins at a position: no music has its name as delta time and notes, and such a length."""
    return data[position : position + 5] == _TRACK + b"\0"


def _walk_messages(data: bytes, lengths: bytearray, position: int, end: int, layout: _Layout) -> tuple[int, bool]:
    """Find the messages of data[position:end]; return where the track stopped, and whether it says so itself."""
    positions = layout.positions
    running_status = 0
    try:
        while position < end:
            if running_status in _TWO_DATA_BYTES:
                while length := lengths[position]:
                    positions.append(position)
                    position += length
            if _is_track(data, position):
                return position, False
            begin = position
            _, position = _variable_length(data, position)
            status = data[position]
            if status >= 0x80:
                position += 1
            elif running_status:
                status = running_status
            else:
                return begin, False  # data bytes without a status: there is no way to tell what they mean
            if status < 0xF0:
                running_status = status
                position += _DATA_BYTES[status & 0xF0]
                if position > end:
                    return end, False
            else:
                position, kind, value, first, last = _read_system_message(data, position, status)
                layout.special.append((len(positions), kind, value, first, last))
                if kind == END_OF_TRACK:
                    positions.append(begin)
                    return min(position, end), True
            positions.append(begin)
    except IndexError:  # the file ends in the middle of a message; what came before it is kept
        return end, False
    return min(position, end), False


def _read_system_message(data: bytes, position: int, status: int) -> tuple[int, int, int, int, int]:
    """Return (where it ends, kind, data1, begin, end) of a message whose status byte is before `position`."""
    if status not in (SYSEX, ESCAPE, _META_STATUS):
        return position + _SYSTEM_DATA_BYTES.get(status, 0), OTHER, 0, 0, 0
    kind = status
    if status == _META_STATUS:
        kind = META | data[position]
        position += 1
    length, begin = _variable_length(data, position)
    end = begin + length
    payload = data[begin:end]
    value = 0
    if kind == TEMPO:
        value = int.from_bytes(payload, "big") if length == 3 else 0
        kind = TEMPO if value else OTHER
    elif kind == TIME_SIGNATURE:
        value = int.from_bytes(payload, "big") if length == 4 else 0
        kind = TIME_SIGNATURE if length == 4 else OTHER
    if len(payload) < length and kind != END_OF_TRACK:
        kind = OTHER
    return end, kind, value, begin, end


def _decode(data: bytes, layout: _Layout) -> tuple[Messages, list[int], list[int]]:
    """Return (all messages, the number of messages in each track, the file tick at which each track ends)."""
    bytes_at = np.frombuffer(data + bytes(_MAX_NOTE_BYTES), np.uint8)
    delta, position = _delta_times(bytes_at, np.array(layout.positions, np.int64))
    status = bytes_at[position]
    position += status >= 0x80
    status = _with_running_status(status)
    kind = (status & 0xF0).astype(np.int64)
    data1, data2 = (np.minimum(bytes_at[position + n], 127).astype(np.int64) for n in range(2))
    has_two = (kind != PROGRAM_CHANGE) & (kind != 0xD0)
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
    kept = messages.kind != END_OF_TRACK
    n_kept = np.concatenate([[0], np.cumsum(kept)])
    return messages[kept], np.diff(n_kept[[*layout.track_starts, len(kept)]]).tolist(), track_ends


def _track_ends(tick: Column, track_starts: list[int]) -> list[int]:
    """Return the file tick of each track's last message, the end-of-track message if it has one."""
    stops = [*track_starts[1:], len(tick)]
    return [int(tick[stop - 1]) if stop > start else 0 for start, stop in zip(track_starts, stops, strict=True)]


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
