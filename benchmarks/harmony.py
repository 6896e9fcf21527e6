"""Measure whether new parts are in tune with the given one: `uv run python -m benchmarks.harmony [--pieces 60]`.

Of held-out pieces one part is kept, and the others are written anew by the service's tasks accompany and infill, with
its defaults but for the chords: those that the given part implies, or none. How many new notes are in tune says little
where few pitch classes are used at all, so the same is counted with the given part moved in time, and taken off; and
likewise with the chords of the whole piece, for a bare melody says little of its harmony. The composers' own notes
are counted too. Prints a Markdown table.
"""

import argparse
import base64
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from amt.arranging.plan import MAX_NOTES
from amt.decoding.degenerate import find_flaw
from amt.decoding.model import load_model
from amt.gpt2.device import find_device, find_dtype
from amt.gpt2.network import GPT2
from amt.harmony.analysis import find_chords
from amt.midi import codec
from amt.midi.bars import Bars
from amt.midi.notes import DRUMS, TICKS_PER_SECOND, Note
from amt.midi.timing import Timing
from benchmarks.batches import decode_all
from benchmarks.checkpoints import TINY, TINY_VARIETY
from benchmarks.held_out import CORPUS, held_out_folder
from benchmarks.markdown import table
from benchmarks.music_statistics import EARLY_TICKS, PITCH_CLASSES
from tasks.music import decode_request
from tasks.requests import AccompanyRequest, InfillRequest

PIECES: Final = 60
START_SECONDS, END_SECONDS = 5, 20
"""Of the new music. Infill sees what all parts play before."""

MIN_NOTES: Final = 12
"""What the given part, and the others together, must play meanwhile for a piece to take part."""

MAX_MELODY_POLYPHONY: Final = 1.1
"""Notes that sound together on average where a part is a bare melody."""

START, END = START_SECONDS * TICKS_PER_SECOND, END_SECONDS * TICKS_PER_SECOND

SHIFTS_SECONDS: Final = (2.9, 5.3, 7.1, 9.7, 11.9)
"""By how much the given part is moved; what leaves the span comes back at its start."""


MAX_LINES: Final = 1_000
"""Bars and beats that are looked at."""

Table = NDArray[np.bool_]
"""Which pitch classes there are at each tick from the start of the piece; shape = (n_ticks, 12)."""


class Piece(NamedTuple):
    """Hold a piece and which of its instruments is given.

    Attributes:
        data: the file.
        notes: of the file.
        timing: of the file.
        given: the instrument that is kept.
    """

    data: bytes
    notes: list[Note]
    timing: Timing
    given: int


def fullest_part(notes: Sequence[Note]) -> int | None:
    """Return the instrument with the most notes."""
    counts = Counter(note.instrument for note in notes if note.instrument != DRUMS)
    return counts.most_common(1)[0][0] if counts else None


def bare_melody(notes: Sequence[Note]) -> int | None:
    """Return the highest instrument that plays one note at a time, if any does."""
    parts: dict[int, list[Note]] = {}
    for note in notes:
        parts.setdefault(note.instrument, []).append(note)
    heights = {
        instrument: float(np.median([note.pitch for note in part]))
        for instrument, part in parts.items()
        if instrument != DRUMS and polyphony(part) <= MAX_MELODY_POLYPHONY
    }
    return max(heights, key=lambda instrument: heights[instrument], default=None)


def polyphony(notes: Sequence[Note]) -> float:
    """Return how many notes sound together, on average over the time in which any does."""
    ends = max(note.onset + note.duration for note in notes)
    counts = np.zeros(ends + 1)
    for note in notes:
        counts[note.onset : note.onset + max(note.duration, 1)] += 1
    return float(counts[counts > 0].mean())


GIVEN: Final = {"the fullest part": fullest_part, "a bare melody": bare_melody}


def pieces_of(folder: Path, given: str, count: int) -> list[Piece]:
    """Return so many pieces that suit, evenly spread over a folder."""
    found = []
    for path in sorted(folder.glob("*/*.mid")):
        data = path.read_bytes()
        score = codec.read_piece(data)
        notes = score.notes
        if max((note.onset + note.duration for note in notes), default=0) < END or len(notes) > MAX_NOTES:
            continue
        chosen = GIVEN[given](notes)
        in_span = [note.instrument == chosen for note in notes if is_new(note) and note.instrument != DRUMS]
        if min(in_span.count(True), in_span.count(False)) >= MIN_NOTES and chosen is not None:
            found.append(Piece(data, notes, score.timing, chosen))
    return [found[round(k)] for k in np.linspace(0, len(found) - 1, min(count, len(found)))]


def is_new(note: Note) -> bool:
    """Tell whether a note begins where new music is written."""
    return START <= note.onset < END


def sounding(piece: Piece) -> Table:
    """Return which pitch classes the given part sounds."""
    table = np.zeros((END, PITCH_CLASSES), dtype=np.bool_)
    for note in piece.notes:
        if note.instrument == piece.given:
            table[note.onset : note.onset + max(note.duration, 1), note.pitch % PITCH_CLASSES] = True
    return table


def implied(piece: Piece) -> Table:
    """Return which pitch classes are in the chords that the composer's notes imply, of all parts together."""
    table = np.zeros((END, PITCH_CLASSES), dtype=np.bool_)
    bars = Bars(piece.timing)
    for chord in find_chords(piece.notes, bars.beats(1, END, MAX_LINES), bars.lines(1, END, MAX_LINES)):
        table[chord.start_ticks :] = False
        table[chord.start_ticks :, list(chord.pitch_classes)] = True
    return table


class Share(NamedTuple):
    """Hold which share of notes has a pitch class that a table has at their onset, or would have if it were moved."""

    now: float
    moved: float


