"""Pair each message that switches a note on with the one that switches it off."""

from collections import defaultdict, deque
from typing import Final, NamedTuple

import numpy as np

from amt.midi.channels import DRUM_CHANNEL
from amt.midi.notes import DRUMS
from amt.midi.smf import NOTE_OFF, NOTE_ON, PROGRAM_CHANGE, Column, Messages

UNPAIRED: Final = -1
"""In the place of a note-off's index: the note is never switched off."""

_PITCH_BITS: Final = 7
_CHANNEL_BITS: Final = 4
_KEY_BITS: Final = _CHANNEL_BITS + _PITCH_BITS


class NotePairs(NamedTuple):
    """List the notes of a file in the order in which they are switched on; each array has shape = (n_notes,).

    Attributes:
        on: the index of the message that switches the note on.
        off: that of the message that switches it off, or `UNPAIRED`.
        instruments: the program of the note's channel when it is switched on, or 128 for drums.
    """

    on: Column
    off: Column
    instruments: Column


def pair_notes(messages: Messages, patterns: Column) -> NotePairs:
    """Pair the note messages of a file.

    A note-off closes the oldest open note of its channel, pitch and instrument, as in the reference. No note outlasts
    its pattern.

    Args:
        messages: in order of time.
        patterns: the number of the pattern that each message belongs to; all the same unless the file has type 2.
    """
    used = np.flatnonzero(np.isin(messages.kind, (NOTE_ON, NOTE_OFF, PROGRAM_CHANGE)))
    columns = (patterns, messages.kind, messages.channel, messages.data1, messages.switches_on)
    rows = zip(used.tolist(), *(column[used].tolist() for column in columns), strict=True)
    on: list[int] = []
    off: list[int] = []
    keys: list[int] = []
    current_pattern = -1
    for index, pattern, kind, channel, data1, switches_on in rows:
        if pattern != current_pattern:
            current_pattern = pattern
            programs = [0] * 16
            programs[DRUM_CHANNEL] = DRUMS
            open_notes: defaultdict[int, deque[int]] = defaultdict(deque)
        if kind == PROGRAM_CHANGE:
            if channel != DRUM_CHANNEL:
                programs[channel] = data1
            continue
        key = programs[channel] << _KEY_BITS | channel << _PITCH_BITS | data1
        if switches_on:
            open_notes[key].append(len(on))
            on.append(index)
            off.append(UNPAIRED)
            keys.append(key)
        elif same_key := open_notes.get(key):
            off[same_key.popleft()] = index
    return NotePairs(np.array(on, int), np.array(off, int), np.array(keys, int) >> _KEY_BITS)
