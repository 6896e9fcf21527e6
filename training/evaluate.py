"""Measure a checkpoint: `uv run --group evaluation python -m training.evaluate CORPUS MODEL`.

Computes the perplexity on held-out pieces, collection by collection; statistics of pieces generated from nothing,
beside those of held-out music; how much of them is copied from training pieces; and a picture. Prints Markdown.
"""

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from transformers import GPT2LMHeadModel

from amt.tokens import events as ev
from training import memorisation, perplexity, statistics
from training.corpus import Piece, load
from training.excerpts import SECONDS, generated_excerpts, held_out_excerpts

PICTURED = 8


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpus", type=Path)
    parser.add_argument("model", type=Path)
    parser.add_argument("--windows", type=int, default=24, help="of each collection, for the perplexity; 0: none")
    parser.add_argument("--pieces", type=int, default=100, help="to generate; 0: perplexity only")
    parser.add_argument("--top-p", type=float, nargs=3, default=[0.95] * 3, help="of onsets, durations and notes")
    parser.add_argument("--excerpts", type=int, default=24, help="of held-out music, of each collection")
    parser.add_argument("--picture", type=Path, help="write piano rolls of the first eight there")
    return parser.parse_args()


def by_collection(pieces: Sequence[Piece]) -> dict[str, list[Piece]]:
    """Return the pieces of each collection, in the order of their names."""
    names = sorted({piece.collection for piece in pieces})
    return {name: [piece for piece in pieces if piece.collection == name] for name in names}


def print_perplexities(folder: Path, held_out: Sequence[Piece], n_windows: int) -> None:
    """Print a row for each collection, as soon as it is known."""
    model = GPT2LMHeadModel.from_pretrained(folder, dtype=torch.float32).eval()
    rows = []
    print(perplexity.HEADER)
    for name, pieces in by_collection(held_out).items():
        rows.append(perplexity.measure(model, name, pieces, n_windows))
        print(rows[-1], flush=True)
    print(perplexity.average(rows), flush=True)


def print_memorisation(music: Sequence[ev.Events], made: Sequence[ev.Events], trained: Sequence[Piece]) -> None:
    """Print the longest runs shared with training pieces: of generated excerpts, and of held-out music to compare."""
    pieces = [piece.events for piece in trained]
    for name, excerpts in (("held-out music", music), ("generated", made)):
        runs = memorisation.longest_shared_runs(excerpts, pieces)
        middle, high = np.percentile(runs, (50, 95))
        print(
            f"longest run shared with a training piece, {name}: median {middle:.0f}, 95 % {high:.0f}, max {max(runs)}"
        )


def main() -> None:
    """Print the report."""
    args = parse_arguments()
    pieces = load(args.corpus, Path(tempfile.gettempdir()) / f"{args.corpus.name}.events.npz")
    held_out = [piece for piece in pieces if piece.held_out]
    if args.windows:
        print_perplexities(args.model, held_out, args.windows)
    if not args.pieces:
        return
    made = generated_excerpts(args.model, args.pieces, args.top_p)
    groups = by_collection(held_out).values()
    music = [excerpt for group in groups for excerpt in held_out_excerpts(group, args.excerpts)]
    top_p = ", ".join(f"{value:g}" for value in args.top_p)
    print(f"\n{len(made)} pieces at top_p {top_p}, {len(music)} excerpts of held-out music, {SECONDS} s each\n")
    print(statistics.table(music, made))
    print_memorisation(music, made, [piece for piece in pieces if not piece.held_out])
    if args.picture:
        from training import pianoroll

        pianoroll.draw(made[:PICTURED], args.picture)


if __name__ == "__main__":
    main()