def in_tune(new: Iterable[Note], table: Table) -> Share:
    """Return how well new notes fit to a table; where it has nothing a note does not count."""
    span = np.roll(table, -EARLY_TICKS, axis=0)[START:]
    notes = np.array([(note.onset - START, note.pitch % PITCH_CLASSES) for note in new if note.instrument != DRUMS])
    if not len(notes):
        return Share(np.nan, np.nan)
    moved = [np.roll(span, round(seconds * TICKS_PER_SECOND), axis=0) for seconds in SHIFTS_SECONDS]
    return Share(_share(notes, [span]), _share(notes, moved))


def _share(notes: NDArray[np.int64], tables: Sequence[Table]) -> float:
    onsets, classes = notes.T
    hits = np.concatenate([table[onsets, classes] for table in tables])
    counts = np.concatenate([table[onsets].any(axis=1) for table in tables])
    return float(hits[counts].mean()) if counts.any() else np.nan


class Part(NamedTuple):
    """Hold the new notes of a piece, and whether they are silent or stuck."""

    notes: list[Note]
    is_flawed: bool


def composed(piece: Piece) -> Part:
    """Return what the other parts play where new music is written."""
    return Part([note for note in piece.notes if is_new(note) and note.instrument != piece.given], is_flawed=False)


def write_parts(model: GPT2, pieces: Iterable[Piece], task: str, chords: str | None) -> list[Part]:
    """Return what the service would play beside the given part of each piece; `chords`: as its request has them."""
    jobs = [
        decode_request(_request(piece, task, chords, seed), "tiny", {}, streams=False)
        for seed, piece in enumerate(pieces)
    ]
    requests = [
        replace(request, constraints=request.constraints.for_model(TINY_VARIETY))
        for job in jobs
        for request in job.sequences
    ]
    return [
        Part(job.plan.new_notes(each.sequence.generated), find_flaw(each.new, request.constraints) is not None)
        for job, request, each in zip(jobs, requests, decode_all(model, requests), strict=True)
    ]


def _request(piece: Piece, task: str, chords: str | None, seed: int) -> AccompanyRequest | InfillRequest:
    sent = {"task": task, "midi_input": base64.b64encode(piece.data).decode(), "chords": chords, "seed": seed}
    if task == "accompany":
        span = {"prime_seconds": START_SECONDS, "length_seconds": END_SECONDS - START_SECONDS}
        return AccompanyRequest.model_validate({**sent, **span, "melody_instruments": [piece.given]})
    span = {"start_seconds": START_SECONDS, "end_seconds": END_SECONDS}
    others = sorted({note.instrument for note in piece.notes} - {piece.given})
    return InfillRequest.model_validate({**sent, **span, "instruments": others})


class Row(NamedTuple):
    """Hold what the parts of one row come to: means over the pieces.

    Attributes:
        name: of the row's cells: task, what is given, chords.
        with_part: how many notes have a pitch class that the given part sounds.
        with_chords: likewise of the chords of the piece as it was composed.
        notes_per_second: of all new notes.
        instruments: of a piece.
        flawed: the share of pieces that are silent or stuck.
    """

    name: tuple[str, str, str]
    with_part: Share
    with_chords: Share
    notes_per_second: float
    instruments: float
    flawed: float


def row(name: tuple[str, str, str], pieces: Sequence[Piece], parts: Sequence[Part]) -> Row:
    """Return the row of these parts."""
    shares = [
        [in_tune(part.notes, table(piece)) for piece, part in zip(pieces, parts, strict=True)]
        for table in (sounding, implied)
    ]
    with_part, with_chords = (Share(*np.nanmean(each, axis=0).tolist()) for each in shares)
    return Row(
        name,
        with_part,
        with_chords,
        float(np.mean([len(part.notes) for part in parts])) / (END_SECONDS - START_SECONDS),
        float(np.mean([len({note.instrument for note in part.notes}) for part in parts])),
        float(np.mean([part.is_flawed for part in parts])),
    )


def measure(model: GPT2, folder: Path, n_pieces: int = PIECES) -> Iterator[Row]:
    """Yield the rows, with the pieces of a folder of collections."""
    for given in GIVEN:
        pieces = pieces_of(folder, given, n_pieces)
        yield row(("as composed", given, ""), pieces, [composed(piece) for piece in pieces])
        for task, chords in product(("accompany", "infill"), (None, "auto")):
            parts = write_parts(model, pieces, task, chords)
            yield row((task, given, chords or "none"), pieces, parts)


def markdown(rows: Iterable[Row]) -> str:
    """Return the table; of the shares it shows by how much they exceed those of what is moved in time."""
    return table(
        (
            "new parts",
            "beside",
            "chords",
            "in tune with it",
            "more than by chance",
            "in the piece's chords",
            "more than by chance",
            "notes a second",
            "instruments",
            "silent or stuck",
        ),
        (
            (
                *each.name,
                *(f"{value:.2f}" for now, moved in (each.with_part, each.with_chords) for value in (now, now - moved)),
                f"{each.notes_per_second:.1f}",
                f"{each.instruments:.1f}",
                f"{each.flawed:.1%}",
            )
            for each in rows
        ),
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", type=Path, default=CORPUS, help="folder or archive: collections of MIDI files")
    parser.add_argument("--pieces", type=int, default=PIECES)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="fewer where others work too")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    device = find_device(args.device)
    dtype = find_dtype(args.dtype, device)
    with held_out_folder(args.corpus) as folder:
        if not folder:
            parser.error(f"{args.corpus} has no held-out pieces")
        print(f"{device}, {dtype}, {args.pieces} pieces\n")
        print(markdown(measure(load_model(TINY, dtype, device), folder, args.pieces)))


if __name__ == "__main__":
    main()
