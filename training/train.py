"""Train the bundled model.

    uv run python -m training.train CORPUS OUT --minutes 90 --stages 85:0.4,170:0.2,341:0.4

CORPUS holds a folder of MIDI files per collection. OUT gets `checkpoint.pt`, every few minutes, from which `--resume`
goes on after an interruption, and at the end `model/`, a Hugging Face checkpoint in bfloat16.
"""

import argparse
import math
import os
import time
from concurrent.futures import Executor, ThreadPoolExecutor
from pathlib import Path
from threading import Lock

import numpy as np
import torch
from torch import Tensor
from transformers import GPT2LMHeadModel

from amt.tokens.vocab import EVENT_TOKENS, MAX_WINDOW_EVENTS
from training.batches import collate, parts
from training.corpus import Piece, load
from training.model import WIDTH, TrainingModel
from training.muon import Muon
from training.windows import OPENING_EVENTS, Sampler, Window, held_out_windows

REPORT_SECONDS = 30
SAVE_SECONDS = 240
"""Seconds of work, not of waiting."""


def held_out_report(model: TrainingModel, pieces: list[Piece], n_events: int, pool: Executor) -> str:
    """Return the perplexity per event on some windows, collections weighted evenly, as a line of text."""

    @torch.no_grad()
    def nats(window: Window) -> Tensor:
        return model(*collate([window], device), torch.zeros(1, dtype=torch.int64, device=device))[0]

    device = next(model.parameters()).device
    model.eval()
    rows = []
    for name in sorted({piece.collection for piece in pieces}):
        windows = held_out_windows([piece for piece in pieces if piece.collection == name], n_events, count=6)
        rows.append(torch.stack(list(pool.map(nats, windows))).mean(0))
    model.train()
    total = torch.stack(rows).mean(0)
    parts = " + ".join(f"{nat:.2f}" for nat in total.tolist())
    return f"held out, {n_events} events: perplexity {math.exp(total.sum()):.0f} ({parts} nats)"


def optimizers(model: TrainingModel, rate: float, dtype: torch.dtype) -> list[torch.optim.Optimizer]:
    """Return Muon for each block's matrices, iterating in `dtype`; AdamW for all else, slower for remainders."""
    matrices = [[p for p in block.parameters() if p.ndim == 2] for block in model.blocks]
    remainders = [p for name, p in model.named_parameters() if name.endswith("remainder")]
    chosen = {id(p) for p in [*remainders, *(p for group in matrices for p in group)]}
    rest = [p for p in model.parameters() if id(p) not in chosen]
    adam = torch.optim.AdamW(
        [{"params": rest, "lr": rate}, {"params": remainders, "lr": rate / 4}],
        betas=(0.9, 0.98),
        weight_decay=0.0,
        fused=True,
    )
    return [adam, *(Muon(group, rate, dtype) for group in matrices)]


def optimizer_of_heads(model: TrainingModel, rate: float) -> torch.optim.Optimizer:
    """Return AdamW for queries and keys.

    Muon's updates have one size over all of a matrix, most of which has other things to learn. So guided heads that
    need minutes to learn where to look would not learn it in hours.
    """
    looking = [p for block in model.blocks for p in block.attn.c_attn.parameters()]
    return torch.optim.AdamW(looking, lr=rate, betas=(0.9, 0.98), weight_decay=0.0)


def learning_rate(progress: float) -> float:
    """Return the share of the peak rate: a short rise, a plateau, and a fall to zero over the last 60 %."""
    return min((progress + 1e-3) / 0.02, 1.0, (1 - progress) / 0.6)


