"""Find where each message of a MIDI file begins, whatever its headers and lengths claim.

This is the first pass of `amt.midi.smf`, byte by byte. Lengths are hints: an end-of-track message ends a track, and
what was mended is said in notices. A chunk of another kind is passed over whole.
Source: Standard MIDI Files 1.0, RP-001 (chunks, running status, meta events).
"""

from dataclasses import dataclass, field
from typing import Final

import numpy as np

from amt.midi.kinds import END_OF_TRACK, ESCAPE, META, OTHER, SYSEX, TEMPO, TIME_SIGNATURE

CHUNK_HEADER_BYTES: Final = 8
MAX_DELTA_BYTES: Final = 4
"""As the standard has it; longer ones are read, but no value above 28 bits."""

MAX_VARIABLE_LENGTH: Final = 0x0FFF_FFFF
MAX_NOTE_BYTES: Final = MAX_DELTA_BYTES + 3
"""A delta time, a status byte and two data bytes."""

_TRACK: Final = b"MTrk"
_END_OF_TRACK_BYTES: Final = b"\xff\x2f\x00"
_META_STATUS: Final = 0xFF
_DATA_BYTES: Final = {0x80: 2, 0x90: 2, 0xA0: 2, 0xB0: 2, 0xC0: 1, 0xD0: 1, 0xE0: 2}
_TWO_DATA_BYTES: Final = frozenset(kind | channel for kind, n in _DATA_BYTES.items() if n == 2 for channel in range(16))
_SYSTEM_DATA_BYTES: Final = {0xF1: 1, 0xF2: 2, 0xF3: 1}

_UNKNOWN_LENGTH: Final = 0x80
_LENGTH_AFTER_DELTA: Final = bytes(
    2 if byte < 0x80 else 3 if byte in _TWO_DATA_BYTES else _UNKNOWN_LENGTH for byte in range(256)
)
"""Number of bytes after the delta time, looked up by the first of them, if the running status takes two data bytes."""


