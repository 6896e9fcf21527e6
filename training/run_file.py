"""Keep on disk what a run of fine-tuning was started with, so that it can be gone on with."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from amt.errors import TrainingError
from training.recipe import Recipe
from training.schedule import Schedule

STATE_FOLDER = "training"
"""In the output folder; not needed to serve the model."""


@dataclass(frozen=True)
class RunFile:
    """Hold what a run was started with."""

    recipe: Recipe
    schedule: Schedule
    fingerprint: str
    """Of its pieces."""
    before: dict[str, Any]
    """How well the base does on held-out music."""

    def write(self, out: Path) -> None:
        """Write it below the output folder."""
        folder = out / STATE_FOLDER
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "run.json").write_text(json.dumps(asdict(self), indent=2) + "\n")

    def check(self, asked: dict[str, Any], fingerprint: str) -> None:
        """Raise TrainingError if what is asked for, None where nothing is, or the pieces differ from this run's."""
        self.recipe.check(asked)
        if fingerprint != self.fingerprint:
            raise TrainingError(
                "these are not the pieces that this run was started with: begin a new one in another --out"
            )


def read_run(out: Path) -> RunFile:
    """Return what the run in an output folder was started with.

    Raises:
        TrainingError: there is none.
    """
    try:
        said = json.loads((out / STATE_FOLDER / "run.json").read_text())
        return RunFile(Recipe(**said["recipe"]), Schedule(**said["schedule"]), said["fingerprint"], said["before"])
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise TrainingError(f"there is no run in {out} to go on with: start one without --resume") from error


def check_new(out: Path) -> None:
    """Raise TrainingError if a new run would write over something."""
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise TrainingError(f"{out} is there already: name another --out, or go on with its run by --resume")
