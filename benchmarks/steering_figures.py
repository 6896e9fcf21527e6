"""Define the columns of the tables of steering: what is computed of each piece, and how pieces become one figure."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from amt.decoding.degenerate import find_flaw
from amt.decoding.request import DecodeRequest
from amt.midi.notes import TICKS_PER_SECOND
from amt.tokens import events as ev
from benchmarks import music_statistics as music
from benchmarks.steering_settings import Setting
from training.statistics import repeated_phrases

MIN_NOTES: Final = 8
"""With fewer a piece has no metre and no key to speak of; only whether it is flawed, and how dense, counts then."""


@dataclass(frozen=True)
class Outcome:
    """Hold one piece that was made, and what is known of it.

    Attributes:
        setting: what it was meant to be.
        request: what it was decoded from.
        new: its new notes, sorted.
        plain_nats: mean nats of an event by the model alone, NaN from nothing.
        moved: how far notes were moved afterwards on average, in ms or semitones, NaN if they were not.
        merged: which share of the onsets, or of the notes, fell together by that.
        divergence: mean nats by which an event was steered, NaN without steering.
    """

    setting: Setting
    request: DecodeRequest
    new: ev.Events
    plain_nats: float = math.nan
    moved: float = math.nan
    merged: float = math.nan
    divergence: float = math.nan

    @property
    def chord_shares(self) -> music.ChordShares:
        """How well it fits to the setting's chords."""
        return music.chord_shares(self.new, self.setting.chords, self.setting.strong_ticks)


class Figure(NamedTuple):
    """Name a column.

    Attributes:
        name: in the header.
        of: computes a number of a piece, or NaN where there is none.
        text: writes what all pieces come to; of shape (n_pieces,), without NaN and not empty.
    """

    name: str
    of: Callable[[Outcome], float]
    text: Callable[[NDArray[np.float64]], str]

    def cell(self, outcomes: list[Outcome]) -> str:
        """Return what all pieces of a row come to."""
        values = np.array([self.of(outcome) for outcome in outcomes], dtype=np.float64)
        values = values[~np.isnan(values)]
        return self.text(values) if len(values) else "-"


def _median(values: NDArray[np.float64]) -> str:
    return f"{np.median(values):.2f}"


def _mean(values: NDArray[np.float64]) -> str:
    return f"{values.mean():.2f}"


def _percent(values: NDArray[np.float64]) -> str:
    return f"{values.mean():.1%}"


def _quartiles(values: NDArray[np.float64]) -> str:
    return " / ".join(f"{value:.2f}" for value in np.percentile(values, (25, 50, 75)))


def _at_least(least: float) -> Callable[[NDArray[np.float64]], str]:
    return lambda values: f"{(values >= least).mean():.0%}"


def _of_music(name: str, of: Callable[[Outcome], float], text: Callable[[NDArray[np.float64]], str]) -> Figure:
    """Return a figure that pieces with hardly a note do not have."""
    return Figure(name, lambda outcome: of(outcome) if len(outcome.new) >= MIN_NOTES else math.nan, text)


def _seconds(outcome: Outcome) -> float:
    return (outcome.request.end_ticks - outcome.request.start_ticks) / TICKS_PER_SECOND


def _on_lines(outcome: Outcome) -> float:
    return music.share_on_lines(outcome.new, outcome.setting.grid)


def _on_level(level: int) -> Callable[[Outcome], float]:
    return lambda outcome: music.share_on_level(outcome.new, outcome.setting.grid, level)


def _in_key(outcome: Outcome) -> float:
    return music.share_in(outcome.new, outcome.setting.key or frozenset())


GRID: Final = (
    Figure("on a line", _on_lines, _percent),
    _of_music("on beats", _on_level(music.BEAT_LEVEL), _median),
    _of_music("on downbeats", _on_level(music.DOWNBEAT_LEVEL), _median),
)
KEY: Final = (
    _of_music("in the scale", _in_key, _median),
    _of_music("pieces at least 0.95", _in_key, _at_least(0.95)),
)
CHORDS: Final = (
    _of_music("chord tones", lambda outcome: outcome.chord_shares.by_count, _median),
    _of_music("pieces at least 0.70", lambda outcome: outcome.chord_shares.by_count, _at_least(0.7)),
    _of_music("by duration", lambda outcome: outcome.chord_shares.by_duration, _median),
    _of_music("on strong beats", lambda outcome: outcome.chord_shares.on_strong_beats, _median),
    _of_music("less those of the other chords", lambda outcome: outcome.chord_shares.specific, _median),
)
VARIETY: Final = (
    _of_music(
        "six keys in the last 20 s", lambda outcome: music.dwelling(outcome.new, outcome.request.end_ticks), _quartiles
    ),
    _of_music("repeated phrases", lambda outcome: repeated_phrases(outcome.new), _quartiles),
)
SNAPPING: Final = (
    Figure("moved by", lambda outcome: outcome.moved, _mean),
    Figure("merged", lambda outcome: outcome.merged, _percent),
)
EVERYWHERE: Final = (
    _of_music("pitch-class entropy, bits", lambda outcome: music.pitch_class_entropy(outcome.new), _median),
    Figure("notes a second", lambda outcome: len(outcome.new) / _seconds(outcome), _median),
    Figure("steered by, nats an event", lambda outcome: outcome.divergence, _mean),
    Figure("by the model alone, nats an event", lambda outcome: outcome.plain_nats, _mean),
    Figure(
        "silent or stuck",
        lambda outcome: find_flaw(outcome.new, outcome.request.constraints) is not None,
        _percent,
    ),
)

FIGURES: Final[Mapping[str, tuple[Figure, ...]]] = {
    "grid": (*GRID, *SNAPPING, *EVERYWHERE),
    "key": (*KEY, *SNAPPING, *EVERYWHERE),
    "chords": (*CHORDS, *SNAPPING, *EVERYWHERE),
    "chords and grid": (*CHORDS, *GRID, *EVERYWHERE),
    "variety": (*VARIETY, *EVERYWHERE),
}
"""The columns of each group's table."""
