"""One sequence in the making: its events, its window, and what may come next."""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from amt import events as ev
from amt.errors import SequenceError
from amt.steering import Span, Steering
from amt.vocab import (
    ANTICIPATE,
    ANTICIPATION_TICKS,
    AUTOREGRESS,
    CONTROL_OFFSET,
    DURATION,
    EVENT_TOKENS,
    MAX_INSTRUMENTS,
    MAX_ONSET_TICKS,
    MAX_WINDOW_EVENTS,
    N_INSTRUMENTS,
    N_PITCHES,
    NOTE,
    REST,
    REST_INTERVAL_TICKS,
    TICKS_PER_SECOND,
)
from amt.wishes import NO_WISHES, Sampling, Wishes, in_every_slot

Triple = tuple[int, int, int]

MAX_HISTORY_EVENTS = MAX_WINDOW_EVENTS - 2
"""What a window holds before the next event: 339, as in the reference."""

HOP_EVENTS = MAX_WINDOW_EVENTS // 4
EXACT_HOP_EVENTS = 1

DENSEST_EVENTS_PER_SECOND = 64
"""Denser than music: with a small nucleus, a small model can otherwise pile events on one onset for ever."""

MOST_TWINS = 2
"""So often a note may be drawn that has begun at the same onset, then a later onset is due. None of them is taken, for
nobody could play or hear them; but small models that have begun to draw them draw ever more."""

REST_CODE = N_INSTRUMENTS
"""What a rest counts as among instruments."""

_UNIFORM_BLOCK_EVENTS = 256


@dataclass(frozen=True, eq=False)
class Request:
    """What to decode.

    Attributes:
        end_ticks: no event is generated at or after this time.
        start_ticks: nor before this one.
        prompt: sorted events, without rests; those after `start_ticks` are not allowed.
        controls: sorted controls, to be interleaved 5 s ahead of their onset.
        heard: instruments that the piece has anyway: they count among the 16 that it may have.
        sampling: how the tokens of onset, duration and note are chosen.
        wishes: what new notes must or should be.
        seed: of the sequence's own random numbers.
    """

    end_ticks: int
    start_ticks: int = 0
    prompt: ev.Events = field(default_factory=ev.empty)
    controls: ev.Events = field(default_factory=ev.empty)
    heard: frozenset[int] = frozenset()
    sampling: tuple[Sampling, ...] = in_every_slot(Sampling())
    wishes: Wishes = NO_WISHES
    seed: int = 0


