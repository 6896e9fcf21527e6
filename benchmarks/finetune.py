"""Measure fine-tuning: `uv run --group training --group evaluation python -m benchmarks.finetune`.

A hundred pieces, split as the command does, in the time asked for, all of tiny and an adapter of it. Prints Markdown
for docs/finetuning.md: held-out perplexity before and after, that of other music, and how much of what is generated is
copied.

`freedoom` and `easyrpg` are collections that tiny was trained on, but for what is held out first; `tunes` are fiddle
tunes from music21's corpus, of which it has never seen any.
"""

import argparse
import math
import os
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
import torch
from transformers import GPT2LMHeadModel

from amt.tokens import events as ev
from amt.tokens.vocab import MAX_WINDOW_EVENTS
from benchmarks.environment import commit, cpu
from benchmarks.held_out import CORPUS, files_of, held_out_folder
from benchmarks.markdown import table
from benchmarks.running import PROJECT
from training import memorisation, perplexity
from training.base import find_base, read_model
from training.corpus import Piece, read_or_none
from training.excerpts import generated_excerpts, held_out_excerpts
from training.library import Library, read_library, summarise
from training.windows import held_out_windows

PIECES = 100
RANK = 16
KINDS: dict[str, list[str]] = {"everything": [], f"LoRA, rank {RANK}": ["--lora", str(RANK)]}

TUNES = "tunes"
TUNE_STRIDE = 8
"""Every eighth tune, so that all dances are there."""

WINDOWS_HERE, WINDOWS_ELSEWHERE = 24, 8
EXCERPTS = 24


def write_pieces(corpus: Path, collection: str, folder: Path) -> None:
    """Write a collection's pieces to a folder of its name: those that are held out first, a hundred in all."""
    folder.mkdir(parents=True)
    if collection == TUNES:
        write_tunes(folder)
        return
    files = [(Path(name).name, data) for name, data in files_of(corpus) if Path(name).parent.name == collection]
    files.sort(key=lambda file: Piece(collection, file[0], ev.empty()).rank)
    for name, data in files[:PIECES]:
        (folder / name).write_bytes(data)


def write_tunes(folder: Path) -> None:
    """Write fiddle tunes (Ryan's Mammoth Collection, 1883) as MIDI."""
    import music21

    paths = sorted((Path(music21.__file__).parent / "corpus/ryansMammoth").glob("*.abc"))
    for path in paths[::TUNE_STRIDE]:
        with warnings.catch_warnings(action="ignore"):
            score = music21.converter.parse(path)
            with suppress(music21.repeat.ExpanderException):  # a repeat without its beginning: played once
                score = score.expandRepeats()
            score.write("midi", fp=folder / f"{path.stem}.mid")
        if len(list(folder.iterdir())) == PIECES:
            return


def others(corpus: Path, collection: str) -> dict[str, list[Piece]]:
    """Return what tiny was not trained on of every other collection, by its name."""
    with held_out_folder(corpus) as folder:
        found: dict[str, list[Piece]] = {}
        for path in sorted(folder.glob("*/*.mid")) if folder else ():
            if path.parent.name != collection and (piece := read_or_none(path)):
                found.setdefault(path.parent.name, []).append(piece)
        return found


def perplexity_of(model: GPT2LMHeadModel, pieces: Sequence[Piece], n_windows: int) -> float:
    """Return the perplexity per event of plain windows."""
    windows = held_out_windows(pieces, MAX_WINDOW_EVENTS, n_windows)
    nats = torch.stack([perplexity.nats(model, window).mean(0) for window in windows])
    return math.exp(nats.mean(0).sum())


def copied(model: GPT2LMHeadModel, library: Library) -> str:
    """Return the longest runs that generated excerpts share with the pieces trained on: median and maximum."""
    with tempfile.TemporaryDirectory() as temporary:
        model.save_pretrained(temporary)
        made = generated_excerpts(Path(temporary), EXCERPTS, [0.95] * 3)
    return runs(made, library)


def runs(excerpts: Sequence[ev.Events], library: Library) -> str:
    """Return median and maximum of the longest runs shared with the pieces trained on."""
    found = memorisation.longest_shared_runs(excerpts, [piece.events for piece in library.split()[0]])
    return f"{np.median(found):.0f}, {max(found)}"


def tune(folder: Path, out: Path, minutes: float, words: Sequence[str]) -> float:
    """Run the command; return how long it took in all, in minutes."""
    began = time.perf_counter()
    command = [sys.executable, "-m", "training.finetune", str(folder), "--from", "tiny", "--out", str(out)]
    subprocess.run([*command, "--minutes", str(minutes), *words], cwd=PROJECT, check=True)
    return (time.perf_counter() - began) / 60


def measure(corpus: Path, collection: str, minutes: float, temporary: Path) -> str:
    """Fine-tune on a collection in both ways; return a section of Markdown."""
    folder = temporary / collection
    write_pieces(corpus, collection, folder)
    library, base, elsewhere = read_library(folder), find_base("tiny"), others(corpus, collection)
    trained, held_out = library.split()

    def row(name: str, model: GPT2LMHeadModel, total: str) -> list[str]:
        model.eval()
        here = perplexity_of(model, held_out, WINDOWS_HERE)
        there = [perplexity_of(model, pieces, WINDOWS_ELSEWHERE) for pieces in elsewhere.values()]
        if not first:
            first.extend([here, *there])
        changes = [f"{value:.1f} ({value / old - 1:+.0%})" for value, old in zip([here, *there], first, strict=True)]
        return [name, *changes, copied(model, library), total]

    first: list[float] = []
    rows = [row("tiny", base.load(), "-")]
    for number, (name, words) in enumerate(KINDS.items()):
        out = temporary / f"{collection}-{number}"
        total = tune(folder, out, minutes, words)
        rows.append(row(name, read_model(base, out), f"{total:.1f}"))
    music = runs(held_out_excerpts(held_out, EXCERPTS) or [piece.events for piece in held_out], library)
    header = ["trained", "held out", *elsewhere, "longest shared run: median, most", "minutes in all"]
    return (
        f"### {collection}\n\nTrained on {summarise(trained)}.\n\nHeld out: {summarise(held_out)}.\n\n"
        f"{table(header, rows)}\n\nHeld-out music shares runs of {music} notes with what was trained on.\n"
    )


def main() -> None:
    """Print a section for each collection."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("collections", nargs="*", default=["freedoom", TUNES], help="freedoom, easyrpg, tunes")
    parser.add_argument("--corpus", type=Path, default=CORPUS, help="of tiny's training")
    parser.add_argument("--minutes", type=float, default=10)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        sections = [measure(args.corpus, name, args.minutes, Path(temporary)) for name in args.collections]
    cores = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count()
    print(
        f"\n{args.minutes:g} minutes of training on {cores} cores of {cpu()}; commit {commit()}.\n", *sections, sep="\n"
    )


if __name__ == "__main__":
    main()
