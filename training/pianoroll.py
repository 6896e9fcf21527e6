"""Draw excerpts as piano rolls, one colour for each instrument. `matplotlib` is in the evaluation group."""

from collections.abc import Sequence
from pathlib import Path

from matplotlib import colormaps
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import PatchCollection
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from amt.midi.instruments import instrument_name
from amt.midi.notes import DRUMS, TICKS_PER_SECOND
from amt.tokens import events as ev
from training.excerpts import SECONDS

COLUMNS = 2
COLOURS = colormaps["tab10"].colors
DRUM_COLOUR = "black"
MAX_TITLE_LETTERS = 66
"""As many as fit over one piano roll."""


def draw(excerpts: Sequence[ev.Events], path: Path) -> None:
    """Write a PNG of excerpts, numbered from 0, row by row. Drums are black; other colours differ within an excerpt."""
    n_rows = -(-len(excerpts) // COLUMNS)
    figure = Figure(figsize=(10, 1.7 * n_rows), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(n_rows, COLUMNS, sharex=True, sharey=True, squeeze=False)
    for number, (axis, events) in enumerate(zip(axes.flat, excerpts, strict=False)):
        notes = ev.to_notes(events)
        melodic = sorted({note.instrument for note in notes} - {DRUMS})
        colours = {program: COLOURS[index % len(COLOURS)] for index, program in enumerate(melodic)}
        boxes = [
            Rectangle((note.onset / TICKS_PER_SECOND, note.pitch - 0.5), max(note.duration, 5) / TICKS_PER_SECOND, 1)
            for note in notes
        ]
        shades = [colours.get(note.instrument, DRUM_COLOUR) for note in notes]
        axis.add_collection(PatchCollection(boxes, facecolors=shades, edgecolors="none"))
        axis.set(xlim=(0, SECONDS), ylim=(21, 108), yticks=range(24, 109, 24))
        names = ", ".join(instrument_name(program) for program in sorted({note.instrument for note in notes}))
        axis.set_title(f"{number}: {names}"[:MAX_TITLE_LETTERS], fontsize=8, loc="left")
        axis.tick_params(labelsize=7)
    for axis in axes[-1]:
        axis.set_xlabel("seconds", fontsize=8)
    figure.savefig(path, dpi=100)
