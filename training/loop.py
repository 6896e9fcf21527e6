"""Run the steps of fine-tuning: measure, keep the best, stop in time, and be ready to go on."""

import math
from collections.abc import Callable, Sequence
from pathlib import Path

from tqdm import tqdm

from training.interruption import Interruption
from training.schedule import Schedule, rate_share
from training.tuner import Tuner
from training.windows import Window

EVALUATIONS = 12
"""Over a whole run, evenly spaced."""

PATIENCE = 4
"""Evaluations in turn without a better one after which training stops early."""

BAR = "{percentage:3.0f} %|{bar:30}| {elapsed}, {remaining} left{postfix}"


def run(
    tuner: Tuner, schedule: Schedule, held_out: Sequence[Window], states: Path, keep: Callable[[], None]
) -> str | None:
    """Train to the end of the schedule; return why it ended before, or None.

    Args:
        tuner: new, or resumed.
        schedule: when to end.
        held_out: what the model is measured by.
        states: a folder for all that is needed to go on: written at each evaluation and at the end.
        keep: writes the model; called whenever it is better than before.
    """
    done = tuner.progress
    with Interruption() as interruption, _bar(_progress(tuner, schedule)) as bar:
        last = int(EVALUATIONS * bar.n)
        while (progress := _progress(tuner, schedule)) < 1:
            tuner.step(rate_share(progress))
            progress = _progress(tuner, schedule)
            bar.set_postfix_str(f"step {done.n_steps}, {done.nats:.2f} nats", refresh=False)
            bar.update(progress - bar.n)
            is_due = int(EVALUATIONS * progress) > last
            if is_due:
                last = int(EVALUATIONS * progress)
                _measure(tuner, held_out, keep)
            if is_due or interruption.is_asked:
                tuner.save(states)
            if interruption.is_asked:
                if not is_due:  # after the state is saved, which does not depend on when it was interrupted
                    _measure(tuner, held_out, keep)
                return "it was interrupted"
            if done.n_stale >= PATIENCE and progress < 1:
                return f"{PATIENCE} measurements in turn were no better"
    return None


def _measure(tuner: Tuner, held_out: Sequence[Window], keep: Callable[[], None]) -> None:
    """Measure the model, say so, and keep it if it is the best so far."""
    done, nats = tuner.progress, tuner.evaluate(held_out)
    is_better = nats < done.best_nats
    tqdm.write(
        f"step {done.n_steps}, {done.seconds / 60:.1f} min: held-out perplexity {math.exp(nats):.1f}"
        f"{', kept' if is_better else ''}; in training {math.exp(done.nats):.1f}"
    )
    done.n_stale += 1
    if is_better:
        done.best_nats, done.n_stale = nats, 0
        keep()


def _progress(tuner: Tuner, schedule: Schedule) -> float:
    return schedule.progress(tuner.progress.n_steps, tuner.progress.seconds)


def _bar(initial: float) -> tqdm:
    """Return a bar from 0 to 1, shown where there is a terminal; its time left is by the average pace."""
    return tqdm(total=1.0, initial=initial, bar_format=BAR, smoothing=0, disable=None, leave=False)
