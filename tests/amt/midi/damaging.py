"""Damage valid MIDI files, the same way each time."""

import random
import struct

from tests.amt.midi.building import (
    GS_RESET,
    bend,
    body,
    control,
    gs_rhythm,
    meta,
    name,
    note,
    on,
    program,
    song,
    sysex,
    tempo,
    xg_part_mode,
)
from tests.amt.midi.files import CASES, contents

LARGEST = 5_000
TELLING = b"\x00\x01\x2f\x51\x7f\x80\x90\xb0\xc0\xf0\xf7\xff"
"""Bytes that mean something."""


def built_file():
    """A file that has nearly everything that a file can have."""
    conductor = [tempo(0, 500_000), meta(0, 0x58, b"\4\2\x18\x08"), tempo(900, 400_000), meta(0, 0x02, b"(C)")]
    piano = [name("ピアノ".encode("cp932")), meta(0, 0x21, b"\0"), program(0, 4), control(0, 64, 127), on(0, 60)]
    hands = [name("Left"), *note(0, 900, 60), *note(100, 300, 64), control(950, 123, 0), bend(200, 99)]
    drums = [sysex(0, GS_RESET), gs_rhythm(0, 10, 1), *note(10, 300, 40, 10), xg_part_mode(400, 3, 1)]
    other = [meta(0, 0x21, b"\1"), control(0, 0, 127, 4), program(0, 9, 4), *note(500, 900, 36, 4), meta(600, 5, b"La")]
    return song(conductor, piano, hands, drums, body(other, end=2_000))


def valid_files():
    """Small files of many kinds."""
    return [built_file(), *(contents(case) for case in CASES if len(contents(case)) < LARGEST)]


def damaged(data, chance):
    """Return the data with one to six edits."""
    data = bytearray(data)
    for _ in range(chance.randint(1, 6)):
        place = chance.randrange(len(data) + 1)
        kind = chance.choice(("flip", "put", "cut", "copy", "insert", "length", "count", "end"))
        if kind == "flip" and place < len(data):
            data[place] ^= 1 << chance.randrange(8)
        elif kind == "put":
            data[place : place + 1] = bytes((chance.choice(TELLING),))
        elif kind == "cut":
            del data[place : place + chance.randint(1, 40)]
        elif kind == "copy":
            data[place:place] = data[place : place + chance.randint(1, 400)]
        elif kind == "insert":
            data[place:place] = chance.randbytes(chance.randint(1, 12))
        elif kind == "length":
            _change_length(data, chance)
        elif kind == "count" and len(data) >= 14:
            data[chance.choice((7, 9, 11, 12, 13))] = chance.randrange(256)
        elif kind == "end" and chance.random() < 0.3:
            del data[place:]
    return bytes(data)


def _change_length(data, chance):
    """Let a track claim more or fewer bytes."""
    found = [place for place in range(14, len(data) - 8) if data[place : place + 4] == b"MTrk"]
    if found:
        place = chance.choice(found) + 4
        (length,) = struct.unpack(">I", data[place : place + 4])
        surplus = chance.choice((-40, -9, -4, -3, -1, 1, 2, 4, 8, 40, 1_000, 1 << 28))
        data[place : place + 4] = struct.pack(">I", max(length + surplus, 0))


def damaged_files(seed, count):
    """Damaged files; the same for the same seed."""
    chance = random.Random(seed)
    files = valid_files()
    return [damaged(chance.choice(files), chance) for _ in range(count)]