class Run:
    """Hold a model, its optimizers, and how long they have worked."""

    def __init__(
        self,
        model: TrainingModel,
        optims: list[torch.optim.Optimizer],
        checkpoint: Path,
        workers: int,
        guidance: float,
        only_heads: bool,
        dtype: torch.dtype,
    ) -> None:
        """`dtype`: of matrix products and activations; weights, the residual stream, norms and losses are float32."""
        self._model, self._optims, self._checkpoint = model, optims, checkpoint
        self._workers, self._guidance, self._only_heads = workers, guidance, only_heads
        self._dtype = dtype
        self._parameters = [p for optim in optims for group in optim.param_groups for p in group["params"]]
        self._is_on_cpu = self._parameters[0].device.type == "cpu"
        self._lock = Lock()
        self._began = time.perf_counter()
        self._earlier_seconds = 0.0
        self._last: dict[str, float] = {}
        self._n_steps, self._n_events = 0, 0
        self._smooth: Tensor | None = None
        for optim in optims:
            for group in optim.param_groups:
                group["peak"] = group["lr"]

    def worked_seconds(self) -> float:
        """Return how long this program has computed; on a CPU time in which it waited or was stopped does not count."""
        seconds = time.process_time() / self._workers if self._is_on_cpu else time.perf_counter() - self._began
        return self._earlier_seconds + seconds

    def is_due(self, what: str, every_seconds: float) -> bool:
        """Return whether `every_seconds` of work have passed since this was last due."""
        now = self.worked_seconds()
        if now - self._last.setdefault(what, now) < every_seconds:
            return False
        self._last[what] = now
        return True

    def learn(self, windows: list[Window], scale: float, pool: Executor) -> None:
        """Take one step, at `scale` times the peak rates.

        On a CPU each thread takes whole windows, a full context at a time, short ones together. That uses the cores
        better than splitting every operation among them: there is hardly any padding, and no thread waits for a core
        that other programs keep busy. Other devices take all windows at once.
        """
        groups = list(parts(windows)) if self._is_on_cpu else [windows]
        n_events = sum(len(window.events) for window in windows)
        n_targets = sum(int(window.targets.sum()) for window in windows)
        for parameter in self._parameters:
            parameter.grad = torch.zeros_like(parameter)
        losses = list(pool.map(lambda part: self._add_gradients(part, n_events, n_targets), groups))
        torch.nn.utils.clip_grad_norm_(self._parameters, 1.0)
        for optim in self._optims:
            for group in optim.param_groups:
                group["lr"] = group["peak"] * scale
        list(pool.map(lambda optim: optim.step(), self._optims))
        loss = torch.stack(losses).sum(0)
        self._smooth = loss if self._smooth is None else self._smooth.lerp(loss, 0.05)
        self._n_steps, self._n_events = self._n_steps + 1, self._n_events + n_targets

    def _add_gradients(self, windows: list[Window], n_events: int, n_targets: int) -> Tensor:
        """Add these windows' share of every gradient; return their share of the losses.

        A slot's loss is a mean over targets, the guidance loss one over windows, weighted by their events. So the loss
        of a step is the sum of the shares.

        Returns:
            the losses of the three slots and the guidance loss; shape = (4,).
        """
        modes, events, targets = collate(windows, self._parameters[0].device)
        lengths = torch.tensor([len(window.events) for window in windows], device=modes.device)
        # Windows that begin a context remain the most common, and openings do nothing else.
        shifts = torch.randint(MAX_WINDOW_EVENTS - events.shape[1] + 1, modes.shape, device=modes.device)
        shifts *= (torch.rand(modes.shape, device=modes.device) < 0.7) & (lengths > OPENING_EVENTS)
        with torch.autocast(modes.device.type, self._dtype, enabled=self._dtype is not torch.float32):
            if self._only_heads:
                losses = torch.zeros(EVENT_TOKENS, device=modes.device)
                guidance_losses = self._model.guidance_loss(modes, events, targets, shifts)
            else:
                losses, guidance_losses = self._model(modes, events, targets, shifts)
        shares = losses * targets.sum() / n_targets, (guidance_losses * lengths).sum() / n_events
        loss = shares[0].sum() + self._guidance * shares[1]
        gradients = torch.autograd.grad(loss, self._parameters, materialize_grads=self._only_heads)
        with self._lock:
            torch._foreach_add_([parameter.grad for parameter in self._parameters], gradients)
        return torch.cat([shares[0], shares[1][None]]).detach()

    def report(self, n_events: int) -> None:
        """Print the pace and the recent loss."""
        worked = self.worked_seconds()
        *slots, guidance_loss = self._smooth.tolist()
        nats = " + ".join(f"{nat:.2f}" for nat in slots) + f", guidance {guidance_loss:.2f}"
        print(
            f"{time.strftime('%H:%M:%S')}  {worked / 60:6.1f} min of work  step {self._n_steps}  {n_events} events  "
            f"{self._n_events / (worked - self._earlier_seconds):.0f} events/s  {nats}",
            flush=True,
        )

    def save(self) -> None:
        """Write the checkpoint; if the program is killed meanwhile, the last one stays."""
        state = {
            "model": self._model.state_dict(),
            "optimizers": [optim.state_dict() for optim in self._optims],
            "worked_seconds": self.worked_seconds(),
        }
        part = self._checkpoint.with_suffix(".part")
        torch.save(state, part)
        part.replace(self._checkpoint)

    def resume(self) -> None:
        """Continue from the checkpoint, at the rates of this run."""
        state = torch.load(self._checkpoint, map_location=next(self._model.parameters()).device)
        self._model.load_state_dict(state["model"])
        for optim, saved in zip(self._optims, state["optimizers"], strict=True):
            peaks = [group["peak"] for group in optim.param_groups]
            optim.load_state_dict(saved)
            for group, peak in zip(optim.param_groups, peaks, strict=True):
                group["peak"] = peak
        self._earlier_seconds = state["worked_seconds"]


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpus", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument(
        "--minutes", type=float, default=90, help="of work: time taken by other programs is not counted"
    )
    parser.add_argument("--stages", default="85:0.4,170:0.2,341:0.4", help="events:share of the time, in turn")
    parser.add_argument("--layers", type=int, default=8)
    parser.add_argument("--width", type=int, default=WIDTH, help="narrower models lack some of the guided heads")
    parser.add_argument("--tokens", type=int, default=8_192, help="per step, up to a window more, and openings")
    parser.add_argument("--rate", type=float, default=3e-3)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--workers", type=int, default=os.cpu_count(), help="threads that share a step")
    parser.add_argument("--repeating", type=float, default=0.15, help="share of windows in which a phrase is repeated")
    parser.add_argument(
        "--guidance",
        type=float,
        default=0.3,
        help="weight of telling heads where to look, of seven layers or more and the usual width",
    )
    parser.add_argument(
        "--only-heads", action="store_true", help="learn only where guided heads look; all else stays as it is"
    )
    parser.add_argument(
        "--bfloat16", action="store_true", help="multiply so: faster where the device can (avx512_bf16)"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--begin-with", type=Path, help="what to train on from: an earlier run's checkpoint, or the folder of a model"
    )
    parser.add_argument("--resume", action="store_true", help="go on with this run after an interruption")
    return parser.parse_args()