class Sequence:
    """A request's events so far, and the window of them that the model sees.

    The window's onsets are relative to its earliest. `length` of its tokens are in the cache; the last token, which
    is always `pending`, is fed in the next step. `uniforms` are the random numbers for the next event, one a token;
    `choices` are temperature, top_p, top_k and min_p, each for three slots, and every temperature is positive.
    """

    def __init__(self, request: Request, hop_events: int = HOP_EVENTS) -> None:
        """Raises SequenceError when the prompt or the controls do not fit the request."""
        self.request = request
        self.finished = False
        self._hop_events = hop_events
        self._is_exact = hop_events == EXACT_HOP_EVENTS
        samplings = [sampling.divisible() for sampling in request.sampling]
        self.choices = [value for values in zip(*samplings, strict=True) for value in values]
        self._random = _uniforms(request.seed)
        self.uniforms = next(self._random)
        prompt = request.prompt
        if len(prompt) and int(prompt[-1, 0]) > request.start_ticks:
            raise SequenceError("the prompt goes on past the start of what is to be decoded")
        anticipated, waiting = ev.anticipate(ev.pad(prompt, request.start_ticks), request.controls)
        self.mode = ANTICIPATE if len(request.controls) else AUTOREGRESS
        self._current_ticks = int(anticipated[~ev.is_control(anticipated), 0].max(initial=0))
        self._waiting: deque[Triple] = deque(map(tuple, waiting.tolist()))
        self._events: list[Triple] = list(map(tuple, anticipated.tolist()))
        self._onsets: list[int] = ev.onsets(anticipated).tolist()
        self._codes = ev.instrument_codes(anticipated) | request.heard
        self._n_given = len(self._events)
        self._chosen: list[int] = []  # onsets of the events that the model decided
        last = prompt[prompt[:, 0] == self._current_ticks, 2]
        self._struck: set[int] = set(last.tolist())  # notes at the last onset
        self._n_twins = 0
        self._steering = Steering(request.wishes, request.start_ticks, is_accompanied=len(request.controls) > 0)
        self._check_instruments()
        self._start, self._offset = 0, 0
        self.length, self.pending = 0, self.mode
        self.needs_refill = bool(self._events)
        self._slide()

    def _check_instruments(self) -> None:
        n_there = len(self._codes - {REST_CODE})
        if (coming := len(self._coming())) > max(MAX_INSTRUMENTS + 1 - n_there, 0):
            raise SequenceError(
                f"at most {MAX_INSTRUMENTS + 1} instruments can play together: beside the {n_there} of the input there "
                f"is no room for {coming} more"
            )
        legal, biases = self.request.wishes.legal_notes, self.note_biases
        if legal is not None and biases is not None:
            playable = np.repeat(biases[:-1] > -np.inf, N_PITCHES)
            if not (legal[:-1] & playable).any():
                raise SequenceError(
                    f"at most {MAX_INSTRUMENTS + 1} instruments can play together, and of the {n_there} of the input "
                    "none may play new notes: exclude fewer"
                )

    @property
    def decoded(self) -> list[Triple]:
        """Everything since the prompt: events, rests and controls, onsets from the start of the piece."""
        return self._events[self._n_given :]

    @property
    def n_decoded(self) -> int:
        """How many those are."""
        return len(self._events) - self._n_given

    @property
    def generated(self) -> ev.Events:
        """The decoded events without rests and controls; shape = (n_events, 3)."""
        events = ev.from_tokens([token for event in self.decoded for token in event])
        return ev.unpad(events[~ev.is_control(events)])

    @property
    def current_ticks(self) -> int:
        """The music is decided up to here."""
        return max(self.request.start_ticks, self._current_ticks)

    @property
    def earliest(self) -> int:
        """The first legal onset token."""
        now = self.current_ticks
        earliest = min(self._steering.free_ticks(now), now + REST_INTERVAL_TICKS)
        if not self._is_exact and len(self._chosen) >= DENSEST_EVENTS_PER_SECOND:
            earliest = max(earliest, self._chosen[-DENSEST_EVENTS_PER_SECOND] + TICKS_PER_SECOND)
        if self._n_twins >= MOST_TWINS:
            earliest = max(earliest, self._current_ticks + 1)
        return earliest - self._offset

    @property
    def due(self) -> Span | None:
        """When the next onset is due, as tokens, if that is wished."""
        due = self._steering.due(self.current_ticks)
        return due and Span(due.earliest - self._offset, due.latest - self._offset)

    @property
    def legal_notes(self) -> NDArray[np.bool_] | None:
        """Which tokens of the note slot may be chosen now, shape = (16,513,); None when any may."""
        wished, hanging = self.request.wishes.legal_notes, self._steering.hanging
        if not hanging:
            return wished
        legal = np.ones(NOTE.size, dtype=np.bool_) if wished is None else wished.copy()
        legal[list(hanging)] = False
        players = np.array(sorted(hanging)) // N_PITCHES  # who play now, so that they surely may
        has_others = legal[: N_INSTRUMENTS * N_PITCHES].reshape(N_INSTRUMENTS, N_PITCHES)[players].any()
        return legal if has_others else wished

    @property
    def note_biases(self) -> NDArray[np.float32] | None:
        """Nats to add for each instrument, -inf if it may not play, and rests; shape = (130,), or None for zeros."""
        biases = self._steering.biases(self.current_ticks)
        coming = self._coming()
        if len(self._codes) + len(coming) < MAX_INSTRUMENTS:
            return biases
        biases = np.zeros(N_INSTRUMENTS + 1, dtype=np.float32) if biases is None else biases
        biases[:-1][~np.isin(np.arange(N_INSTRUMENTS), list(self._codes.union(*coming)))] = -np.inf
        return biases

    def _coming(self) -> list[frozenset[int]]:
        """The wished groups that will need an instrument more than there are."""
        groups = self.request.wishes.groups
        return [groups[index] for index in self._steering.silent_groups if not groups[index] & self._codes]

    def given(self) -> Triple | None:
        """The event that must come next, onset relative to the window, or None if the model decides."""
        if due := self._due():
            return due[0] - self._offset, due[1], due[2]
        if self._steering.must_rest(self.current_ticks):
            return self.earliest, DURATION.offset, REST
        return None

    def _due(self) -> Triple | None:
        """The control whose time has come."""
        if self._waiting and self._current_ticks >= _control_onset(self._waiting[0]) - ANTICIPATION_TICKS:
            return self._waiting[0]
        return None

    def append(self, event: Triple) -> None:
        """Take the event of a step, onset relative to the window.

        Finish instead if it lies past the end, and leave it if the same note has begun at the same time, which exact
        decoding does not mind.
        """
        self.uniforms = next(self._random)
        onset, duration, note = event
        is_control = note >= CONTROL_OFFSET
        ticks = onset + self._offset - CONTROL_OFFSET * is_control
        if is_control:
            self._waiting.popleft()
        elif ticks >= self.request.end_ticks:
            self.finished = True
            return
        elif ticks == self._current_ticks and note in self._struck and not self._is_exact:
            self._n_twins += 1
            return
        else:
            if ticks > self._current_ticks:
                self._struck.clear()
                self._n_twins = 0
            self._current_ticks = ticks
            self._chosen.append(ticks)
            if note != REST:
                self._struck.add(note)
                self._steering.hear(ticks, duration - DURATION.offset, note - NOTE.offset)
        self._events.append((onset + self._offset, duration, note))
        self._onsets.append(ticks)
        self._codes.add((note - CONTROL_OFFSET * is_control - NOTE.offset) // N_PITCHES)
        self.length += EVENT_TOKENS
        self.pending = note
        self._slide()

    def _slide(self) -> None:
        """Drop the oldest events when the window is full, or too long for the next onset."""
        longest = MAX_ONSET_TICKS - 1 if self._is_exact else MAX_ONSET_TICKS * 3 // 4
        room = 0 if self._is_exact else REST_INTERVAL_TICKS
        start = self._start
        excess = len(self._events) - start - MAX_HISTORY_EVENTS
        if excess > 0:
            start += -(-excess // self._hop_events) * self._hop_events
        while (due := self._due()) and self.current_ticks - _control_onset(due) > longest:
            self._waiting.popleft()  # too far behind for any window to hold it
        coming = [_control_onset(due)] if due else []
        latest = max([self.earliest + self._offset, *self._onsets[start:], *coming])
        earliest = min([*self._onsets[start:], *coming], default=latest)
        if latest - earliest >= MAX_ONSET_TICKS - room:
            while latest - earliest > longest:
                start += 1
                earliest = min([*self._onsets[start:], *coming], default=latest)
        offset = earliest if start < len(self._events) or coming else 0
        if not self._is_exact:  # the reference has no token for what comes before its first control
            offset = min(offset, self.current_ticks)
        if (start, offset) != (self._start, self._offset):
            self._start, self._offset = start, offset
            self.needs_refill = True

    @property
    def window_tokens(self) -> int:
        """How many tokens `window` has."""
        return EVENT_TOKENS * (len(self._events) - self._start)

    def window(self) -> list[int]:
        """What the model sees but for the last token: it is pending."""
        tokens = [self.mode]
        for onset, duration, note in self._events[self._start :]:
            tokens += onset - self._offset, duration, note
        return tokens[:-1]

    def refilled(self) -> None:
        """The window is in the cache."""
        self.needs_refill = False
        self.length = self.window_tokens
        self.pending = self._events[-1][2] if self.length else self.mode


def _control_onset(control: Triple) -> int:
    return control[0] - CONTROL_OFFSET


def _uniforms(seed: int) -> Iterator[list[float]]:
    """Random numbers from [0, 1), three for each event; drawn in blocks, which is faster."""
    rng = np.random.default_rng(seed)
    while True:
        yield from rng.random((_UNIFORM_BLOCK_EVENTS, EVENT_TOKENS), dtype=np.float32).tolist()
