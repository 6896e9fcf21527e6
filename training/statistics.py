"""Compute musical statistics of an excerpt: events without rests, onsets in ticks from its start.

Those that `muspy` defines are taken from there. It takes seconds to import and belongs to a dependency group of its
own, so it is imported when it is first needed.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from amt.midi.notes import DRUMS, N_PITCHES, TICKS_PER_SECOND
from amt.tokens import events as ev
from amt.tokens.vocab import DURATION, NOTE
from training.excerpts import SECONDS

PHRASE_NOTES = 8
DENSE_SECONDS, DENSE_NOTES = 20, 330
STUCK_SECONDS, STUCK_NOTES, STUCK_KEYS = 10, 20, 2
SILENT_SECONDS = 10


def keys(events: ev.Events) -> np.ndarray:
    """Return instrument and pitch as one number, 128 x instrument + pitch; shape = (n_notes,)."""
    return events[:, 2] - NOTE.offset


def notes_per_second(events: ev.Events) -> float:
    """Return the number of notes over the length of the excerpt."""
    return len(events) / SECONDS


def instruments(events: ev.Events) -> float:
    """Return how many instruments play; the drums are one."""
    return len(set((keys(events) // N_PITCHES).tolist()))


def onset_entropy(events: ev.Events) -> float:
    """Return the entropy of intervals between onsets, in bits at 10 ms: 0 is a clock, a human drummer has 4."""
    intervals = np.diff(np.unique(events[:, 0]))
    if not len(intervals):
        return float("nan")
    shares = np.unique(intervals, return_counts=True)[1] / len(intervals)
    return float(-(shares * np.log2(shares)).sum())


def note_length(events: ev.Events) -> float:
    """Return the median length of notes in seconds, drums left out."""
    melodic = events[keys(events) // N_PITCHES != DRUMS]
    return float(np.median(melodic[:, 1] - DURATION.offset)) / TICKS_PER_SECOND if len(melodic) else float("nan")


def repeated_notes(events: ev.Events) -> float:
    """Return the share of notes that repeat the pitch of the same instrument's note before."""
    codes = keys(events)
    codes = codes[np.argsort(codes // N_PITCHES, kind="stable")]
    return float((codes[1:] == codes[:-1]).sum()) / max(len(codes), 1)


def repeated_phrases(events: ev.Events) -> float:
    """Return the share of runs of eight notes, by instrument and pitch, that the excerpt has more than once."""
    codes = keys(events)
    if len(codes) < PHRASE_NOTES:
        return float("nan")
    runs = Counter(map(tuple, np.lib.stride_tricks.sliding_window_view(codes, PHRASE_NOTES).tolist()))
    return 1 - sum(count for count in runs.values() if count == 1) / runs.total()


def is_silent(events: ev.Events) -> bool:
    """Return whether for 10 s no note begins."""
    onsets = np.concatenate([[0], events[:, 0], [SECONDS * TICKS_PER_SECOND]])
    return bool(np.diff(onsets).max() >= SILENT_SECONDS * TICKS_PER_SECOND)


def is_stuck(events: ev.Events) -> bool:
    """Return whether 10 s have 20 notes or more, but only one or two different ones, by instrument and pitch."""
    codes = keys(events)
    ends = np.searchsorted(events[:, 0], events[:, 0] + STUCK_SECONDS * TICKS_PER_SECOND)
    last_start = (SECONDS - STUCK_SECONDS) * TICKS_PER_SECOND
    return any(
        end - first >= STUCK_NOTES and len(np.unique(codes[first:end])) <= STUCK_KEYS
        for first, end in enumerate(ends.tolist())
        if events[first, 0] <= last_start
    )


def is_dense(events: ev.Events) -> bool:
    """Return whether the first 20 s hold more than 330 notes."""
    return int((events[:, 0] < DENSE_SECONDS * TICKS_PER_SECOND).sum()) > DENSE_NOTES


Statistic = Callable[[ev.Events], float]

OURS: Mapping[str, Statistic] = {
    "notes per second": notes_per_second,
    "instruments": instruments,
    "onset entropy, bits": onset_entropy,
    "note length, s": note_length,
    "repeated notes": repeated_notes,
    "repeated phrases": repeated_phrases,
}
FLAGS: Mapping[str, Callable[[ev.Events], bool]] = {
    "silent for 10 s": is_silent,
    "stuck for 10 s": is_stuck,
    "over 330 notes in 20 s": is_dense,
}


def statistics_of_muspy() -> Mapping[str, Statistic]:
    """Return the statistics that `muspy` defines."""
    import muspy

    def music(events: ev.Events) -> Any:
        tracks: dict[int, list[Any]] = {}
        for note in ev.to_notes(events):
            tracks.setdefault(note.instrument, []).append(
                muspy.Note(time=note.onset, pitch=note.pitch, duration=note.duration)
            )
        return muspy.Music(
            resolution=TICKS_PER_SECOND // 2,  # a beat of half a second
            tracks=[
                muspy.Track(program=program % DRUMS, is_drum=program == DRUMS, notes=notes)
                for program, notes in tracks.items()
            ]
            or [muspy.Track()],
        )

    return {
        "polyphony": lambda events: muspy.polyphony(music(events)),
        "pitch-class entropy, bits": lambda events: muspy.pitch_class_entropy(music(events)),
        "notes in the best scale": lambda events: muspy.scale_consistency(music(events)),
    }


def table(music: Sequence[ev.Events], made: Sequence[ev.Events]) -> str:
    """Return Markdown: quartiles of both, whether the model's median is within those of the music, shares of flags."""
    lines = ["| statistic | held-out music | the model | its median is within |", "|---|---|---|---|"]
    for name, statistic in {**OURS, **statistics_of_muspy()}.items():
        quartiles = [
            np.nanpercentile([statistic(events) for events in excerpts], (25, 50, 75)) for excerpts in (music, made)
        ]
        inside = quartiles[0][0] <= quartiles[1][1] <= quartiles[0][2]
        cells = [" / ".join(f"{value:.2f}" for value in row) for row in quartiles]
        lines.append(f"| {name} | {cells[0]} | {cells[1]} | {'yes' if inside else 'no'} |")
    for name, flag in FLAGS.items():
        shares = [np.mean([flag(events) for events in excerpts]) for excerpts in (music, made)]
        lines.append(f"| {name} | {shares[0]:.1%} | {shares[1]:.1%} | |")
    return "\n".join(lines)
