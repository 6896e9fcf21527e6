"""Encode messages, tracks and files as bytes."""

import struct
from collections.abc import Iterable, Sequence
from typing import Final

from amt.midi.chunks import MAX_VARIABLE_LENGTH
from amt.midi.kinds import END_OF_TRACK, META, N_CHANNELS, SYSEX

MAX_TRACKS: Final = 0xFFFF


def variable_length(value: int) -> bytes:
    """Return a number of at most 28 bits as a variable-length quantity; a larger one is taken for the largest."""
    if value < 0x80:
        return bytes((value,))
    value = min(value, MAX_VARIABLE_LENGTH)
    encoded = [value & 0x7F]
    while value := value >> 7:
        encoded.append(value & 0x7F | 0x80)
    return bytes(reversed(encoded))


def channel_message(kind: int, channel: int, *data: int) -> bytes:
    """Return a channel message; of a channel past the first port its number there."""
    return bytes((kind | channel % N_CHANNELS, *data))


def meta_message(kind: int, payload: bytes) -> bytes:
    """Return a meta message."""
    return bytes((0xFF, kind & ~META)) + variable_length(len(payload)) + payload


def sysex_message(payload: bytes) -> bytes:
    """Return a system exclusive message of the data bytes of a payload."""
    clean = bytes(byte for byte in payload if byte < 0x80)
    return bytes((SYSEX,)) + variable_length(len(clean) + 1) + clean + b"\xf7"


def encode_track(messages: Iterable[tuple[int, bytes]], end: int) -> bytes:
    """Return the chunk of a track.

    Args:
        messages: (file tick, message), in order.
        end: the file tick at which the track ends, unless a message is later.
    """
    parts, previous = [], 0
    for tick, message in messages:
        parts.append(variable_length(tick - previous))
        parts.append(message)
        previous = tick
    parts.append(variable_length(max(end - previous, 0)))
    parts.append(meta_message(END_OF_TRACK, b""))
    body = b"".join(parts)
    return b"MTrk" + struct.pack(">I", len(body)) + body


def encode_file(tracks: Sequence[bytes], ticks_per_beat: int) -> bytes:
    """Return a file of type 1; it can hold `MAX_TRACKS`."""
    tracks = tracks[:MAX_TRACKS]
    return b"MThd" + struct.pack(">IHHH", 6, 1, len(tracks), ticks_per_beat) + b"".join(tracks)
