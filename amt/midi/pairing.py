"""Pair each message that switches a note on with the one that ends it."""

from collections import defaultdict, deque
from collections.abc import Iterable, Sequence
from itertools import groupby, islice
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from amt.midi.kinds import ALL_NOTES_OFF, ALL_SOUND_OFF, CONTROL_CHANGE, NOTE_OFF, NOTE_ON
from amt.midi.smf import Column, Messages

TRACK_END: Final = -1
"""In the place of a message's index: the note lasts until its track ends."""

MAX_SEARCHED: Final = 256
"""Open notes of one key that are searched for one of the note-off's own track."""

_PITCH_BITS: Final = 7


class NotePairs(NamedTuple):
    """List the notes of a file in the order in which they are switched on; each array has shape = (n_notes,).

    Attributes:
        on: the index of the message that switches the note on.
        end: that of the message that ends it, or `TRACK_END`.
        is_closed: whether there is a note-off for it.
    """

    on: Column
    end: Column
    is_closed: NDArray[np.bool_]

    def where(self, mask: NDArray[np.bool_]) -> "NotePairs":
        """Return the notes where a mask is true."""
        return NotePairs(self.on[mask], self.end[mask], self.is_closed[mask])


def switch_all_off(messages: Messages) -> NDArray[np.bool_]:
    """Return which messages end all notes of their channel; shape = (n_messages,)."""
    is_mode = (messages.data1 == ALL_SOUND_OFF) | (messages.data1 >= ALL_NOTES_OFF)
    found: NDArray[np.bool_] = (messages.kind == CONTROL_CHANGE) & is_mode
    return found


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
    is_mode = switch_all_off(messages)
    used = np.flatnonzero((messages.kind == NOTE_ON) | (messages.kind == NOTE_OFF) | is_mode)
    is_mode, begins = is_mode[used], messages.switches_on[used]
    keys = channels[used] << _PITCH_BITS | np.where(is_mode, 0, messages.data1[used])
    numbers, ends = np.cumsum(begins) - 1, np.full(np.count_nonzero(begins), TRACK_END)
    first, second = _plain(keys, begins, is_mode)
    ends[numbers[first]] = used[second]
    is_left = np.ones(len(used), np.bool_)
    is_left[first] = is_left[second] = False
    notes = _Notes(used[begins], keys[begins], tracks[used[begins]], ends)
    columns = (numbers, used, keys, tracks[used], begins, is_mode)
    notes.take(zip(*(each[is_left].tolist() for each in columns), strict=True))
    return notes.pairs(messages.tick)


def _plain(keys: Column, begins: NDArray[np.bool_], is_mode: NDArray[np.bool_]) -> tuple[Column, Column]:
    """Return which messages begin a note while no other of its key is open, and which end these, next of their key.

    Most do, and need not be looked at one by one. Where all notes of a channel are ended together none is returned.

    Args:
        keys: of messages in order of time; shape = (n,), as the others.
        begins: which begin a note.
        is_mode: which end all notes of their channel; they have one of its keys.
    """
    order = np.argsort(keys, kind="stable")
    own, on = keys[order], begins[order]
    key = np.cumsum(np.diff(own, prepend=own[:1]) != 0)
    before = np.concatenate([[0], np.cumsum(np.where(on, 1, -1))])[:-1]
    apart = (2 * len(order) + 1) * key  # so that the lowest number so far is one of the same key
    n_open = before - (np.minimum.accumulate(before - apart) + apart)
    is_plain = on[:-1] & ~on[1:] & (n_open[:-1] == 0) & (key[:-1] == key[1:])
    if is_mode.any():
        is_plain &= ~np.isin(own[:-1] >> _PITCH_BITS, keys[is_mode] >> _PITCH_BITS)
    places = np.flatnonzero(is_plain)
    return order[places], order[places + 1]


class _OpenNotes(dict[int, deque[int]]):
    """Hold the open notes of each key, the oldest first."""

    def __init__(self) -> None:
        super().__init__()
        self._keys: defaultdict[int, list[int]] = defaultdict(list)

    def __missing__(self, key: int) -> deque[int]:
        """Begin with a key, and remember that its channel has it."""
        self._keys[key >> _PITCH_BITS].append(key)
        notes = self[key] = deque()
        return notes

    def pop_channel(self, channel: int) -> list[tuple[int, deque[int]]]:
        """Remove and return the keys of a channel with their open notes."""
        return [(key, self.pop(key)) for key in self._keys.pop(channel, ())]


