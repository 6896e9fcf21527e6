"""Find out who plays each note: the program, bank and rhythm map of its channel at that time.

Source: General MIDI 1 (RP-003) and 2 (RP-024), Roland GS and Yamaha XG (rhythm parts, drum banks), RP-019 (device
names); `FF 21`, the port of a track, is no standard, but sequencers have written it for thirty years.
"""

from itertools import pairwise
from typing import Final

import numpy as np
from numpy.typing import NDArray

from amt.midi.notes import DRUMS
from amt.midi.smf import (
    CONTROL_CHANGE,
    DEVICE_NAME,
    PORT,
    PROGRAM_CHANGE,
    SYSEX,
    Column,
    File,
    Messages,
)

DRUM_CHANNEL: Final = 9
"""Channel 10, counted from 1 as musicians do."""

N_CHANNELS: Final = 16

BANK_MSB: Final = 0
GM2_DRUM_BANK: Final = 120
XG_DRUM_BANKS: Final = (126, 127)

_GS_HEADER: Final = b"\x41"
_GS_PART_CHANNELS: Final = (9, 0, 1, 2, 3, 4, 5, 6, 7, 8, 10, 11, 12, 13, 14, 15)
"""The channel of each part of a GS device, by the last digit of its address."""

_NEVER: Final = -1


def find_ports(file: File) -> Column:
    """Return a port for each message, counted from 0 in the order in which ports are met; shape = (n_messages,).

    A track that names none is heard on the first.
    """
    messages = file.messages
    named = np.flatnonzero(np.isin(messages.kind, (PORT, DEVICE_NAME)))
    ports = np.zeros(len(messages), np.int64)
    if not len(named):
        return ports
    starts = np.cumsum([0, *file.track_lengths])
    numbers: dict[tuple[bytes, bytes], int] = {}
    for start, stop in pairwise(starts.tolist()):
        port, device = b"\0", b""
        within = named[(named >= start) & (named < stop)].tolist()
        if not within:
            continue
        for index, following in zip(within, [*within[1:], stop], strict=True):
            payload = file.data[int(messages.begin[index]) : int(messages.end[index])]
            if messages.kind[index] == PORT:
                port = payload
            else:
                device = payload
            begin = start if index == within[0] else index  # what stands before its first name is the track's too
            ports[begin:following] = numbers.setdefault((port, device), len(numbers))
    return ports


def find_players(messages: Messages, data: bytes, channels: Column, tracks: Column, on: Column) -> Column:
    """Return the instrument of each note: a program, or 128 for drums; shape = (n_notes,).

    The last program change counts, at the note's own tick wherever it stands there. It may be in another track, if that
    plays no notes on the channel, or if the note's own track has none: tracks that share a channel and have a program
    each keep theirs.

    Args:
        messages: in order of time.
        data: of the file.
        channels: for each message 16 x port + channel.
        tracks: the number of each message's track.
        on: the index of each note's message.
    """
    changes = np.flatnonzero(messages.kind == PROGRAM_CHANGE)
    programs = _programs(messages, data, channels, changes)
    note_tick, note_channel, note_track = messages.tick[on], channels[on], tracks[on]
    own_key = note_channel << 32 | note_track
    change_key = channels[changes] << 32 | tracks[changes]
    change_tick = messages.tick[changes]
    is_setup = ~np.isin(change_key, own_key)
    own = _latest(change_key, change_tick, own_key, note_tick)
    setup = _latest(channels[changes][is_setup], change_tick[is_setup], note_channel, note_tick)
    setup = np.where(setup == _NEVER, _NEVER, np.flatnonzero(is_setup)[setup] if is_setup.any() else _NEVER)
    shared = _latest(channels[changes], change_tick, note_channel, note_tick)
    ticks = np.append(change_tick, -1)  # of `_NEVER`
    chosen = np.where(ticks[setup] > ticks[own], setup, own)
    chosen = np.where(chosen == _NEVER, shared, chosen)
    program = np.append(programs, 0)[chosen]
    rhythm = _rhythm(messages, data, channels, on)
    is_drums = np.where(rhythm == _NEVER, (program == DRUMS) | (note_channel % N_CHANNELS == DRUM_CHANNEL), rhythm == 1)
    return np.where(is_drums, DRUMS, np.where(program == DRUMS, 0, program))


