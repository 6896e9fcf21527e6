"""Measure how much of an excerpt is copied: the longest run of notes that it shares with any training piece."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from amt.midi.notes import N_INSTRUMENTS, N_PITCHES
from amt.tokens import events as ev
from amt.tokens.vocab import NOTE

_HASH_BASE = np.uint64(0x9E3779B97F4A7C15)


def symbols(events: ev.Events) -> NDArray[np.uint64]:
    """Return each note's instrument and interval from the note before, as one number; shape = (n_notes - 1,).

    So a run in another key is the same run. Notes of one onset are sorted by instrument and pitch.
    """
    codes = (events[:, 2] - NOTE.offset)[np.lexsort((events[:, 2], events[:, 0]))]
    instruments, pitches = np.divmod(codes, N_PITCHES)
    return ((np.diff(pitches) + N_PITCHES) * N_INSTRUMENTS + instruments[1:] + 1).astype(np.uint64)


def longest_shared_runs(excerpts: Sequence[ev.Events], pieces: Sequence[ev.Events]) -> list[int]:
    """Return for each excerpt the number of intervals of its longest run that some piece has too.

    Runs are compared by a polynomial hash modulo 2 ** 64, one symbol longer at a time.
    """
    corpus, _ = _joined(pieces, separator=2**40)
    own, owners = _joined(excerpts, separator=2**41)
    longest = np.zeros(len(excerpts), dtype=np.int64)
    starts, own_starts = np.arange(len(corpus)), np.arange(len(own))
    hashes, own_hashes = np.zeros_like(corpus), np.zeros_like(own)
    length = 0
    while len(own_starts):
        np.maximum.at(longest, owners[own_starts], length)
        # Only a run that both sides have can be part of a longer one.
        starts, hashes = _one_longer(starts, hashes, corpus, length)
        own_starts, own_hashes = _one_longer(own_starts, own_hashes, own, length)
        length += 1
        shared, own_shared = np.isin(hashes, own_hashes), np.isin(own_hashes, hashes)
        starts, hashes = starts[shared], hashes[shared]
        own_starts, own_hashes = own_starts[own_shared], own_hashes[own_shared]
    return longest.tolist()


def _one_longer(
    starts: NDArray[np.int64], hashes: NDArray[np.uint64], symbols: NDArray[np.uint64], length: int
) -> tuple[NDArray[np.int64], NDArray[np.uint64]]:
    """Extend runs of `length` symbols by one; drop those that are at the end."""
    inside = starts + length < len(symbols)
    return starts[inside], hashes[inside] * _HASH_BASE + symbols[starts[inside] + length]


def _joined(parts: Sequence[ev.Events], separator: int) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    """Return (the symbols of all parts, each part followed by a separator of this side; the part of each symbol)."""
    joined, owners = [], []
    for owner, events in enumerate(parts):
        joined += [symbols(events), [np.uint64(separator)]]
        owners += [owner] * (max(len(events) - 1, 0) + 1)
    return np.concatenate(joined).astype(np.uint64), np.array(owners)
