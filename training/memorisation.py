"""How much of an excerpt is copied: the longest run of notes that it shares with any training piece."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from amt import events as ev
from amt.vocab import N_INSTRUMENTS, N_PITCHES, NOTE

_BASE = np.uint64(0x9E3779B97F4A7C15)


def symbols(events: ev.Events) -> NDArray[np.uint64]:
    """A run in another key is the same run: instrument and interval from the note before; shape = (n_notes - 1,).

    Notes of one onset are taken from the lowest instrument and pitch up, whatever order they came in.
    """
    codes = (events[:, 2] - NOTE.offset)[np.lexsort((events[:, 2], events[:, 0]))]
    instruments, pitches = np.divmod(codes, N_PITCHES)
    return ((np.diff(pitches) + N_PITCHES) * N_INSTRUMENTS + instruments[1:] + 1).astype(np.uint64)


def longest_shared_runs(excerpts: Sequence[ev.Events], pieces: Sequence[ev.Events]) -> list[int]:
    """For each excerpt the number of intervals of its longest run that some piece has too.

    Runs are compared by a polynomial hash modulo 2 ** 64, made one symbol longer at a time.
    """
    corpus, _ = _joined(pieces, separator=2**40)
    own, owners = _joined(excerpts, separator=2**41)
    longest = np.zeros(len(excerpts), dtype=np.int64)
    length, found = 0, np.arange(len(own))
    hashes, own_hashes = (np.zeros(len(side) + 1, dtype=np.uint64) for side in (corpus, own))
    while len(found):
        np.maximum.at(longest, owners[found], length)
        hashes = hashes[:-1] * _BASE + corpus[length:]
        own_hashes = own_hashes[:-1] * _BASE + own[length:]
        length += 1
        found = found[found < len(own_hashes)]
        wanted = np.unique(own_hashes[found])
        places = np.searchsorted(wanted, hashes).clip(max=max(len(wanted) - 1, 0))
        present = wanted[np.unique(places[wanted[places] == hashes])] if len(wanted) else wanted
        found = found[np.isin(own_hashes[found], present)]
    return longest.tolist()


def _joined(parts: Sequence[ev.Events], separator: int) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    """(the symbols of all parts, each followed by a separator that no other side has; whose each is)."""
    joined, owners = [], []
    for owner, events in enumerate(parts):
        joined += [symbols(events), [np.uint64(separator)]]
        owners += [owner] * (max(len(events) - 1, 0) + 1)
    return np.concatenate(joined).astype(np.uint64), np.array(owners)