class _Notes:
    """Find the ends of notes; a note is known by its number, in the order of beginning."""

    def __init__(self, on: Column, keys: Column, tracks: Column, ends: Column) -> None:
        """Begin with the index of the message that begins each note, its key, its track, and its end if it is known."""
        self._on: list[int] = on.tolist()
        self._keys: list[int] = keys.tolist()
        self._tracks: list[int] = tracks.tolist()
        self._end: list[int] = ends.tolist()
        self._limits: dict[int, int] = {}
        """When a note was ended with all others of its channel."""
        self._limited: dict[int, deque[int]] = {}
        self._closed_late: set[int] = set()

    def take(self, rows: Iterable[tuple[int, int, int, int, bool, bool]]) -> None:
        """Take messages: (last note, index, key, track, whether it begins that, whether it ends all of its channel)."""
        end, tracks = self._end, self._tracks
        open_notes = _OpenNotes()
        for note, index, key, track, switches_on, switches_all_off in rows:
            if switches_on:
                open_notes[key].append(note)
            elif switches_all_off:
                for ended_key, notes in open_notes.pop_channel(key >> _PITCH_BITS):
                    self._limits.update(dict.fromkeys(notes, index))
                    self._limited.setdefault(ended_key, deque()).extend(notes)
            elif same_key := open_notes.get(key):
                if tracks[same_key[0]] == track:
                    end[same_key.popleft()] = index
                else:
                    end[self._pop_own(same_key, track)] = index
            elif limited := self._limited.get(key):  # else a note-off without an open note means nothing
                self._closed_late.add(limited.popleft())

    def _pop_own(self, notes: deque[int], track: int) -> int:
        """Remove and return the oldest note of a track, or of all if it has none."""
        own = (place for place, note in enumerate(islice(notes, MAX_SEARCHED)) if self._tracks[note] == track)
        place = next(own, 0)
        note = notes[place]
        del notes[place]
        return note

    def pairs(self, ticks: Column) -> NotePairs:
        """Return the pairs when everything has been taken; `ticks`: of all messages."""
        is_closed = np.ones(len(self._on), np.bool_)
        if TRACK_END in self._end:
            on_ticks = ticks[self._on].tolist()
            wanted = {key for key, end in zip(self._keys, self._end, strict=True) if end == TRACK_END}
            by_key: defaultdict[int, list[int]] = defaultdict(list)
            for note, key in enumerate(self._keys):
                if key in wanted:
                    by_key[key].append(note)
            found = [note for notes in by_key.values() for note in self._end_unclosed(notes, on_ticks)]
            is_closed[[note for note in found if note not in self._closed_late]] = False
        return NotePairs(np.array(self._on, int), np.array(self._end, int), is_closed)

    def _end_unclosed(self, notes: list[int], on_ticks: Sequence[int]) -> list[int]:
        """End the notes of a key that are never closed, and return them."""
        by_track: defaultdict[int, list[int]] = defaultdict(list)
        for note in notes:
            by_track[self._tracks[note]].append(note)
        unmatched: list[tuple[int, int]] = []
        for own in by_track.values():
            for cluster in self._overlapping(own):
                limit = next((self._limits[note] for note in cluster if note in self._limits), TRACK_END)
                unmatched += [(note, limit) for note in self._match(cluster)]
        for note, _ in unmatched:
            self._end[note] = TRACK_END
        following = self._following_ends(notes, on_ticks)
        for note, limit in unmatched:
            ends = [end for end in (following[on_ticks[note]], limit) if end != TRACK_END]
            self._end[note] = min(ends, default=TRACK_END)
        return [note for note, _ in unmatched]

    def _following_ends(self, notes: list[int], on_ticks: Sequence[int]) -> dict[int, int]:
        """Return for the tick of each strike of a key what ends those of them that no note-off ends.

        That is the next strike at a later tick, or what ends another that was struck with them.
        """
        ends: dict[int, int] = {}
        next_strike: list[int] = []
        for tick, struck in groupby(reversed(notes), key=lambda note: on_ticks[note]):
            together = list(struck)
            closing = [self._end[note] for note in together if self._end[note] != TRACK_END]
            ends[tick] = min([*closing, *next_strike], default=TRACK_END)
            next_strike = [self._on[together[-1]]]
        return ends

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
