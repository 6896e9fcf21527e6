"""Build MIDI files byte by byte. At 500 file ticks a quarter note and 120 bpm, a file tick is 1 ms."""

import struct
from typing import Final, NamedTuple

GM_ON: Final = b"\x7e\x7f\x09\x01\xf7"
GS_RESET: Final = b"\x41\x10\x42\x12\x40\x00\x7f\x00\x41\xf7"
XG_ON: Final = b"\x43\x10\x4c\x00\x00\x7e\x00\xf7"


class Timed(NamedTuple):
    """A message and its file tick."""

    tick: int
    message: bytes


def on(tick, pitch, channel=0, velocity=64):
    return Timed(tick, bytes((0x90 | channel, pitch, velocity)))


def off(tick, pitch, channel=0):
    return Timed(tick, bytes((0x80 | channel, pitch, 64)))


def note(begin, end, pitch, channel=0, velocity=64):
    """The two messages of a note."""
    return [on(begin, pitch, channel, velocity), off(end, pitch, channel)]


def program(tick, number, channel=0):
    return Timed(tick, bytes((0xC0 | channel, number)))


def control(tick, controller, value, channel=0):
    return Timed(tick, bytes((0xB0 | channel, controller, value)))


def bend(tick, value, channel=0):
    """`value`: -8192 to 8191."""
    return Timed(tick, bytes((0xE0 | channel, value + 8192 & 0x7F, value + 8192 >> 7)))


def meta(tick, kind, payload=b""):
    return Timed(tick, bytes((0xFF, kind)) + quantity(len(payload)) + payload)


def sysex(tick, payload):
    return Timed(tick, b"\xf0" + quantity(len(payload)) + payload)


def name(text):
    return meta(0, 0x03, text if isinstance(text, bytes) else text.encode())


def tempo(tick, microseconds):
    return meta(tick, 0x51, microseconds.to_bytes(3, "big"))


def gs_rhythm(tick, channel, value):
    """A GS device's part plays a drum map (1 or 2), or no drums (0)."""
    part = {9: 0}.get(channel, channel + (channel < 9))
    return sysex(tick, bytes((0x41, 0x10, 0x42, 0x12, 0x40, 0x10 | part, 0x15, value, 0x00, 0xF7)))


def xg_part_mode(tick, channel, mode):
    return sysex(tick, bytes((0x43, 0x10, 0x4C, 0x08, channel, 0x07, mode, 0xF7)))


def quantity(value):
    """A variable-length quantity."""
    encoded = [value & 0x7F]
    while value := value >> 7:
        encoded.insert(0, value & 0x7F | 0x80)
    return bytes(encoded)


def body(*events, end=None):
    """What a track's chunk holds: timed messages, or lists of them, in order of time, and the end of the track."""
    flat = [each for event in events for each in ([event] if isinstance(event, Timed) else event)]
    data, now = b"", 0
    for tick, message in sorted(flat, key=lambda each: each.tick):
        data += quantity(tick - now) + message
        now = tick
    return data + quantity(max((now if end is None else end) - now, 0)) + b"\xff\x2f\x00"


def chunk(kind, content):
    return kind + struct.pack(">I", len(content)) + content


def song(*tracks, file_type=1, division=500):
    """A file of tracks, each a list of timed messages or what `body` made of some."""
    bodies = [track if isinstance(track, bytes) else body(*track) for track in tracks]
    header = struct.pack(">HHH", file_type, len(bodies), division)
    return chunk(b"MThd", header) + b"".join(chunk(b"MTrk", each) for each in bodies)
