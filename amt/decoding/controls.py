"""Queue the controls of a sequence until their time comes."""

from collections import deque

from amt.tokens.events import Events, Triple
from amt.tokens.vocab import ANTICIPATION_TICKS, CONTROL_OFFSET


class ControlQueue:
    """Hold sorted controls that are still to be interleaved, 5 s ahead of their onset."""

    def __init__(self, controls: Events) -> None:
        self._waiting: deque[Triple] = deque(map(tuple, controls.tolist()))

    def __len__(self) -> int:
        """Return how many wait."""
        return len(self._waiting)

    def next_control(self, now_ticks: int) -> Triple | None:
        """Return the control that must come next when the last generated event began at `now_ticks`, if any must."""
        if self._waiting and now_ticks >= control_onset(self._waiting[0]) - ANTICIPATION_TICKS:
            return self._waiting[0]
        return None

    def pop(self) -> None:
        """Remove the first control: it has been interleaved."""
        self._waiting.popleft()

    def drop_before(self, ticks: int) -> None:
        """Remove the controls with an earlier onset: no window could hold them."""
        while self._waiting and control_onset(self._waiting[0]) < ticks:
            self._waiting.popleft()


def control_onset(control: Triple) -> int:
    """Return a control's onset in ticks."""
    return control[0] - CONTROL_OFFSET
