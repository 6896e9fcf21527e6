"""Find out who plays each note: the program, bank and rhythm map of its channel at that time.

Source: General MIDI 1 (RP-003) and 2 (RP-024), Roland GS and Yamaha XG (rhythm parts, drum banks).
"""

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from amt.midi.kinds import BANK_MSB, CONTROL_CHANGE, DRUM_CHANNEL, N_CHANNELS, PROGRAM_CHANGE, SYSEX
from amt.midi.notes import DRUMS
from amt.midi.smf import Column, Messages

GM2_DRUM_BANK: Final = 120
XG_DRUM_BANKS: Final = (126, 127)

_ROLAND: Final = b"\x41"
_YAMAHA: Final = b"\x43"
_UNIVERSAL: Final = b"\x7e"
_GS_PART_CHANNELS: Final = (9, 0, 1, 2, 3, 4, 5, 6, 7, 8, 10, 11, 12, 13, 14, 15)
"""The channel of each part of a GS device, by the last digit of its address."""

_NEVER: Final = -1


class Players(NamedTuple):
    """Hold who plays.

    Attributes:
        instruments: of each note, a program, or 128 for drums; shape = (n_notes,).
        by_track: the channels (16 x port + channel) whose tracks keep a program each.
    """

    instruments: Column
    by_track: frozenset[int]


def find_players(messages: Messages, data: bytes, channels: Column, tracks: Column, on: Column) -> Players:
    """Find the instrument of each note.

    It is the last program of the note's channel, at the note's own tick wherever that stands. Where tracks share a
    channel and have a program each from the start, each keeps its own; some programs write so.

    Args:
        messages: in order of time.
        data: of the file.
        channels: for each message 16 x port + channel.
        tracks: the number of each message's track.
        on: the index of each note's message.
    """
    changes = np.flatnonzero(messages.kind == PROGRAM_CHANGE)
    programs = _programs(messages, data, channels, changes)
    by_track = _channels_by_track(messages, channels, tracks, on, changes)
    change_channel, change_track, change_tick = channels[changes], tracks[changes], messages.tick[changes]
    note_channel, note_track, note_tick = channels[on], tracks[on], messages.tick[on]
    own_keys = _keys(change_channel, change_track), _keys(note_channel, note_track)
    chosen = _latest(change_channel, change_tick, note_channel, note_tick)
    if by_track:
        # Tracks without notes, and only those, speak for all of their channel.
        is_setup = ~np.isin(own_keys[0], own_keys[1])
        key = np.where(is_setup, -1 - change_channel, own_keys[0])
        own = _latest(key, change_tick, own_keys[1], note_tick)
        setup = _latest(key, change_tick, -1 - note_channel, note_tick)
        ticks = np.append(change_tick, -1)  # of `_NEVER`
        later = np.where(ticks[setup] > ticks[own], setup, own)
        chosen = np.where(np.isin(note_channel, list(by_track)), later, chosen)
    if len(np.unique(_keys(change_tick, change_channel))) < len(changes):
        # Between two changes at one tick in its own track a note has the first.
        just_before = _latest(own_keys[0], changes, own_keys[1], on)
        is_explicit = (just_before != _NEVER) & (np.append(change_tick, -1)[just_before] == note_tick)
        chosen = np.where(is_explicit, just_before, chosen)
    program = np.append(programs, 0)[chosen]
    rhythm = _rhythm(messages, data, channels, on)
    is_drums = np.where(rhythm == _NEVER, (program == DRUMS) | (note_channel % N_CHANNELS == DRUM_CHANNEL), rhythm == 1)
    return Players(np.where(is_drums, DRUMS, np.where(program == DRUMS, 0, program)), by_track)


def _keys(major: Column, minor: Column) -> Column:
    """Return one number for each pair."""
    return major << 32 | minor


