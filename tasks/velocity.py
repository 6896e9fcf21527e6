"""Give new notes the velocities that a request asks for."""

from amt.arranging.plan import EditPlan
from amt.arranging.velocity import VelocityContext, VelocityShaper
from tasks.music_request import MusicRequest


class VelocityShapers:
    """Make the velocity shaper of each variation of a request."""

    def __init__(self, request: MusicRequest, plan: EditPlan) -> None:
        self._velocity = None if request.velocity == "auto" else request.velocity
        self._context = VelocityContext(plan.kept if self._velocity is None else ())

    def __call__(self, seed: int) -> VelocityShaper:
        """Return the shaper of the variation that a seed gives."""
        return VelocityShaper(self._context, self._velocity, seed)
