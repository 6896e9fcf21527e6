"""Measure what steering does to music: `uv run python -m benchmarks.steering [--only grid] [--seeds 50]`.

Every setting is decoded without steering and with it, by the same seeds, and the first is also moved afterwards, as
others do: onsets to the nearest line, pitches to the nearest one of the chord or the scale. Prints a Markdown table
for each group of settings. With a corpus it adds the statistics of the model's card for pieces of 30 s with variety
(`uv run --group evaluation`).
"""

import argparse
import math
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from typing import Final, NamedTuple

import torch

from amt.decoding.model import load_model
from amt.gpt2.device import find_device, find_dtype
from amt.gpt2.network import GPT2
from amt.gpt2.sampling_params import SamplingParams
from amt.midi.notes import TICKS_PER_SECOND
from amt.tokens import events as ev
from benchmarks.batches import Decoded, decode_all
from benchmarks.checkpoints import TINY
from benchmarks.held_out import held_out_folder
from benchmarks.markdown import table
from benchmarks.plain_nats import nats_an_event
from benchmarks.precision import by_collection
from benchmarks.snapping import Snapped, snap_onsets, snap_pitches, snap_to_scale
from benchmarks.steering_figures import FIGURES, Outcome
from benchmarks.steering_settings import Setting, chosen
from training import statistics
from training.corpus import load
from training.excerpts import SECONDS, held_out_excerpts

SEEDS: Final = 50
TOP_P: Final = (0.95, 0.95, 0.95)
EXCERPTS: Final = 24
"""Of held-out music, of each collection, as in the model's card."""


class Row(NamedTuple):
    """Hold the pieces of one row of a table.

    Attributes:
        setting: what they were meant to be.
        how: free, moved afterwards, or steered.
        outcomes: one for each seed.
    """

    setting: Setting
    how: str
    outcomes: list[Outcome]


class Bench:
    """Decode settings, and keep what is decoded without steering: several settings have it in common."""

    def __init__(self, model: GPT2, n_seeds: int = SEEDS, top_p: Sequence[float] = TOP_P) -> None:
        """`top_p`: of onsets, durations and notes."""
        self._model, self._seeds = model, range(n_seeds)
        self._sampling = tuple(SamplingParams(top_p=value) for value in top_p)
        self._free: dict[tuple[str | None, int], list[Decoded]] = {}

    def rows(self, settings: Iterable[Setting]) -> Iterator[Row]:
        """Yield the rows of settings, one after another."""
        for setting in settings:
            free = self._decode_free(setting)
            yield Row(setting, "free", self._outcomes(setting, free))
            if setting.can_be_snapped:
                yield Row(setting, "moved afterwards", self._outcomes(setting, free, snap(setting, free)))
            steered = decode_all(self._model, (setting.steered(seed, self._sampling) for seed in self._seeds))
            outcomes = self._outcomes(setting, steered)
            pairs = zip(outcomes, steered, strict=True)
            yield Row(setting, "steered", [replace(outcome, divergence=each.divergence) for outcome, each in pairs])

    def _decode_free(self, setting: Setting) -> list[Decoded]:
        key = setting.prompt, setting.seconds
        if key not in self._free:
            requests = (setting.free(seed, self._sampling) for seed in self._seeds)
            self._free[key] = decode_all(self._model, requests)
        return self._free[key]

    def _outcomes(
        self, setting: Setting, decoded: Sequence[Decoded], snapped: Sequence[Snapped] | None = None
    ) -> list[Outcome]:
        """Return what was decoded with what is known of it, or what became of it when it was moved."""
        requests = [each.sequence.request for each in decoded]
        snapped = snapped or [Snapped(each.new, math.nan, math.nan) for each in decoded]
        new = [each.events for each in snapped]
        nats = nats_an_event(self._model, requests, new) if setting.prompt else [math.nan] * len(new)
        return [
            Outcome(setting, request, each.events, plain_nats, each.moved, each.merged)
            for request, each, plain_nats in zip(requests, snapped, nats, strict=True)
        ]


def snap(setting: Setting, decoded: Iterable[Decoded]) -> list[Snapped]:
    """Return the pieces moved to where the setting wants them: first to lines, then to pitches, which are counted."""
    found = []
    for each in decoded:
        snapped = Snapped(each.new, math.nan, math.nan)
        if setting.has_grid:
            snapped = snap_onsets(snapped.events, setting.grid)
        if setting.progression:
            snapped = snap_pitches(snapped.events, setting.chords)
        elif setting.key:
            snapped = snap_to_scale(snapped.events, setting.key)
        found.append(snapped)
    return found


def markdown(rows: Sequence[Row]) -> str:
    """Return the table of a group's rows."""
    group = rows[0].setting.group
    figures = FIGURES[group]
    return table(
        (group, "", *(figure.name for figure in figures)),
        ((row.setting.name, row.how, *(figure.cell(row.outcomes) for figure in figures)) for row in rows),
    )


def card_statistics(rows: Iterable[Row], corpus: Path) -> str:
    """Return the table of the model's card for what was steered in rows of 30 s, beside music of a folder."""
    made = [
        ev.clip(outcome.new, 0, SECONDS * TICKS_PER_SECOND - 1, clip_duration=True)
        for row in rows
        for outcome in row.outcomes
        if row.how == "steered" and row.setting.seconds == SECONDS
    ]
    groups = by_collection(load(corpus, corpus.with_suffix(".npz")))
    music = [excerpt for pieces in groups for excerpt in held_out_excerpts(pieces, EXCERPTS)]
    return statistics.table(music, made)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", default=[], help="groups of settings, or words of their names")
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--top-p", type=float, nargs=3, default=TOP_P, help="of onsets, durations and notes")
    parser.add_argument("--corpus", type=Path, help="folder or archive: for the statistics of the model's card")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="fewer where others work too")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    device = find_device(args.device)
    dtype = find_dtype(args.dtype, device)
    print(f"{device}, {dtype}, {args.seeds} seeds, top_p {args.top_p}")
    bench = Bench(load_model(TINY, dtype, device), args.seeds, args.top_p)
    for group, settings in groupby(chosen(args.only), key=lambda setting: setting.group):
        rows = []
        for row in bench.rows(settings):
            print(f"{group}: {row.setting.name}, {row.how}", file=sys.stderr)
            rows.append(row)
        print(f"\n{markdown(rows)}", flush=True)
        if group == "variety" and args.corpus:
            with held_out_folder(args.corpus) as corpus:
                print(f"\n{card_statistics(rows, corpus)}" if corpus else "\nthe corpus has no held-out pieces")


if __name__ == "__main__":
    main()
