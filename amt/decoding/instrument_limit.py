"""Keep a piece within the number of instruments that a MIDI file can play together."""

from collections.abc import Collection, Iterable
from typing import Final

import numpy as np
from numpy.typing import NDArray

from amt.errors import SequenceError
from amt.midi.notes import N_INSTRUMENTS, N_PITCHES

MAX_INSTRUMENTS: Final = 15
"""From this many on (a rest counts as one) no further instrument may enter, so a piece never exceeds 16."""

REST_CODE: Final = N_INSTRUMENTS
"""What a rest counts as among instruments."""


class InstrumentLimit:
    """Know which instruments a piece has, and keep room for those that must still enter."""

    def __init__(self, present: Iterable[int], groups: tuple[frozenset[int], ...]) -> None:
        """Begin with the instruments that are present; of each of `groups` one should play."""
        self._present, self._groups = set(present), groups
        self._closed: NDArray[np.float32] | None = None

    def add(self, instrument: int) -> None:
        """Count an instrument that has played."""
        if instrument not in self._present:
            self._present.add(instrument)
            self._closed = None

    def can_play(self, legal_notes: NDArray[np.bool_]) -> bool:
        """Tell whether instruments that are present have a legal note; shape = (16,513,)."""
        by_instrument = legal_notes[: N_INSTRUMENTS * N_PITCHES].reshape(N_INSTRUMENTS, N_PITCHES)
        return bool(by_instrument[list(self._present - {REST_CODE})].any())

    def missing(self, silent_groups: Collection[int]) -> list[frozenset[int]]:
        """Return those of the silent groups that need an instrument more than there are."""
        return [self._groups[index] for index in silent_groups if not self._groups[index] & self._present]

    def restrict(
        self, biases: NDArray[np.float32] | None, missing: Collection[frozenset[int]]
    ) -> NDArray[np.float32] | None:
        """Forbid instruments that would take the last room; both arrays have shape = (130,), None is zeros.

        What is returned is the same object as before where it has the same values because only these are forbidden.
        """
        if len(self._present) + len(missing) < MAX_INSTRUMENTS:
            return biases
        if missing:
            closed = _closed_but(self._present.union(*missing))
        else:
            closed = self._closed = _closed_but(self._present) if self._closed is None else self._closed
        return closed if biases is None else biases + closed

    def check(
        self,
        missing: Collection[frozenset[int]],
        legal_notes: NDArray[np.bool_] | None,
        biases: NDArray[np.float32] | None,
    ) -> None:
        """Check that everything that must enter has room, and that something may play at all.

        Raises:
            SequenceError: there are too many instruments.
        """
        n_present = len(self._present - {REST_CODE})
        if len(missing) > max(MAX_INSTRUMENTS + 1 - n_present, 0):
            raise SequenceError(
                f"at most {MAX_INSTRUMENTS + 1} instruments can play together: beside the {n_present} of the input "
                f"there is no room for {len(missing)} more"
            )
        if legal_notes is not None and biases is not None:
            playable = np.repeat(biases[:-1] > -np.inf, N_PITCHES)
            if not (legal_notes[:-1] & playable).any():
                raise SequenceError(
                    f"at most {MAX_INSTRUMENTS + 1} instruments can play together, and of the {n_present} of the input "
                    "none may play new notes: exclude fewer"
                )


def _closed_but(instruments: set[int]) -> NDArray[np.float32]:
    """Return -inf for all other instruments, and 0 for these and rests; shape = (130,)."""
    closed = np.full(N_INSTRUMENTS + 1, -np.inf, dtype=np.float32)
    closed[[*instruments, REST_CODE]] = 0
    return closed
