"""Write the card of a fine-tuned model: what it learned from, and what came of it."""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from amt.tokens import events as ev
from training import perplexity, pianoroll
from training.base import ADAPTER_FILE, Base, read_model
from training.corpus import Piece
from training.excerpts import SECONDS, generated_excerpts, held_out_excerpts
from training.library import Library, summarise

PICTURE = "pianorolls.png"

ROWS = 4
"""Of piano rolls."""

MAX_SLOW_PARAMETERS = 2e8
"""Larger models do not generate for the picture where there is no GPU: it would take minutes."""


@dataclass(frozen=True)
class Outcome:
    """Hold what there is to say of a run."""

    name: str
    base: Base
    base_name: str
    library: Library
    before: perplexity.Row
    after: perplexity.Row
    settings: Sequence[tuple[str, str]]
    command: str


def write_card(outcome: Outcome, folder: Path) -> None:
    """Write README.md and its picture beside the model."""
    trained, held_out = outcome.library.split()
    is_adapter = (folder / ADAPTER_FILE).exists()
    generated = draw_rolls(outcome.base, held_out, folder)
    kind = "LoRA adapter for" if is_adapter else "fine-tuned from"
    rows = "\n".join(f"| {name} | {value} |" for name, value in outcome.settings)
    n_unusable = len(outcome.library.unusable)
    right = "; right: what the model makes from nothing, seeds 0 to 3, top_p 0.95" if generated else ""
    text = f"""---
library_name: {"peft" if is_adapter else "transformers"}
base_model: {outcome.base.source}
tags: [music, midi, symbolic-music, anticipatory-music-transformer]
---

# {outcome.name}: {kind} {outcome.base_name}

    uv run python server.py --model {outcome.name}={folder}

The base's licence holds for it, and so do the rights in the pieces below.

## Data

- trained on: {summarise(trained)}
- held out: {summarise(held_out)}
- {n_unusable} other MIDI {"file" if n_unusable == 1 else "files"} could not be used

## Held-out perplexity per event

Full windows of 341 events without controls, nats per slot, rests counted as events. The last two columns are of pieces
with more than one instrument: what the others play, first alone, then given the controls of the one that plays most.

{perplexity.HEADER.replace("collection", "model")}
{outcome.before}
{outcome.after}

![Piano rolls]({PICTURE})

Left: held-out music, {SECONDS} s each{right}. A colour is an instrument, drums are black.

## Training

| setting | value |
|---|---|
{rows}

    {outcome.command}
"""
    (folder / "README.md").write_text(text)


def draw_rolls(base: Base, held_out: Sequence[Piece], folder: Path) -> bool:
    """Draw held-out music, and beside it what the model makes; return whether that is there."""
    music = held_out_excerpts(held_out, ROWS) or [piece.events for piece in held_out[:ROWS]]
    made = _generate(base, folder)
    pairs = [roll for left, right in zip(music, made, strict=False) for roll in (left, right)]
    pianoroll.draw(pairs or music, folder / PICTURE)
    return bool(pairs)


def _generate(base: Base, folder: Path) -> list[ev.Events]:
    """Return what the model makes from nothing; nothing where that would take minutes."""
    model = read_model(base, folder)
    if model.num_parameters() > MAX_SLOW_PARAMETERS:
        return []
    with tempfile.TemporaryDirectory() as temporary:
        model.save_pretrained(temporary)
        return generated_excerpts(Path(temporary), ROWS, [0.95] * 3)
