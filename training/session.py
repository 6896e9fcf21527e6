"""Carry out a run of fine-tuning: plan it, say what it will take, train, measure what was written, write the card."""

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
import transformers
from accelerate.utils import set_seed
from transformers import GPT2LMHeadModel

from amt.errors import TrainingError
from amt.gpt2.device import find_device, free_bytes
from amt.tokens.vocab import EVENT_TOKENS, MAX_WINDOW_EVENTS
from training import loop, needs, perplexity
from training.base import Base, add_adapter, find_base, read_model, write_model
from training.card import Outcome, write_card
from training.library import Library, count_windows
from training.recipe import Recipe
from training.run_file import STATE_FOLDER, RunFile, read_run
from training.schedule import Schedule
from training.tuner import Tuner
from training.windows import Window, held_out_windows

PASSES = 4.0
"""Times that the pieces are seen where no length is asked for; training stops early where that is too much."""

MIN_STEPS = 40
"""Of a run whose length is not asked for: fewer hardly change a model."""

MEASURED_WINDOWS = 16
"""Of held-out music, at most."""

BACKWARD_COST = 4.0
"""How much longer a window takes in training than when it is measured."""

Asked = Mapping[str, Any]
"""What is asked for by name, None where nothing is."""


@dataclass(frozen=True)
class Session:
    """Hold what one call of the command works on; the model is the base's."""

    library: Library
    out: Path
    base: Base
    model: GPT2LMHeadModel
    device: torch.device
    file: RunFile
    is_resumed: bool

    def run(self, command: str) -> None:
        """Train, and write the model and its card; `command` is for the card.

        Raises:
            TrainingError: the device has too little memory, or there is nothing left to do.
        """
        tuner, windows = self._make_tuner(), _windows(self.library)
        print(self._plan(tuner, windows), flush=True)
        states = self.out / STATE_FOLDER
        if self.is_resumed:
            tuner.resume(states)
            if self.file.schedule.progress(tuner.progress.n_steps, tuner.progress.seconds) >= 1:
                raise TrainingError("this run is over: ask for more --minutes, --steps or --passes to go on")
        self.file.write(self.out)
        reason = loop.run(
            tuner, self.file.schedule, windows, states, lambda: write_model(tuner.model, self.base, self.out)
        )
        if reason:
            print(f"training ended early: {reason}", flush=True)
        self._finish(tuner, command)

    def _make_tuner(self) -> Tuner:
        """Return what trains; refuse what the memory has no room for."""
        recipe, model = self.file.recipe, self.model
        set_seed(recipe.seed)  # of the adapter's first weights
        adapted = add_adapter(model, self.base, recipe.lora) if recipe.lora else model
        if needs.is_checkpointed(model.config):
            model.activation_checkpointing_enable({"use_reentrant": False})
        need, free = self._needs(adapted), free_bytes(self.device)
        if need.n_bytes > free:
            raise TrainingError(
                f"this would take about {need.n_bytes / 1e9:.1f} GB on {self.device}, and {free / 1e9:.1f} GB are "
                f"free: train an adapter (--lora 16), or a smaller model"
            )
        return Tuner(
            adapted,
            self.library.split()[0],
            recipe,
            need.max_events,
            has_controls=self.base.has_controls,
            on_cpu=self.device.type == "cpu",
        )

    def _needs(self, model: torch.nn.Module) -> needs.Needs:
        trained = sum(each.numel() for each in model.parameters() if each.requires_grad)
        frozen = sum(each.numel() for each in model.parameters()) - trained
        return needs.estimate(
            self.model.config, trained, frozen, free_bytes(self.device), on_cpu=self.device.type == "cpu"
        )

    def _plan(self, tuner: Tuner, windows: list[Window]) -> str:
        """Return what is trained on what device, how long, and what that takes."""
        recipe, schedule, need = self.file.recipe, self.file.schedule, self._needs(tuner.model)
        began = time.perf_counter()
        tuner.evaluate(windows[:1])
        seconds = time.perf_counter() - began
        n_trained = sum(each.numel() for each in tuner.model.parameters() if each.requires_grad)
        what = (
            f"an adapter of rank {recipe.lora}, {n_trained / 1e6:.1f}" if recipe.lora else f"all {n_trained / 1e6:.0f}"
        )
        n_once, per_step = count_windows(self.library.split()[0]), _windows_per_step(recipe)
        seconds_per_step = BACKWARD_COST * seconds * per_step
        n_steps = schedule.steps or max(round((schedule.seconds or 0) / seconds_per_step), 1)
        minutes = (n_steps * seconds_per_step + loop.EVALUATIONS * seconds * len(windows)) / 60
        length = f"about {minutes:.1f} minutes" if schedule.steps else f"{(schedule.seconds or 0) / 60:g} minutes"
        return (
            f"training {what} million parameters of {recipe.base} on {self.device} in "
            f"{'bfloat16' if recipe.bfloat16 else 'float32'}, at a rate of {recipe.rate:.2g}\n"
            f"{'' if schedule.steps else 'about '}{n_steps} steps of {per_step:.0f} windows, which is "
            f"{n_steps * per_step / n_once:.1f} times through {n_once} windows; {length}; "
            f"about {need.n_bytes / 1e9:.1f} GB of memory"
        )

    def _finish(self, tuner: Tuner, command: str) -> None:
        """Measure the model as it was written, and write its card."""
        before, done, recipe = _row(self.file.before), tuner.progress, self.file.recipe
        model = read_model(self.base, self.out).to(self.device).eval()
        after = perplexity.measure(model, "after", self.library.split()[1], MEASURED_WINDOWS)
        settings = [
            ("trained", f"an adapter of rank {recipe.lora}" if recipe.lora else "everything"),
            ("steps", f"{done.n_steps} of about {recipe.tokens:,} tokens"),
            ("time", f"{done.seconds / 60:.1f} minutes on {self.device}"),
            ("peak of the learning rate", f"{recipe.rate:.3g}"),
            ("precision", "bfloat16" if recipe.bfloat16 else "float32"),
            ("seed", str(recipe.seed)),
        ]
        outcome = Outcome(
            self.out.resolve().name, self.base, recipe.base, self.library, before, after, settings, command
        )
        write_card(outcome, self.out)
        first, last = (math.exp(row.slots.sum()) for row in (before, after))
        print(f"held-out perplexity per event: {first:.1f} before, {last:.1f} after ({last / first - 1:+.0%})")
        if last >= first:
            print("The model did not get better at music like yours; more pieces, or a lower --rate, may help.")
        print(f"written to {self.out}: uv run python server.py --model {self.out.resolve().name}={self.out}")


