"""Measure how similar variations are to their pieces: `uv run python -m benchmarks.variations CORPUS`.

The corpus is a folder of MIDI files, a sub-folder for each collection. Of held-out pieces, as many of each collection,
a span of 20 s is varied by the bundled model as the service does it, at several values of `similarity`. Prints a
Markdown table; all figures are means over the pieces but the largest error.
"""

import argparse
import base64
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, islice, zip_longest
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from amt.arranging.plan import MAX_NOTES, EditPlan
from amt.decoding.engine import Engine
from amt.decoding.model import load_model
from amt.errors import MidiError
from amt.gpt2.device import find_device, find_dtype
from amt.gpt2.network import GPT2
from amt.midi import codec
from amt.midi.notes import DRUMS, TICKS_PER_SECOND, Note
from amt.tokens import events as ev
from benchmarks.checkpoints import TINY
from benchmarks.markdown import table
from tasks.body import read_body
from tasks.music import decode_request
from training.corpus import Piece
from worker.jobs import GenerateJob

SIMILARITIES = (0.0, 0.25, 0.5, 0.75, 1.0)
SPAN_TICKS = 20 * TICKS_PER_SECOND
MIN_NOTES = 40
"""In a span: of fewer the nearest whole number is too far from the share that is asked for."""

ROWS = 24
"""Variations decoded together."""

CHROMA_TICKS, ONSET_TICKS = 50, 5
"""The length of the frames that are compared."""


@dataclass(frozen=True)
class Excerpt:
    """Hold a piece, and where its span begins."""

    data: bytes
    start: int

    def of(self, notes: Sequence[Note]) -> list[Note]:
        """Return those of the notes that begin within the span, from its start on."""
        moved = [note._replace(onset=note.onset - self.start) for note in notes]
        return [note for note in moved if 0 <= note.onset < SPAN_TICKS]


@dataclass(frozen=True)
class Figures:
    """Hold what one variation has of its piece.

    Attributes:
        kept: the share of its notes that stay.
        chroma: the cosine of the pitch classes over time.
        onsets: that of how many notes begin when.
        instruments: the share of the notes that the same instruments play.
        density: how many new notes there are for each that is replaced; NaN if none is.
    """

    kept: float
    chroma: float
    onsets: float
    instruments: float
    density: float


def excerpts(corpus: Path, count: int) -> list[Excerpt]:
    """Return `count` spans from the middle of held-out pieces, of each collection in turn."""
    by_collection = [
        [path for path in sorted(folder.glob("*.mid")) if Piece(folder.name, path.name, ev.empty()).held_out]
        for folder in sorted(corpus.iterdir())
    ]
    in_turn = filter(None, chain.from_iterable(zip_longest(*by_collection)))
    return list(islice(chain.from_iterable(map(excerpt_of, in_turn)), count))