def _channels_by_track(
    messages: Messages, channels: Column, tracks: Column, on: Column, changes: Column
) -> frozenset[int]:
    """Return the channels whose tracks have a program each.

    They are several, each sets one with its first note or before, and these differ; and they set them at one time, or
    no other channel plays but for drums. Else tracks take turns on a channel, and the last change counts for all.
    """
    if len(changes) < 2:
        return frozenset()
    keys, first_notes = np.unique(_keys(channels[on], tracks[on]), return_index=True)
    change_keys, first_changes = np.unique(_keys(channels[changes], tracks[changes]), return_index=True)
    first_change = dict(zip(change_keys.tolist(), changes[first_changes].tolist(), strict=True))
    found: dict[int, list[tuple[bool, int, int]]] = {}
    for key, note in zip(keys.tolist(), on[first_notes].tolist(), strict=True):
        change = first_change.get(key, note)
        tick = int(messages.tick[change])
        is_set = change != note and tick <= messages.tick[note]
        found.setdefault(key >> 32, []).append((is_set, tick, int(messages.data1[change])))
    melodic = [channel for channel in found if channel % N_CHANNELS != DRUM_CHANNEL]
    return frozenset(
        channel
        for channel in melodic
        if all(is_set for is_set, _, _ in found[channel])
        and len({program for _, _, program in found[channel]}) > 1
        and (len(melodic) == 1 or len({tick for _, tick, _ in found[channel]}) == 1)
    )


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
    return _rhythm_part(payload) is not None


def _rhythm_part(payload: bytes) -> tuple[int, bool] | None:
    """Return (the channel that the message makes a rhythm part, or no more; whether it does), or None."""
    if payload[:1] == _ROLAND and payload[2:5] == b"\x42\x12\x40" and len(payload) >= 8:
        if payload[5] >> 4 == 1 and payload[6] == 0x15:
            return _GS_PART_CHANNELS[payload[5] & 0x0F], payload[7] > 0
    elif payload[:1] == _YAMAHA and payload[2:4] == b"\x4c\x08" and len(payload) >= 7 and payload[5] == 0x07:
        return payload[4] & 0x0F, payload[6] > 0
    return None


def _is_gs_reset(payload: bytes) -> bool:
    return payload[:1] == _ROLAND and payload[2:8] == b"\x42\x12\x40\x00\x7f\x00"


def _is_xg_reset(payload: bytes) -> bool:
    return payload[:1] == _YAMAHA and payload[2:7] == b"\x4c\x00\x00\x7e\x00"


def _is_reset(payload: bytes) -> bool:
    """Tell whether a system exclusive message makes channel 10 the only rhythm part: a reset of GM, GS or XG."""
    is_gm = payload[:1] == _UNIVERSAL and payload[2:3] == b"\x09" and payload[3:4] in (b"\x01", b"\x03")
    return is_gm or _is_gs_reset(payload) or _is_xg_reset(payload)


def _has_gs_reset(messages: Messages, data: bytes) -> bool:
    """Tell whether the file is for a GS device, where the banks that hold drums on XG hold other sounds."""
    resets = [payload for _, payload in _payloads(messages, data)]
    return any(map(_is_gs_reset, resets)) and not any(map(_is_xg_reset, resets))


def _rhythm(messages: Messages, data: bytes, channels: Column, on: Column) -> NDArray[np.int64]:
    """Return for each note 1 if its channel has been made a rhythm part, 0 if made melodic, else `_NEVER`."""
    payloads = _payloads(messages, data)
    settings = []
    for index, payload in payloads:
        if part := _rhythm_part(payload):
            port = int(channels[index]) // N_CHANNELS
            settings.append((int(messages.tick[index]), 1, N_CHANNELS * port + part[0], int(part[1])))
    if not settings:
        return np.full(len(on), _NEVER)
    of_port: dict[int, set[int]] = {}
    for _, _, channel, _ in settings:
        of_port.setdefault(channel // N_CHANNELS, set()).add(channel)
    for index, payload in payloads:
        if _is_reset(payload):  # what is set at the same time is meant to come after it
            reset = of_port.get(int(channels[index]) // N_CHANNELS, ())
            settings += [(int(messages.tick[index]), 0, channel, _NEVER) for channel in reset]
    ticks, _, of_channels, states = np.array(sorted(settings, key=lambda each: each[:2]), np.int64).T
    found = _latest(of_channels, ticks, channels[on], messages.tick[on])
    return np.where(found == _NEVER, _NEVER, states[found])