@dataclass
class Layout:
    """Collect where each message begins.

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


def find_messages(data: bytes, header_end: int, claimed_header_end: int) -> Layout:
    """Return where the messages of every track begin.

    Args:
        data: of the file.
        header_end: where a header of the usual length ends.
        claimed_header_end: where the header ends by its own claim.
    """
    is_usual = _is_track(data, header_end) or not _is_chunk(data, claimed_header_end)
    layout = Layout()
    _walk_chunks(data, header_end if is_usual else claimed_header_end, layout)
    return layout


def _is_chunk(data: bytes, position: int) -> bool:
    """Tell whether a chunk may begin at a position: that of a track, or one whose length fits into the file.

    Notes can look like a name of four printable characters, but hardly like such a length too.
    """
    name, body = data[position : position + 4], position + CHUNK_HEADER_BYTES
    if name == _TRACK:
        return True
    is_name = len(data) >= body and all(0x20 <= byte < 0x7F for byte in name)
    return is_name and body + int.from_bytes(data[position + 4 : body], "big") <= len(data)


def _is_track(data: bytes, position: int) -> bool:
    """Tell whether a track begins at a position: no music has its name as delta time and notes, and such a length."""
    return data[position : position + 5] == _TRACK + b"\0"


def _walk_chunks(data: bytes, position: int, layout: Layout) -> None:
    """Find the messages of every track; chunks of other kinds are passed over whole."""
    lengths = _note_lengths(data)
    for header in _track_headers(data, position):  # so that the walk looks at them
        lengths[header] = 0
    while 0 <= position <= len(data) - CHUNK_HEADER_BYTES:
        body = position + CHUNK_HEADER_BYTES
        end = body + int.from_bytes(data[position + 4 : body], "big")
        if data[position : position + 4] == _TRACK:
            layout.track_starts.append(len(layout.positions))
            position = _walk_track(data, lengths, body, end, layout)
        elif _is_chunk(data, position):
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
    padded = np.frombuffer(data.translate(_LENGTH_AFTER_DELTA) + bytes(MAX_DELTA_BYTES), np.uint8)
    ends_delta = np.frombuffer(data + bytes(MAX_DELTA_BYTES), np.uint8) < 0x80
    lengths = np.zeros(len(data), np.uint8)
    for n_delta in range(MAX_DELTA_BYTES, 0, -1):
        ends_here = ends_delta[n_delta - 1 : n_delta - 1 + len(data)]
        lengths = np.where(ends_here, padded[n_delta : n_delta + len(data)] + np.uint8(n_delta), lengths)
    lengths[lengths >= _UNKNOWN_LENGTH] = 0
    return bytearray(lengths)


def _walk_track(data: bytes, lengths: bytearray, body: int, claimed_end: int, layout: Layout) -> int:
    """Find the messages of a track, and return where the next chunk begins.

    The track ends with its end-of-track message, where another track's header stands in the place of a message, or
    where its length says. The length says too little if its end-of-track message comes later.
    """
    end = _track_limit(data, claimed_end)
    # The last bytes are looked at one by one, so that no message reaches past the chunk.
    tail = max(end - MAX_NOTE_BYTES, 0)
    lengths[tail:end] = bytes(end - tail)
    stop, has_end = _walk_messages(data, lengths, body, end, layout)
    number = len(layout.track_starts)
    begins_track = _is_track(data, stop)
    is_plausible = claimed_end == len(data) or _is_chunk(data, claimed_end)
    if stop > claimed_end:
        layout.notices.append(f"track {number} claims {_bytes(stop - claimed_end)} too few")
    elif not has_end and claimed_end > len(data):
        layout.notices.append(f"track {number} is cut short: {_bytes(claimed_end - len(data))} are missing")
    elif stop < claimed_end and (begins_track or (has_end and not is_plausible)):
        layout.notices.append(f"track {number} claims {_bytes(claimed_end - stop)} too many")
    elif stop < end:
        layout.notices.append(f"track {number} has {_bytes(end - stop)} behind its end that are not read")
    elif not has_end:
        layout.notices.append(f"track {number} has no end-of-track message")
    return stop if begins_track or stop > claimed_end or not is_plausible else claimed_end


def _track_limit(data: bytes, claimed_end: int) -> int:
    """Return where a track must end: by its length, or later if neither a chunk nor the end of the file is there."""
    if claimed_end >= len(data) or _is_chunk(data, claimed_end):
        return min(claimed_end, len(data))
    following = data.find(_TRACK + b"\0", claimed_end)
    following = len(data) if following < 0 else following
    # Its end-of-track message may stand across the claimed end.
    has_end = data.find(_END_OF_TRACK_BYTES, claimed_end - len(_END_OF_TRACK_BYTES) + 1, following) >= 0
    return following if has_end else claimed_end


def _bytes(count: int) -> str:
    return f"{count} byte" if count == 1 else f"{count} bytes"


def _walk_messages(data: bytes, lengths: bytearray, position: int, end: int, layout: Layout) -> tuple[int, bool]:
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
            _, position = variable_length(data, position)
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
                position, kind, value, first = _read_system_message(data, position, status)
                is_whole = position <= end or kind == END_OF_TRACK
                layout.special.append((len(positions), kind if is_whole else OTHER, value, first, position))
                if kind == END_OF_TRACK:
                    positions.append(begin)
                    return min(position, end), True
            positions.append(begin)
    except IndexError:  # the file ends in the middle of a message; what came before it is kept
        return end, False
    return min(position, end), False


def _read_system_message(data: bytes, position: int, status: int) -> tuple[int, int, int, int]:
    """Return (where it ends, kind, data1, where its payload begins) of a message whose status is before `position`."""
    if status not in (SYSEX, ESCAPE, _META_STATUS):
        return position + _SYSTEM_DATA_BYTES.get(status, 0), OTHER, 0, 0
    kind = status
    if status == _META_STATUS:
        kind = META | data[position]
        position += 1
    length, begin = variable_length(data, position)
    end, value = begin + length, 0
    if kind == TEMPO:
        value = int.from_bytes(data[begin:end], "big") if length == 3 else 0
        kind = TEMPO if value else OTHER
    elif kind == TIME_SIGNATURE:
        value = int.from_bytes(data[begin:end], "big") if length == 4 else 0
        kind = TIME_SIGNATURE if length == 4 else OTHER
    return end, kind, value, begin


def variable_length(data: bytes, position: int) -> tuple[int, int]:
    """Return (a variable-length quantity, where it ends)."""
    value = 0
    while True:
        byte = data[position]
        position += 1
        value = min(value << 7 | byte & 0x7F, MAX_VARIABLE_LENGTH)
        if byte < 0x80:
            return value, position
