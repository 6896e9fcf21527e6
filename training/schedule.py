"""Say how far a run is, by its steps or by the clock, and how large the steps are there."""

from dataclasses import dataclass

WARM_UP = 0.05
"""Share of the run in which the rate rises."""


@dataclass(frozen=True)
class Schedule:
    """Hold when a run ends: after a number of steps, or of seconds; the other is None."""

    steps: int | None = None
    seconds: float | None = None

    def progress(self, n_steps: int, seconds: float) -> float:
        """Return how much of the run is over after this many steps and seconds: 0 to 1."""
        done = n_steps / self.steps if self.steps else seconds / self.seconds if self.seconds else 1.0
        return min(done, 1.0)


def rate_share(progress: float) -> float:
    """Return the share of the peak rate: a short rise from nearly nothing, then a straight fall to nothing."""
    return min((progress + 0.002) / WARM_UP, (1 - progress) / (1 - WARM_UP), 1.0)