def _latest(keys: Column, ticks: Column, wanted_keys: Column, wanted_ticks: Column) -> Column:
    """Return for each wanted key the place of its last event at or before a tick, or `_NEVER`."""
    if not len(keys):
        return np.full(len(wanted_keys), _NEVER)
    _, ranks = np.unique(np.concatenate([keys, wanted_keys]), return_inverse=True)
    span = int(max(ticks.max(), wanted_ticks.max(initial=0))) + 1
    order = np.lexsort((ticks, ranks[: len(keys)]))
    combined = (ranks[: len(keys)] * span + ticks)[order]
    wanted = ranks[len(keys) :] * span + wanted_ticks
    place = np.searchsorted(combined, wanted, side="right") - 1
    found = order[np.maximum(place, 0)]
    return np.where((place >= 0) & (ranks[found] == ranks[len(keys) :]), found, _NEVER)


def _programs(messages: Messages, data: bytes, channels: Column, changes: Column) -> Column:
    """Return what each program change sets: a program, or 128 if its bank holds drums."""
    programs = messages.data1[changes].copy()
    selects = np.flatnonzero((messages.kind == CONTROL_CHANGE) & (messages.data1 == BANK_MSB))
    if not len(selects):
        return programs
    bank = _latest(channels[selects], selects, channels[changes], changes)
    msb = np.where(bank == _NEVER, 0, messages.data2[selects][bank])
    drum_banks = [GM2_DRUM_BANK, *(XG_DRUM_BANKS if not _has_gs_reset(messages, data) else ())]
    programs[np.isin(msb, drum_banks)] = DRUMS
    return programs


def _payloads(messages: Messages, data: bytes) -> list[tuple[int, bytes]]:
    """Return the index and payload of each system exclusive message."""
    found = np.flatnonzero(messages.kind == SYSEX).tolist()
    return [(index, data[int(messages.begin[index]) : int(messages.end[index])]) for index in found]


def is_rhythm_message(payload: bytes) -> bool:
    """Tell whether a system exclusive message makes a part play drums, or no more: of GS or of XG."""
    is_gs = payload[:1] == _GS_HEADER and payload[2:5] == b"\x42\x12\x40" and len(payload) >= 8
    if is_gs and payload[5] >> 4 == 1 and payload[6] == 0x15:
        return True
    return payload[:1] == b"\x43" and payload[2:4] == b"\x4c\x08" and len(payload) >= 7 and payload[5] == 0x07


def _has_gs_reset(messages: Messages, data: bytes) -> bool:
    """Tell whether the file is for a GS device, where the banks that hold drums on XG hold other sounds."""
    resets = [payload for _, payload in _payloads(messages, data)]
    is_gs = any(each[:1] == _GS_HEADER and each[2:8] == b"\x42\x12\x40\x00\x7f\x00" for each in resets)
    return is_gs and not any(each[:1] == b"\x43" and each[2:7] == b"\x4c\x00\x00\x7e\x00" for each in resets)


def _rhythm(messages: Messages, data: bytes, channels: Column, on: Column) -> NDArray[np.int64]:
    """Return for each note 1 if its channel has been made a rhythm part, 0 if made melodic, else `_NEVER`."""
    settings = []
    for index, payload in _payloads(messages, data):
        if not is_rhythm_message(payload):
            continue
        if payload[:1] == _GS_HEADER:
            channel, is_on = _GS_PART_CHANNELS[payload[5] & 0x0F], payload[7] > 0
        else:
            channel, is_on = payload[4] & 0x0F, payload[6] > 0
        port = int(channels[index]) // N_CHANNELS
        settings.append((index, N_CHANNELS * port + channel, is_on))
    if not settings:
        return np.full(len(on), _NEVER)
    indices, set_channels, states = np.array(settings, np.int64).T
    found = _latest(set_channels, messages.tick[indices], channels[on], messages.tick[on])
    return np.where(found == _NEVER, _NEVER, states[found])