def main() -> None:
    """Train for the minutes asked for, one stage after another."""
    args = parse_arguments()
    torch.manual_seed(args.seed)
    torch.set_num_threads(1)
    device = torch.device(args.device)
    args.out.mkdir(parents=True, exist_ok=True)
    pieces = load(args.corpus, args.out / "corpus.npz")
    held_out = [piece for piece in pieces if piece.held_out]
    sampler = Sampler([piece for piece in pieces if not piece.held_out], args.seed, args.repeating)
    common_notes = torch.from_numpy(sampler.augmentation.reachable_notes())
    model = TrainingModel(args.layers, common_notes, args.width)
    if args.begin_with and args.begin_with.is_dir():
        model.adopt(GPT2LMHeadModel.from_pretrained(args.begin_with))
    elif args.begin_with:
        model.load_state_dict(torch.load(args.begin_with, map_location="cpu")["model"])
    model.to(device)
    dtype = torch.bfloat16 if args.bfloat16 else torch.float32
    optims = [optimizer_of_heads(model, args.rate)] if args.only_heads else optimizers(model, args.rate, dtype)
    run = Run(model, optims, args.out / "checkpoint.pt", args.workers, args.guidance, args.only_heads, dtype)
    if args.resume:
        run.resume()
    stages = [(int(n), float(share)) for n, share in (stage.split(":") for stage in args.stages.split(","))]
    ends = np.cumsum([share for _, share in stages])
    with ThreadPoolExecutor(args.workers) as pool:
        while (progress := run.worked_seconds() / (60 * args.minutes)) < 1:
            n_events = stages[min(int(np.searchsorted(ends, progress, side="right")), len(stages) - 1)][0]
            windows = sampler.batch(args.tokens, n_events) + sampler.openings(n_events)
            run.learn(windows, learning_rate(progress), pool)
            if run.is_due("report", REPORT_SECONDS):
                run.report(n_events)
            if run.is_due("save", SAVE_SECONDS):
                run.save()
                print(held_out_report(model, held_out, n_events, pool), flush=True)
        run.save()
        print(held_out_report(model, held_out, MAX_WINDOW_EVENTS, pool), flush=True)
    model.export().to(torch.bfloat16).save_pretrained(args.out / "model")


if __name__ == "__main__":
    main()
