"""Take steps of fine-tuning, and save all that the next step depends on."""

import shutil
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import set_seed
from peft import PeftModel
from torch import Tensor
from transformers import GPT2LMHeadModel

from amt.tokens.vocab import MAX_WINDOW_EVENTS
from training import perplexity
from training.base import plain
from training.batches import collate, parts
from training.corpus import Piece
from training.recipe import Recipe
from training.windows import ANTICIPATED_SHARE, Sampler, Window

REPEATING = 0.05
"""Share of windows in which a phrase is repeated, as at the end of tiny's training."""

BETAS = (0.9, 0.98)
MAX_GRADIENT = 1.0
SMOOTHING = 0.05


@dataclass
class Progress:
    """Count what a run has done; saved with its state."""

    n_steps: int = 0
    seconds: float = 0.0
    nats: float = float("nan")
    """The recent loss of an event in training, smoothed."""
    best_nats: float = float("inf")
    """The lowest held-out loss of an event so far."""
    n_stale: int = 0
    """Evaluations since then."""

    def state_dict(self) -> dict[str, Any]:
        """Return the fields by name, as accelerate saves them."""
        return asdict(self)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take the fields over."""
        for name, value in state.items():
            setattr(self, name, value)


class Tuner:
    """Hold a model in training with its optimizer, and draw its windows: those of a step depend on its number alone.

    The loop is accelerate's kind, not transformers' `Trainer`: a schedule by the clock, windows counted in tokens, a
    loss over each slot's own tokens and states that are whole or not there would each take that apart.
    """

    def __init__(
        self,
        model: GPT2LMHeadModel | PeftModel,
        pieces: Sequence[Piece],
        recipe: Recipe,
        max_events: int = MAX_WINDOW_EVENTS,
        *,
        has_controls: bool = True,
        on_cpu: bool = False,
    ) -> None:
        """Place the model on the device that is there, or on the CPU.

        `max_events`: of one pass through the model; `has_controls`: most windows are anticipated, or none is.
        """
        self._accelerator = Accelerator(mixed_precision="bf16" if recipe.bfloat16 else "no", cpu=on_cpu)
        self.model = model.to(self._accelerator.device)
        self.progress = Progress()
        self._recipe, self._max_events = recipe, max_events
        self._anticipated = ANTICIPATED_SHARE if has_controls else 0.0
        # One collection: sub-folders of a private library say nothing of how often a piece should be heard.
        self._sampler = Sampler([replace(piece, collection="") for piece in pieces], recipe.seed, REPEATING)
        self._trained = {name: each for name, each in model.named_parameters() if each.requires_grad}
        optimizer = torch.optim.AdamW(self._trained.values(), lr=recipe.rate, betas=BETAS, weight_decay=0.0, fused=True)
        self._optimizer = self._accelerator.prepare(optimizer)
        self._accelerator.register_for_checkpointing(self.progress, _Weights(self._trained))
        set_seed(recipe.seed)

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return self._accelerator.device

    def windows(self, step: int) -> list[Window]:
        """Return what a step learns from: full windows, and beginnings, which decide what comes from nothing."""
        self._sampler.reseed(self._recipe.seed, step)
        full = self._sampler.batch(self._recipe.tokens, MAX_WINDOW_EVENTS, self._anticipated)
        return full + self._sampler.openings(MAX_WINDOW_EVENTS)

    def step(self, rate_share: float) -> None:
        """Take the next step, at a share of the peak rate."""
        began, windows = time.perf_counter(), self.windows(self.progress.n_steps)
        n_targets = sum(int(window.targets.sum()) for window in windows)
        self.model.train()
        self._optimizer.zero_grad()
        total = torch.zeros((), device=self.device)
        for part in parts(windows, self._max_events):
            with self._accelerator.autocast():
                nats = perplexity.slot_nats(plain(self.model), *collate(part, self.device)).sum() / n_targets
            self._accelerator.backward(nats)
            total += nats.detach()
        self._accelerator.clip_grad_norm_(self._trained.values(), MAX_GRADIENT)
        for group in self._optimizer.param_groups:
            group["lr"] = self._recipe.rate * rate_share
        self._optimizer.step()
        self._count(float(total), time.perf_counter() - began)

    def _count(self, nats: float, seconds: float) -> None:
        done = self.progress
        done.nats = nats if done.n_steps == 0 else done.nats + SMOOTHING * (nats - done.nats)
        done.n_steps += 1
        done.seconds += seconds

    def evaluate(self, windows: Sequence[Window]) -> float:
        """Return the mean loss of an event on held-out windows, in nats; time for it counts too."""
        began = time.perf_counter()
        self.model.eval()
        nats = torch.stack([perplexity.nats(plain(self.model), window).mean(0) for window in windows])
        self.progress.seconds += time.perf_counter() - began
        return float(nats.mean(0).sum())

    def save(self, folder: Path) -> None:
        """Write the state of the run as a folder of its own; one that was there stays until this one is whole."""
        whole = folder / f"step-{self.progress.n_steps:08d}"
        part = whole.with_suffix(".part")
        shutil.rmtree(part, ignore_errors=True)
        self._accelerator.save_state(str(part))
        shutil.rmtree(whole, ignore_errors=True)
        part.rename(whole)
        for old in folder.glob("step-*"):
            if old != whole:
                shutil.rmtree(old)

    def resume(self, folder: Path) -> None:
        """Continue from the last state that was saved there as a whole; from the beginning if none was."""
        states = [path for path in folder.glob("step-*") if path.suffix != ".part"]
        if states:
            self._accelerator.load_state(str(max(states)))


class _Weights:
    """Let accelerate save the weights that are trained: of an adapter's base nothing."""

    def __init__(self, parameters: dict[str, torch.nn.Parameter]) -> None:
        self._parameters = parameters

    def state_dict(self) -> dict[str, Tensor]:
        """Return the weights by name."""
        return {name: parameter.detach() for name, parameter in self._parameters.items()}

    @torch.no_grad()
    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Take the weights over."""
        for name, parameter in self._parameters.items():
            parameter.copy_(state[name])
