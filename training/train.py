"""Train the bundled model.

    uv run python -m training.train CORPUS OUT --minutes 90 --stages 85:0.4,170:0.2,341:0.4

CORPUS holds a folder of MIDI files per collection. OUT gets `checkpoint.pt`, from which a later run goes on with
`--resume`, and `model/`, a Hugging Face checkpoint in bfloat16.
"""

import argparse
import math
import time
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from amt.vocab import DRUMS, MAX_WINDOW_EVENTS, N_PITCHES, NOTE, REST
from training.corpus import Piece, load
from training.model import TrainingModel
from training.muon import Muon
from training.windows import Sampler, Window, held_out_windows, is_given


def collate(windows: list[Window], n_events: int, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """(modes, events, targets) as `TrainingModel.forward` takes them."""
    events = np.zeros((len(windows), n_events, 3), dtype=np.int64)
    events[:] = (0, 10_000, 11_000)
    targets = np.zeros((len(windows), n_events), dtype=bool)
    for row, window in enumerate(windows):
        events[row, : len(window.events)] = window.events
        targets[row, : len(window.events)] = ~is_given(window.events)
    modes = torch.tensor([window.mode for window in windows], device=device)
    return modes, torch.from_numpy(events).to(device), torch.from_numpy(targets).to(device)


def common_notes(pieces: list[Piece]) -> Tensor:
    """Rows of the note slot that the pieces use in any transposition; shape = (16,513,)."""
    used = np.zeros(NOTE.size, dtype=bool)
    used[np.concatenate([piece.events[:, 2] for piece in pieces]) - NOTE.offset] = True
    melodic = used[: DRUMS * N_PITCHES].reshape(DRUMS, N_PITCHES)
    untransposed = melodic.copy()
    for shift in range(1, 7):
        melodic[:, shift:] |= untransposed[:, :-shift]
        melodic[:, :-shift] |= untransposed[:, shift:]
    used[REST - NOTE.offset] = True
    return torch.from_numpy(used)


@torch.no_grad()
def held_out_nats(model: TrainingModel, pieces: list[Piece], n_events: int, count: int, device: torch.device) -> Tensor:
    """Nats per slot, collections weighted evenly; shape = (3,)."""
    collections = sorted({piece.collection for piece in pieces})
    rows = []
    for name in collections:
        group = [piece for piece in pieces if piece.collection == name]
        windows = held_out_windows(group, n_events, count)
        losses = [
            model(*collate([window], len(window.events), device), torch.zeros(1, dtype=torch.int64, device=device))
            for window in windows
        ]
        rows.append(torch.stack(losses).mean(0))
    return torch.stack(rows).mean(0)


def optimizers(model: TrainingModel, rate: float) -> list[torch.optim.Optimizer]:
    """Muon for the body's matrices, AdamW for everything else, the rows' remainders slower."""
    matrices = [p for p in model.blocks.parameters() if p.ndim == 2]
    remainders = [p for name, p in model.named_parameters() if name.endswith("remainder")]
    chosen = {id(p) for p in matrices + remainders}
    rest = [p for p in model.parameters() if id(p) not in chosen]
    adam = torch.optim.AdamW(
        [{"params": rest, "lr": rate}, {"params": remainders, "lr": rate / 4}],
        betas=(0.9, 0.98),
        weight_decay=0.0,
        fused=True,
    )
    return [Muon(matrices, lr=rate), adam]


def learning_rate(progress: float) -> float:
    """Of the run's: a short rise, a plateau, and a fall to zero over the last 40 %."""
    return min(progress / 0.01, 1.0, (1 - progress) / 0.4)


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpus", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--minutes", type=float, default=90)
    parser.add_argument("--stages", default="85:0.4,170:0.2,341:0.4", help="events:share of the time, in turn")
    parser.add_argument("--layers", type=int, default=6)
    parser.add_argument("--tokens", type=int, default=4_096, help="per step")
    parser.add_argument("--rate", type=float, default=3e-3)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--resume", action="store_true")
    return parser.parse_args()


def main() -> None:
    """Train for the minutes given, going through the stages in turn."""
    args = parse_arguments()
    torch.manual_seed(args.seed)
    device = torch.device(args.device)
    args.out.mkdir(parents=True, exist_ok=True)
    pieces = load(args.corpus, args.out / "corpus.npz")
    held_out = [piece for piece in pieces if piece.held_out]
    trained = [piece for piece in pieces if not piece.held_out]
    sampler = Sampler(trained, args.seed)
    model = TrainingModel(args.layers, common_notes(trained)).to(device)
    if args.resume:
        model.load_state_dict(torch.load(args.out / "checkpoint.pt", map_location=device))
    optims = optimizers(model, args.rate)
    for optim in optims:
        for group in optim.param_groups:
            group["peak"] = group["lr"]

    stages = [(int(n), float(share)) for n, share in (stage.split(":") for stage in args.stages.split(","))]
    start = time.monotonic()
    seen, step, smooth, reported, saved = 0, 0, None, start, start
    while (progress := (time.monotonic() - start) / (60 * args.minutes)) < 1:
        ends = np.cumsum([share for _, share in stages])
        n_events = stages[min(int(np.searchsorted(ends, progress, side="right")), len(stages) - 1)][0]
        batch = max(args.tokens // (3 * n_events), 1)
        modes, events, targets = collate(sampler.batch(batch, n_events), n_events, device)
        shifts = torch.randint(MAX_WINDOW_EVENTS - n_events + 1, (batch,), device=device)
        shifts *= torch.rand(batch, device=device) < 0.7  # windows that begin a context remain the most common
        loss = model(modes, events, targets, shifts)
        loss.sum().backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optim in optims:
            for group in optim.param_groups:
                group["lr"] = group["peak"] * learning_rate(progress)
            optim.step()
            optim.zero_grad()
        step, seen = step + 1, seen + int(targets.sum())
        smooth = loss.detach() if smooth is None else smooth.lerp(loss.detach(), 0.05)
        now = time.monotonic()
        if now - reported > 30:
            reported = now
            nats = " + ".join(f"{nat:.2f}" for nat in smooth.tolist())
            rate = seen / (now - start)
            print(
                f"{(now - start) / 60:6.1f} min  step {step}  {n_events} events  {rate:.0f} events/s  {nats}",
                flush=True,
            )
        if now - saved > 600:
            saved = now
            report_and_save(model, held_out, args.out, device, n_events)
    report_and_save(model, held_out, args.out, device, MAX_WINDOW_EVENTS)
    model.export().to(torch.bfloat16).save_pretrained(args.out / "model")


def report_and_save(
    model: TrainingModel, held_out: list[Piece], out: Path, device: torch.device, n_events: int
) -> None:
    """Print the held-out perplexity per event and write the checkpoint."""
    torch.save(model.state_dict(), out / "checkpoint.pt")
    nats = held_out_nats(model.eval(), held_out, n_events, count=6, device=device)
    model.train()
    parts = " + ".join(f"{nat:.2f}" for nat in nats.tolist())
    print(f"held out, {n_events} events: perplexity {math.exp(nats.sum()):.0f} ({parts} nats)", flush=True)


if __name__ == "__main__":
    main()
