"""Follow the window of a sequence: the last events, which the model sees."""

import math
from collections.abc import Sequence
from typing import Final

from amt.tokens.events import Triple
from amt.tokens.vocab import EVENT_TOKENS, MAX_ONSET_TICKS, MAX_WINDOW_EVENTS, REST_INTERVAL_TICKS

MAX_HISTORY_EVENTS: Final = MAX_WINDOW_EVENTS - 2
"""What a window holds before the next event: 339, as in the reference."""

HOP_EVENTS: Final = MAX_WINDOW_EVENTS // 4
EXACT_HOP_EVENTS: Final = 1


class Window:
    """Hold all events of a sequence, and know which of them the model sees, their onsets relative to the earliest.

    Attributes:
        events: all, with onsets from the start of the piece.
        offset: the window's onsets are less by so many ticks.
        cache_length: how many of the window's tokens are in the cache.
        pending: the last token, which is always fed in the next step.
        needs_refill: whether the window has moved, so that the cache must be filled again.
        max_span_ticks: to how long a window is cut that has become too long for the next onset.
    """

    def __init__(self, mode: int, events: Sequence[Triple], onsets: Sequence[int], hop_events: int) -> None:
        """Begin with a mode token and sorted events.

        Args:
            mode: the token before the first event.
            events: as `Attributes` says.
            onsets: in ticks, of controls too.
            hop_events: how many events a full window drops at once.
        """
        self.mode, self.events, self._onsets = mode, list(events), list(onsets)
        self._hop_events = hop_events
        self.is_exact = hop_events == EXACT_HOP_EVENTS
        self.max_span_ticks = MAX_ONSET_TICKS - 1 if self.is_exact else MAX_ONSET_TICKS * 3 // 4
        self._start, self.offset = 0, 0
        self._earliest, self._latest = self._extremes(0)
        self.cache_length, self.pending = 0, mode
        self.needs_refill = bool(self.events)

    @property
    def n_tokens(self) -> int:
        """How many tokens `tokens` has."""
        return EVENT_TOKENS * (len(self.events) - self._start)

    def tokens(self) -> list[int]:
        """Return what the model sees but for the last token: it is pending."""
        tokens = [self.mode]
        for onset, duration, note in self.events[self._start :]:
            tokens += onset - self.offset, duration, note
        return tokens[:-1]

    def refilled(self) -> None:
        """Note that the window is in the cache."""
        self.needs_refill = False
        self.cache_length = self.n_tokens
        self.pending = self.events[-1][2] if self.cache_length else self.mode

    def append(self, event: Triple, onset: int) -> None:
        """Take an event that has been fed but for its last token; `onset` is in ticks from the start of the piece."""
        self.events.append(event)
        self._onsets.append(onset)
        if onset < self._earliest:
            self._earliest = onset
        if onset > self._latest:
            self._latest = onset
        self.cache_length += EVENT_TOKENS
        self.pending = event[2]

    def slide(self, now_ticks: int, earliest_ticks: int, control_ticks: int | None) -> None:
        """Drop the oldest events when the window is full, or too long for the next onset.

        Args:
            now_ticks: the music is decided up to here.
            earliest_ticks: the earliest onset that may come next.
            control_ticks: the onset of the control that must come next, if one must.
        """
        room = 0 if self.is_exact else REST_INTERVAL_TICKS
        start = self._start
        excess = len(self.events) - start - MAX_HISTORY_EVENTS
        if excess > 0:
            start += -(-excess // self._hop_events) * self._hop_events
            self._earliest, self._latest = self._extremes(start)
        latest = earliest_ticks if earliest_ticks > self._latest else self._latest
        coming = math.inf
        if control_ticks is not None:
            coming, latest = control_ticks, max(latest, control_ticks)
        if latest - min(self._earliest, coming) >= MAX_ONSET_TICKS - room:
            while latest - min(self._earliest, coming) > self.max_span_ticks:
                start += 1
                self._earliest, _ = self._extremes(start)
            self._latest = max(self._onsets[start:], default=-math.inf)
        offset = coming if coming < self._earliest else self._earliest
        offset = 0 if offset == math.inf else int(offset)
        # The reference has no token for what comes before its first control.
        if not self.is_exact and offset > now_ticks:
            offset = now_ticks
        if start != self._start or offset != self.offset:
            self._start, self.offset = start, offset
            self.needs_refill = True

    def _extremes(self, start: int) -> tuple[float, float]:
        """Return the earliest and the latest onset from an event on; infinities if there is none."""
        onsets = self._onsets[start:]
        return min(onsets, default=math.inf), max(onsets, default=-math.inf)