def begin(library: Library, out: Path, asked: Asked, length: Asked, *, on_cpu: bool = False) -> Session:
    """Return a new run, the base measured.

    Args:
        library: the pieces.
        out: the folder for the model.
        asked: fields of the recipe.
        length: minutes, steps or passes.
        on_cpu: leave a GPU alone.

    Raises:
        AMTError: there is no such base, or it cannot be fine-tuned.
    """
    device = _find_device(on_cpu)
    base = find_base(asked["base"] or "tiny")
    model = base.load().to(device).eval()
    recipe = Recipe.complete(asked, model.config.n_embd, can_bfloat16=_is_bfloat16_fast(device))
    row = perplexity.measure(model, "before", library.split()[1], MEASURED_WINDOWS)
    print(f"{recipe.base}: held-out perplexity {math.exp(row.slots.sum()):.1f} per event", flush=True)
    before = row._asdict() | {"slots": row.slots.tolist()}
    file = RunFile(recipe, _schedule(recipe, library, length), library.fingerprint, before)
    return Session(library, out, base, model, device, file, is_resumed=False)


def resume(library: Library, out: Path, asked: Asked, length: Asked, *, on_cpu: bool = False) -> Session:
    """Return the run in a folder, to go on with; the arguments are those of `begin`.

    Raises:
        AMTError: there is none, or it was started with something else than is asked for.
    """
    file = read_run(out)
    file.check(asked, library.fingerprint)
    if any(length.values()):
        file = replace(file, schedule=_schedule(file.recipe, library, length))
    base, device = find_base(file.recipe.base), _find_device(on_cpu)
    return Session(library, out, base, base.load(), device, file, is_resumed=True)


def _schedule(recipe: Recipe, library: Library, length: Asked) -> Schedule:
    """Return when the run ends: as asked, or after four passes."""
    if length["minutes"]:
        return Schedule(seconds=60 * length["minutes"])
    if length["steps"]:
        return Schedule(steps=length["steps"])
    n_windows = (length["passes"] or PASSES) * count_windows(library.split()[0])
    steps = math.ceil(n_windows / _windows_per_step(recipe))
    return Schedule(steps=steps if length["passes"] else max(steps, MIN_STEPS))


def _windows_per_step(recipe: Recipe) -> float:
    return max(math.ceil(recipe.tokens / (EVENT_TOKENS * MAX_WINDOW_EVENTS)), 1)


def _windows(library: Library) -> list[Window]:
    """Return the windows by which the model is measured in training: those of `perplexity.measure`."""
    return held_out_windows(library.split()[1], MAX_WINDOW_EVENTS, MEASURED_WINDOWS)


def _row(fields: Mapping[str, Any]) -> perplexity.Row:
    return perplexity.Row(**{**fields, "slots": torch.tensor(fields["slots"])})


def _find_device(on_cpu: bool) -> torch.device:
    transformers.utils.logging.disable_progress_bar()
    return torch.device("cpu") if on_cpu else find_device("auto")


def _is_bfloat16_fast(device: torch.device) -> bool:
    """Return whether a device multiplies in bfloat16 by instructions of its own."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    features = torch.cpu.get_capabilities() if device.type == "cpu" else {}
    return any(features.get(name) for name in ("amx_bf16", "avx512_bf16"))
