"""Changes to a piece that leave it music: another key, tempo, instrumentation, repeats; and one that does not."""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from amt.midi.notes import DRUMS, N_INSTRUMENTS, N_PITCHES
from amt.tokens import events as ev
from amt.tokens.vocab import DURATION, MAX_DURATION_TICKS, NOTE
from training.corpus import Piece

FAMILY = 8
"""General MIDI's programs come in families of eight: pianos, organs, guitars, strings, ..."""

LOWEST_SHIFT, HIGHEST_SHIFT = -5, 6
"""Transpositions, in semitones."""

LOOP_MOMENTS = 4
"""At most so many onsets, with all that begins at each, are what music hangs on."""

HANG_TIMES = (4, 32)
"""From the least to the most often that it plays them again."""

LONGEST_HANG_EVENTS, LONGEST_HANG_TICKS = 128, 3_000
"""A hang keeps to both."""

PHRASE_EVENTS = (6, 64)
"""From the shortest to the longest phrase that comes back."""

MOST_REPEATS = 4
"""Of such a phrase."""


class Augmentation:
    """Random changes, drawn from the generator given; substitutes are programs that the pieces use somewhere."""

    def __init__(self, pieces: Sequence[Piece], rng: np.random.Generator) -> None:
        self._rng = rng
        self._used = np.zeros((N_INSTRUMENTS, N_PITCHES), dtype=bool)
        self._used.ravel()[np.concatenate([piece.events[:, 2] for piece in pieces]) - NOTE.offset] = True

    def reachable_notes(self) -> NDArray[np.bool_]:
        """Rows of the note slot that an augmented piece can hold, rests included; shape = (16,513,)."""
        families = self._used[:DRUMS].reshape(-1, FAMILY, N_PITCHES)
        wide = families.any(axis=1, keepdims=True) & families.any(axis=2, keepdims=True)
        untransposed, melodic = wide.reshape(DRUMS, N_PITCHES), np.zeros((DRUMS, N_PITCHES), dtype=bool)
        for shift in range(LOWEST_SHIFT, HIGHEST_SHIFT + 1):
            source = slice(max(-shift, 0), N_PITCHES - max(shift, 0))
            melodic[:, max(shift, 0) : N_PITCHES + min(shift, 0)] |= untransposed[:, source]
        return np.concatenate([melodic.ravel(), self._used[DRUMS], [True]])

    def vary(self, notes: ev.Events) -> ev.Events:
        """Another key (not for drums), another tempo, fewer or kindred instruments."""
        rng = self._rng
        if rng.random() < 0.15:
            notes = self._without_some(notes)
        codes = notes[:, 2] - NOTE.offset
        instruments, pitches = np.divmod(codes, N_PITCHES)
        if rng.random() < 0.3:
            instruments = self._kindred(instruments)
        melodic = instruments != DRUMS
        if melodic.any():
            lowest = max(LOWEST_SHIFT, -int(pitches[melodic].min()))
            highest = min(HIGHEST_SHIFT, N_PITCHES - 1 - int(pitches[melodic].max()))
            pitches = pitches + melodic * int(rng.integers(lowest, highest + 1))
        stretch = float(np.exp(rng.uniform(-0.15, 0.15))) if rng.random() < 0.6 else 1.0
        durations = np.minimum(np.rint((notes[:, 1] - DURATION.offset) * stretch), MAX_DURATION_TICKS - 1)
        columns = [np.rint(notes[:, 0] * stretch), durations + DURATION.offset]
        return np.stack([*columns, NOTE.offset + instruments * N_PITCHES + pitches], axis=1).astype(np.int64)

    def _without_some(self, notes: ev.Events) -> ev.Events:
        """Without up to half of the instruments, from the first note that is left on."""
        instruments = (notes[:, 2] - NOTE.offset) // N_PITCHES
        present = np.unique(instruments)
        n_dropped = int(self._rng.integers(0, len(present) // 2 + 1))
        kept = notes[~np.isin(instruments, self._rng.choice(present, size=n_dropped, replace=False))]
        return ev.translate(kept, -int(kept[0, 0]))

    def _kindred(self, instruments: NDArray[np.int64]) -> NDArray[np.int64]:
        """About half of the instruments replaced by another of their family that does not yet play."""
        changed = instruments.copy()
        playing = set(np.unique(instruments).tolist())
        for program in sorted(playing - {DRUMS}):
            first = program - program % FAMILY
            free = [p for p in range(first, first + FAMILY) if self._used[p].any() and p not in playing]
            if free and self._rng.random() < 0.5:
                substitute = int(self._rng.choice(free))
                changed[instruments == program] = substitute
                playing.add(substitute)
        return changed

    def repeat(self, notes: ev.Events) -> ev.Events:
        """Let a phrase come back at once, up to four times, before the music goes on.

        Music does so, but seldom note by note within one window; without more examples a model this small does not
        learn to look back.
        """
        rng = self._rng
        onsets = np.flatnonzero(np.diff(notes[:, 0], prepend=-1))
        first = int(rng.choice(onsets[: (len(onsets) + 1) // 2]))
        length = math.exp(rng.uniform(*map(math.log, PHRASE_EVENTS)))
        later = onsets[onsets >= first + length]
        if not len(later):
            return notes
        return _again(notes, first, int(later[0]), int(rng.integers(1, MOST_REPEATS + 1)))

    def stick(self, notes: ev.Events) -> tuple[ev.Events, int, int]:
        """Let the music hang somewhere: its last chords again and again, in their rhythm, before it goes on later.

        What the model generates hangs like that far more often than any piece does; this shows it the way out.

        Returns:
            (the notes, the tick at which the hang begins, the tick before which it ends: it is nothing to learn).
        """
        rng = self._rng
        onsets = np.flatnonzero(np.diff(notes[:, 0], prepend=-1))
        if len(onsets) < 2:
            return notes, 0, 0
        last = int(rng.integers(1, len(onsets)))
        first, end = int(onsets[max(last - int(rng.integers(1, LOOP_MOMENTS + 1)), 0)]), int(onsets[last])
        period = int(notes[end, 0] - notes[first, 0])
        times = round(math.exp(rng.uniform(*map(math.log, HANG_TIMES))))
        times = min(times, LONGEST_HANG_EVENTS // (end - first), LONGEST_HANG_TICKS // period)
        begin = int(notes[end, 0])
        return _again(notes, first, end, times), begin, begin + period * times


def _again(notes: ev.Events, first: int, end: int, times: int) -> ev.Events:
    """The notes from the first one up to the end so many times more, at once, and all that follows later."""
    period = int(notes[end, 0] - notes[first, 0])
    copies = [ev.translate(notes[first:end], period * k) for k in range(1, times + 1)]
    return np.concatenate([notes[:end], *copies, ev.translate(notes[end:], period * times)])
