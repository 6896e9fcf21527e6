"""Keep new notes from copying a piece at length."""

from bisect import bisect_left
from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from amt.midi.notes import N_PITCHES, Note

MAX_COPIED_NOTES: Final = 12
"""So many new notes in a row may be equal to notes of the piece in a row."""

PART_END: Final = -1
"""Stands among the piece's keys where a run cannot go on."""


def keys_in_order(*parts: Iterable[Note]) -> tuple[int, ...]:
    """Return the keys of the parts of a piece, each in the order in which `CopyGuard` counts them."""
    ordered = [sorted((note.onset, N_PITCHES * note.instrument + note.pitch) for note in part) for part in parts]
    return tuple(key for part in ordered if part for key in (*(key for _, key in part), PART_END))


class _Matches(NamedTuple):
    """Hold where in the piece the last new notes stand, and how many of them; both arrays have shape = (n_places,).

    Attributes:
        nexts: the places after them, in order.
        lengths: how many notes are equal.
        longest: the greatest length, 0 if there is no place.
    """

    nexts: NDArray[np.intp]
    lengths: NDArray[np.int16]
    longest: int


_NO_MATCHES: Final = _Matches(np.zeros(0, dtype=np.intp), np.zeros(0, dtype=np.int16), 0)


class CopyGuard:
    """Know which notes may not come next because more than `MAX_COPIED_NOTES` in a row would be equal to the piece's.

    A note's key is 128 x instrument + pitch. Both the piece and the new notes count in order of onset, and those that
    begin together in order of key: so a run is a run whatever the order in which a chord was decoded. Given notes
    between new ones do not count, and neither do rests and the lengths of notes.

    For each prefix of the new notes that ends before or within the last onset there are the places of the piece where
    it could go on. A note that comes next either follows them all, or stands between two of the last onset.
    """

    def __init__(self, piece: Iterable[int]) -> None:
        """Take the keys of the piece, at least one, in the order above; `PART_END` separates parts of it."""
        keys = np.fromiter(piece, dtype=np.int32)
        order = np.argsort(keys, kind="stable")
        different, starts = np.unique(keys[order], return_index=True)
        self._places = dict(zip(different.tolist(), np.split(order, starts[1:]), strict=True))
        padding = np.full(MAX_COPIED_NOTES + 1, PART_END, dtype=np.int32)
        self._keys = np.concatenate((keys, padding))
        self._lengths_at = np.zeros(len(self._keys), dtype=np.int16)
        self._onset: int | None = None
        self._chord: list[int] = []  # the keys of the last onset, in order
        self._matches = [_NO_MATCHES]  # before the last onset, and after each of its notes
        self.forbidden: frozenset[int] = frozenset()

    def observe(self, onset: int, key: int) -> None:
        """Take a new note; its onset is not before that of the last one."""
        if onset != self._onset:
            self._onset = onset
            self._chord, self._matches = [], self._matches[-1:]
        place = bisect_left(self._chord, key)
        self._chord.insert(place, key)
        del self._matches[place + 1 :]
        for later in self._chord[place:]:
            self._matches.append(self._advance(self._matches[-1], later))
        self.forbidden = frozenset(self._find_forbidden()) - {PART_END}

    def _advance(self, matches: _Matches, key: int) -> _Matches:
        """Return the matches after one more note."""
        places = self._places.get(key)
        if places is None:
            return _NO_MATCHES
        self._lengths_at[matches.nexts] = matches.lengths
        lengths = np.minimum(self._lengths_at[places] + 1, MAX_COPIED_NOTES)
        self._lengths_at[matches.nexts] = 0
        return _Matches(places + 1, lengths, int(lengths.max()))

    def _find_forbidden(self) -> Iterator[int]:
        last = self._matches[-1]
        if last.longest == MAX_COPIED_NOTES:
            yield from np.unique(self._keys[last.nexts[last.lengths == MAX_COPIED_NOTES]]).tolist()
        bounds = pairwise([PART_END, *self._chord])
        for index, (matches, (lower, upper)) in enumerate(zip(self._matches, bounds, strict=False)):
            following = self._chord[index : index + MAX_COPIED_NOTES]
            if matches.longest + len(following) >= MAX_COPIED_NOTES:
                found = self._find_forbidden_before(matches, following)
                yield from found[(found > lower) & (found < upper)].tolist()

    def _find_forbidden_before(self, matches: _Matches, following: list[int]) -> NDArray[np.int32]:
        """Return the keys that make a run between what has matched and the notes of the last onset that follow."""
        if len(following) == MAX_COPIED_NOTES:  # a run may begin here
            places = np.arange(len(self._keys) - MAX_COPIED_NOTES - 1)
            self._lengths_at[matches.nexts] = matches.lengths
            totals = self._lengths_at[places]
            self._lengths_at[matches.nexts] = 0
        else:
            chosen = matches.lengths >= MAX_COPIED_NOTES - len(following)
            places, totals = matches.nexts[chosen], matches.lengths[chosen]
        goes_on = np.ones(len(places), dtype=np.bool_)
        for distance, key in enumerate(following, start=1):
            goes_on &= self._keys[places + distance] == key
            totals = totals + goes_on
        return self._keys[places[totals >= MAX_COPIED_NOTES]]