def excerpt_of(path: Path) -> Iterator[Excerpt]:
    """Yield the span of a file, if it can be read, and has enough notes but no more than the service takes."""
    data = path.read_bytes()
    try:
        notes = codec.read_notes(data)
    except MidiError:
        return
    last = max((note.onset + note.duration for note in notes), default=0)
    found = Excerpt(data, max((last - SPAN_TICKS) // 2, 0))
    if last >= SPAN_TICKS and len(found.of(notes)) >= MIN_NOTES and len(notes) <= MAX_NOTES:
        yield found


def job_of(excerpt: Excerpt, similarity: float, seed: int) -> GenerateJob:
    """Return what the service decodes for a request."""
    body = {
        "task": "variation",
        "midi_input": base64.b64encode(excerpt.data).decode(),
        "start_seconds": excerpt.start / TICKS_PER_SECOND,
        "end_seconds": (excerpt.start + SPAN_TICKS) / TICKS_PER_SECOND,
        "similarity": similarity,
        "seed": seed,
    }
    return decode_request(read_body(body), "tiny", {}, streams=False)


def decode(model: GPT2, jobs: Sequence[GenerateJob]) -> list[list[Note]]:
    """Return the new notes of the only variation of each job."""
    engine, waiting, number_of = Engine(model), list(enumerate(jobs)), dict[int, int]()
    found: list[list[Note]] = [[]] * len(jobs)
    while waiting or number_of:
        while waiting and len(number_of) < ROWS:
            number, job = waiting.pop()
            number_of[id(engine.add(job.sequences[0]))] = number
        for sequence in engine.step():
            number = number_of.pop(id(sequence))
            found[number] = jobs[number].plans[0].new_notes(sequence.generated)
    return found


def compare(excerpt: Excerpt, plan: EditPlan, new: Sequence[Note]) -> Figures:
    """Compare a variation with its piece."""
    before = excerpt.of(codec.read_notes(excerpt.data))
    kept, after = excerpt.of(plan.kept), excerpt.of([*plan.kept, *new])
    n_replaced = len(before) - len(kept)
    return Figures(
        kept=len(kept) / len(before),
        chroma=cosine(chroma(before), chroma(after)),
        onsets=cosine(onset_counts(before), onset_counts(after)),
        instruments=overlap(before, after),
        density=len(new) / n_replaced if n_replaced else np.nan,
    )


def chroma(notes: Sequence[Note]) -> NDArray[np.float64]:
    """Return for how long each pitch class sounds in each frame; shape = (n_frames x 12,)."""
    sounding = np.zeros((SPAN_TICKS, 12))
    for note in notes:
        if note.instrument != DRUMS:
            sounding[note.onset : note.onset + max(note.duration, 1), note.pitch % 12] += 1
    return sounding.reshape(-1, CHROMA_TICKS, 12).sum(1).ravel()


def onset_counts(notes: Sequence[Note]) -> NDArray[np.float64]:
    """Return how many notes begin in each frame; shape = (n_frames,)."""
    return np.bincount([note.onset // ONSET_TICKS for note in notes], minlength=SPAN_TICKS // ONSET_TICKS).astype(float)


def cosine(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    """Return the cosine of two arrays; NaN if one is all zeros."""
    lengths = float(np.linalg.norm(first) * np.linalg.norm(second))
    return float(first @ second) / lengths if lengths else np.nan


def overlap(first: Sequence[Note], second: Sequence[Note]) -> float:
    """Return which share of the notes the same instruments play."""
    counts = [Counter(note.instrument for note in notes) for notes in (first, second)]
    return sum(min(counts[0][each] / len(first), counts[1][each] / max(len(second), 1)) for each in counts[0])


def measure(model: GPT2, found: Sequence[Excerpt], seed: int) -> dict[float, list[Figures]]:
    """Measure a variation of each excerpt at each similarity."""
    asked = [(excerpt, similarity) for similarity in SIMILARITIES for excerpt in found]
    jobs = [job_of(excerpt, similarity, seed) for excerpt, similarity in asked]
    figures: dict[float, list[Figures]] = {similarity: [] for similarity in SIMILARITIES}
    for (excerpt, similarity), job, new in zip(asked, jobs, decode(model, jobs), strict=True):
        figures[similarity].append(compare(excerpt, job.plans[0], new))
    return figures


def markdown(figures: Mapping[float, Sequence[Figures]]) -> str:
    """Return the table."""
    header = ("similarity", "kept", "largest error", "chroma", "onsets", "instruments", "new notes to replaced")
    return table(header, ([f"{asked:g}", *_cells(asked, each)] for asked, each in figures.items()))


def _cells(asked: float, figures: Sequence[Figures]) -> list[str]:
    kept, *others = np.array([[*vars(each).values()] for each in figures]).T
    means = [f"{np.nanmean(values):.2f}" if not np.isnan(values).all() else "" for values in others]
    return [f"{kept.mean():.3f}", f"{abs(kept - asked).max():.3f}", *means]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--pieces", type=int, default=30)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--device", default="auto")
    args = parser.parse_args()
    device = find_device(args.device)
    model = load_model(TINY, find_dtype("auto", device), device)
    found = excerpts(args.corpus, args.pieces)
    print(f"{len(found)} pieces, {device}, {torch.get_num_threads()} threads\n")
    print(markdown(measure(model, found, args.seed)))


if __name__ == "__main__":
    main()
