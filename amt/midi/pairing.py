"""Pair each message that switches a note on with the one that ends it."""

from collections import defaultdict
from collections.abc import Iterable
from itertools import pairwise
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from amt.midi.smf import CONTROL_CHANGE, NOTE_OFF, NOTE_ON, Column, Messages

TRACK_END: Final = -1
"""In the place of a message's index: the note lasts until its track ends."""

ALL_SOUND_OFF: Final = 120
ALL_NOTES_OFF: Final = 123
"""The modes that follow this controller switch all notes off too."""

_PITCH_BITS: Final = 7


class NotePairs(NamedTuple):
    """List the notes of a file in the order in which they are switched on; each array has shape = (n_notes,).

    Attributes:
        on: the index of the message that switches the note on.
        end: that of the message that ends it, or `TRACK_END`.
        is_closed: whether that is a note-off.
    """

    on: Column
    end: Column
    is_closed: NDArray[np.bool_]


def pair_notes(messages: Messages, channels: Column, tracks: Column) -> NotePairs:
    """Pair the note messages of a file.

    A note-off ends the oldest open note of its key that its own track has begun, else the oldest of all. A note that no
    note-off is left for ends when its key is struck again, when all notes of its channel are switched off, or with its
    track. Where notes of one key overlap and one of them is never closed, it is the first that can be.

    Args:
        messages: in order of time.
        channels: for each message a number that tells channels of all ports and patterns apart.
        tracks: the number of each message's track.
    """
    is_mode = (messages.kind == CONTROL_CHANGE) & (
        (messages.data1 == ALL_SOUND_OFF) | (messages.data1 >= ALL_NOTES_OFF)
    )
    used = np.flatnonzero((messages.kind == NOTE_ON) | (messages.kind == NOTE_OFF) | is_mode)
    keys = channels[used] << _PITCH_BITS | np.where(is_mode[used], 0, messages.data1[used])
    columns = (used, keys, tracks[used], messages.switches_on[used], is_mode[used])
    notes = _Notes()
    rows = zip(*(each.tolist() for each in columns), strict=True)
    notes.take(rows)
    return notes.pairs()


class _Notes:
    """Collect notes as they begin and end; a note is known by its number, in the order of beginning."""

    def __init__(self) -> None:
        self._on: list[int] = []
        self._end: list[int] = []
        self._keys: list[int] = []
        self._tracks: list[int] = []
        self._open: defaultdict[int, list[int]] = defaultdict(list)
        self._limits: dict[int, int] = {}

    def take(self, rows: Iterable[tuple[int, int, int, bool, bool]]) -> None:
        """Take messages as (index, key, track, whether it begins a note, whether it ends all of its channel)."""
        on, end, keys, tracks, open_notes = self._on, self._end, self._keys, self._tracks, self._open
        for index, key, track, switches_on, switches_all_off in rows:
            if switches_on:
                open_notes[key].append(len(on))
                on.append(index)
                end.append(TRACK_END)
                keys.append(key)
                tracks.append(track)
            elif switches_all_off:
                self._end_channel(index, key >> _PITCH_BITS)
            elif same_key := open_notes.get(key):  # without an open note a note-off means nothing
                place = 0
                if tracks[same_key[0]] != track:
                    place = next((place for place, note in enumerate(same_key) if tracks[note] == track), 0)
                end[same_key.pop(place)] = index

    def _end_channel(self, index: int, channel: int) -> None:
        """Take a message that switches all notes of a channel off."""
        for key, notes in self._open.items():
            if key >> _PITCH_BITS == channel:
                self._limits.update(dict.fromkeys(notes, index))
                notes.clear()

    def pairs(self) -> NotePairs:
        """Return the pairs when everything has been taken."""
        end = np.array(self._end, int)
        unclosed = np.flatnonzero(end == TRACK_END).tolist()
        if unclosed:
            is_closed = self._end_unclosed({self._keys[note] for note in unclosed})
            end = np.array(self._end, int)
        else:
            is_closed = np.ones(len(end), np.bool_)
        return NotePairs(np.array(self._on, int), end, is_closed)

    def _end_unclosed(self, keys: set[int]) -> NDArray[np.bool_]:
        """End the notes of these keys that are never closed; return which notes of all are closed."""
        is_closed = np.ones(len(self._on), np.bool_)
        by_key: defaultdict[int, list[int]] = defaultdict(list)
        for note, key in enumerate(self._keys):
            if key in keys:
                by_key[key].append(note)
        for notes in by_key.values():
            next_strike = dict(pairwise(notes))
            for track in {self._tracks[note] for note in notes}:
                for cluster in self._overlapping([note for note in notes if self._tracks[note] == track]):
                    for note in self._match(cluster):
                        is_closed[note] = False
                        ends = [self._on[next_strike[note]]] if note in next_strike else []
                        ends += [self._limits[each] for each in cluster if each in self._limits]
                        self._end[note] = min(ends, default=TRACK_END)
        return is_closed

    def _overlapping(self, notes: list[int]) -> list[list[int]]:
        """Return the notes of a key in clusters, before each of which all others have ended."""
        clusters: list[list[int]] = []
        latest = -1.0
        for note in notes:
            if not clusters or latest < self._on[note]:
                clusters.append([])
            clusters[-1].append(note)
            end = self._end[note] if self._end[note] != TRACK_END else self._limits.get(note, np.inf)
            latest = max(latest, end)
        return clusters

    def _match(self, cluster: list[int]) -> list[int]:
        """Pair overlapping notes with their note-offs again, the latest notes first; return those that get none."""
        ends = sorted(end for note in cluster if (end := self._end[note]) != TRACK_END)
        unmatched, matched, left = [], [], list(ends)
        n_free = 0
        for note in reversed(cluster):
            while left and left[-1] > self._on[note]:
                left.pop()
                n_free += 1
            if n_free:
                n_free -= 1
                matched.append(note)
            else:
                unmatched.append(note)
        for note, end in zip(reversed(matched), ends, strict=True):
            self._end[note] = end
        return unmatched
