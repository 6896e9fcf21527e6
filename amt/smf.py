"""Standard MIDI Files, read tolerantly: only what decides which note sounds when, and in which bar.

mido's reader gives up on the whole file at the first byte that it does not expect, also inside messages that we
ignore, and spends most of its time on them. This one keeps the order and the meaning that mido gives to well-formed
files (tests hold it against mido), skips what it need not understand, and stops a track where the data stop.
Source: Standard MIDI Files 1.0, RP-001 (chunks, running status, meta events); RP-029 (RMID).
"""

from collections.abc import Iterator
from typing import Final, NamedTuple

from amt.errors import MidiError

NOTE_OFF: Final = 0x80
NOTE_ON: Final = 0x90
PROGRAM_CHANGE: Final = 0xC0
TEMPO: Final = 0x51
TRACK_NAME: Final = 0x03
TIME_SIGNATURE: Final = 0x58
OTHER: Final = 0
"""A message that we ignore, kept because its place in time decides how seconds are rounded."""

DEFAULT_TEMPO: Final = 500_000
"""Microseconds a quarter note: 120 bpm."""

_DATA_BYTES: Final = {0x80: 2, 0x90: 2, 0xA0: 2, 0xB0: 2, 0xC0: 1, 0xD0: 1, 0xE0: 2}
_SYSTEM_DATA_BYTES: Final = {0xF1: 1, 0xF2: 2, 0xF3: 1}
_SYSEX: Final = (0xF0, 0xF7)
_META: Final = 0xFF
_END_OF_TRACK: Final = 0x2F


class Message(NamedTuple):
    """One message: its time in file ticks from the track's start, what it is, and its data.

    For notes: channel, pitch, velocity. For program changes: channel, program. For tempo: microseconds a quarter.
    For time signatures: their four bytes as one number, whatever they say.
    For a track's name: 0, where the text begins in the file, its length in bytes.
    """

    tick: int
    kind: int
    channel: int = 0
    data1: int = 0
    data2: int = 0


class File(NamedTuple):
    """The tracks of a file and its unit of time."""

    type: int
    tracks: list[list[Message]]
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
    tracks = list(_tracks(data, start + 8 + int.from_bytes(header[4:8], "big")))
    if not tracks:
        raise MidiError("the MIDI file holds no track")
    return File(file_type, tracks, ticks_per_beat, seconds_per_tick)


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


def _tracks(data: bytes, position: int) -> Iterator[list[Message]]:
    """Every track chunk; what lies between them is skipped."""
    while (position := data.find(b"MTrk", position)) >= 0:
        body = position + 8
        end = body + int.from_bytes(data[position + 4 : body], "big")
        messages, stop = _track(data, body, min(end, len(data)), stop_at_end_of_track=end > len(data))
        yield messages
        position = max(stop, body)


def _track(data: bytes, position: int, end: int, *, stop_at_end_of_track: bool) -> tuple[list[Message], int]:
    """The messages of data[position:end], and where the track stopped.

    An end-of-track message in the middle is passed over, as mido does, unless the chunk claims more bytes than the
    file has: then its length is worthless and the message is all there is to go by.
    """
    messages: list[Message] = []
    tick = 0
    running_status = 0
    try:
        while position < end:
            delta, position = _variable_length(data, position)
            tick += delta
            status = data[position]
            if status >= 0x80:
                position += 1
            elif running_status:
                status = running_status
            else:
                break  # no way to tell what these data bytes belong to
            if status < 0xF0:
                running_status = status
                kind, channel = status & 0xF0, status & 0x0F
                data1 = min(data[position], 127)
                data2 = 0
                position += 1
                if _DATA_BYTES[kind] == 2:
                    data2 = min(data[position], 127)
                    position += 1
                if position > end:
                    break
                if kind in (NOTE_ON, NOTE_OFF, PROGRAM_CHANGE):
                    messages.append(Message(tick, kind, channel, data1, data2))
                else:
                    messages.append(Message(tick, OTHER))
            elif status == _META:
                meta_type = data[position]
                length, position = _variable_length(data, position + 1)
                payload = data[position : position + length]
                position += length
                if meta_type == _END_OF_TRACK:
                    if stop_at_end_of_track:
                        break
                elif meta_type == TEMPO and length == 3 and any(payload):
                    messages.append(Message(tick, TEMPO, data1=int.from_bytes(payload, "big")))
                elif meta_type == TIME_SIGNATURE and length == len(payload) == 4:
                    messages.append(Message(tick, TIME_SIGNATURE, data1=int.from_bytes(payload, "big")))
                elif meta_type == TRACK_NAME:
                    messages.append(Message(tick, TRACK_NAME, data1=position - length, data2=length))
                else:
                    messages.append(Message(tick, OTHER))
            else:
                if status in _SYSEX:
                    length, position = _variable_length(data, position)
                else:
                    length = _SYSTEM_DATA_BYTES.get(status, 0)
                position += length
                messages.append(Message(tick, OTHER))
    except IndexError:  # the file ends in the middle of a message; what came before stands
        position = end
    return messages, min(position, end) if stop_at_end_of_track else end


def _variable_length(data: bytes, position: int) -> tuple[int, int]:
    """(a variable-length quantity of at most 4 bytes, where it ended)."""
    value = 0
    for _ in range(4):
        byte = data[position]
        position += 1
        value = value << 7 | byte & 0x7F
        if byte < 0x80:
            break
    return value, position
