"""Change pieces at random: their key, tempo, instruments and repeats; and let them get stuck, as models do."""

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

MIN_SHIFT, MAX_SHIFT = -5, 6
"""Transpositions, in semitones."""

MAX_LOOP_ONSETS = 4
"""A stuck passage repeats at most this many onsets, with all notes that begin at each."""

STUCK_TIMES = (4, 32)
"""How often it repeats them, from the least to the most."""

MAX_STUCK_EVENTS, MAX_STUCK_TICKS = 128, 3_000
"""Limits of a stuck passage; it keeps to both."""

PHRASE_EVENTS = (6, 64)
"""The number of notes in a phrase that is repeated, from the least to the most."""

MAX_REPEATS = 4
"""How often such a phrase is repeated at most."""


class Augmentation:
    """Draw random changes; substituted instruments are those that the pieces use somewhere."""

    def __init__(self, pieces: Sequence[Piece], rng: np.random.Generator) -> None:
        self._rng = rng
        self._used = np.zeros((N_INSTRUMENTS, N_PITCHES), dtype=bool)
        self._used.ravel()[np.concatenate([piece.events[:, 2] for piece in pieces]) - NOTE.offset] = True

    def reachable_notes(self) -> NDArray[np.bool_]:
        """Return which rows of the note slot an augmented piece can hold, rests included; shape = (16,513,)."""
        families = self._used[:DRUMS].reshape(-1, FAMILY, N_PITCHES)
        wide = families.any(axis=1, keepdims=True) & families.any(axis=2, keepdims=True)
        untransposed, melodic = wide.reshape(DRUMS, N_PITCHES), np.zeros((DRUMS, N_PITCHES), dtype=bool)
        for shift in range(MIN_SHIFT, MAX_SHIFT + 1):
            source = slice(max(-shift, 0), N_PITCHES - max(shift, 0))
            melodic[:, max(shift, 0) : N_PITCHES + min(shift, 0)] |= untransposed[:, source]
        return np.concatenate([melodic.ravel(), self._used[DRUMS], [True]])

    def vary(self, notes: ev.Events) -> ev.Events:
        """Change the key (not of drums) and the tempo, leave instruments out or replace them by related ones."""
        rng = self._rng
        if rng.random() < 0.15:
            notes = self._without_some(notes)
        codes = notes[:, 2] - NOTE.offset
        instruments, pitches = np.divmod(codes, N_PITCHES)
        if rng.random() < 0.3:
            instruments = self._related(instruments)
        melodic = instruments != DRUMS
        if melodic.any():
            lowest = max(MIN_SHIFT, -int(pitches[melodic].min()))
            highest = min(MAX_SHIFT, N_PITCHES - 1 - int(pitches[melodic].max()))
            pitches = pitches + melodic * int(rng.integers(lowest, highest + 1))
        stretch = float(np.exp(rng.uniform(-0.15, 0.15))) if rng.random() < 0.6 else 1.0
        durations = np.minimum(np.rint((notes[:, 1] - DURATION.offset) * stretch), MAX_DURATION_TICKS - 1)
        columns = [np.rint(notes[:, 0] * stretch), durations + DURATION.offset]
        return np.stack([*columns, NOTE.offset + instruments * N_PITCHES + pitches], axis=1).astype(np.int64)

    def _without_some(self, notes: ev.Events) -> ev.Events:
        """Leave out up to half of the instruments, and begin with the first note that is left."""
        instruments = (notes[:, 2] - NOTE.offset) // N_PITCHES
        present = np.unique(instruments)
        n_dropped = int(self._rng.integers(0, len(present) // 2 + 1))
        kept = notes[~np.isin(instruments, self._rng.choice(present, size=n_dropped, replace=False))]
        return ev.translate(kept, -int(kept[0, 0]))

    def _related(self, instruments: NDArray[np.int64]) -> NDArray[np.int64]:
        """Replace about half of the instruments by another of their family that does not yet play."""
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
        """Repeat a phrase at once, up to four times, before the music goes on.

        Music repeats phrases, but seldom note by note within one window; without more examples a model this small does
        not learn to look back.
        """
        rng = self._rng
        onsets = np.flatnonzero(np.diff(notes[:, 0], prepend=-1))
        first = int(rng.choice(onsets[: (len(onsets) + 1) // 2]))
        length = math.exp(rng.uniform(*map(math.log, PHRASE_EVENTS)))
        later = onsets[onsets >= first + length]
        if not len(later):
            return notes
        return _repeated(notes, first, int(later[0]), int(rng.integers(1, MAX_REPEATS + 1)))

    def get_stuck(self, notes: ev.Events) -> tuple[ev.Events, int, int]:
        """Let the music get stuck: repeat its last chords again and again, in their rhythm, before it goes on later.

        Generated music gets stuck like that far more often than any piece does; this shows the model the way out.

        Returns:
            (the notes, the tick at which the stuck passage begins, the tick before which it ends: it has no targets).
        """
        rng = self._rng
        onsets = np.flatnonzero(np.diff(notes[:, 0], prepend=-1))
        if len(onsets) < 2:
            return notes, 0, 0
        last = int(rng.integers(1, len(onsets)))
        first, end = int(onsets[max(last - int(rng.integers(1, MAX_LOOP_ONSETS + 1)), 0)]), int(onsets[last])
        period = int(notes[end, 0] - notes[first, 0])
        times = round(math.exp(rng.uniform(*map(math.log, STUCK_TIMES))))
        times = min(times, MAX_STUCK_EVENTS // (end - first), MAX_STUCK_TICKS // period)
        begin = int(notes[end, 0])
        return _repeated(notes, first, end, times), begin, begin + period * times


def _repeated(notes: ev.Events, first: int, end: int, times: int) -> ev.Events:
    """Return the notes with those from `first` to `end` repeated `times` times, and all that follows moved later."""
    period = int(notes[end, 0] - notes[first, 0])
    copies = [ev.translate(notes[first:end], period * k) for k in range(1, times + 1)]
    return np.concatenate([notes[:end], *copies, ev.translate(notes[end:], period * times)])
