"""Decode one sequence event by event: what has come, and what may come next."""

from collections.abc import Collection, Iterator
from typing import Final

import numpy as np
from numpy.typing import NDArray

from amt.decoding.chord_tones import ChordTones
from amt.decoding.controls import ControlQueue, control_onset
from amt.decoding.copying import CopyGuard
from amt.decoding.instrument_limit import InstrumentLimit
from amt.decoding.onset_grid import OnsetGrid
from amt.decoding.request import DecodeRequest
from amt.decoding.steering import Span, Steering
from amt.decoding.variety import Variety
from amt.decoding.window import HOP_EVENTS, Window
from amt.errors import SequenceError
from amt.midi.notes import N_INSTRUMENTS, N_PITCHES, TICKS_PER_SECOND
from amt.tokens import events as ev
from amt.tokens.events import Triple
from amt.tokens.vocab import (
    ANTICIPATE,
    AUTOREGRESS,
    CONTROL_OFFSET,
    DURATION,
    EVENT_TOKENS,
    NOTE,
    REST,
    REST_INTERVAL_TICKS,
)

MAX_EVENTS_PER_SECOND: Final = 64
"""Denser than music: with a small nucleus, a small model can otherwise pile events on one onset for ever."""

MAX_DUPLICATE_NOTES: Final = 2
"""How often a note may be drawn that has begun at the same onset; then a later onset must come. None of them is taken,
for nobody could play or hear them, but small models that have begun to draw them draw ever more."""

_UNIFORM_BLOCK_EVENTS: Final = 256


class Sequence:
    """Follow a request's events, and say what the next step must know of it.

    Attributes:
        request: what is decoded.
        window: what the model sees.
        finished: whether the end has been reached.
        uniforms: the random numbers for the next event, one a token.
        grid: what new notes are kept on, if they are.
        chord_tones: how they are led to chords, if they are.
        variety: how they are kept from dwelling, if they are.
        sampling_values: temperature, top_p, top_k and min_p, each for three slots; every temperature is positive.

    What follows changes with each event, and is found once: the step asks for it while a device has nothing to do.

        shift: what makes onset tokens ticks from the start of the new music.
        earliest_onset: the first legal onset token.
        target_onset: when the next onset should come, as tokens; None if any time will do.
        forced_event: the event that must come next, onset relative to the window; None if the model decides.
        grid_place: where on its grid the next onset is drawn; None without one.
        legal_notes: which tokens of the note slot may be chosen now, shape = (16,513,); None if any may.
        note_biases: nats to add for each instrument, -inf if it may not play, and rests, shape = (130,); None for
            zeros.
    """

    def __init__(self, request: DecodeRequest, hop_events: int = HOP_EVENTS) -> None:
        """Raise SequenceError if the prompt, the controls or the instruments do not fit the request."""
        self.request = request
        self.finished = False
        params = [each.with_safe_temperature() for each in request.sampling]
        self.sampling_values = [value for values in zip(*params, strict=True) for value in values]
        self._random = _uniforms(request.seed)
        self.uniforms = next(self._random)
        prompt = request.prompt
        if len(prompt) and int(prompt[-1, 0]) > request.start_ticks:
            raise SequenceError("the prompt goes on past the start of what is to be decoded")
        anticipated, waiting = ev.anticipate(ev.pad(prompt, request.start_ticks), request.controls)
        self._controls = ControlQueue(waiting)
        self._last_onset = int(anticipated[~ev.is_control(anticipated), 0].max(initial=0))
        self._n_prompt = len(anticipated)
        self._generated_onsets: list[int] = []
        simultaneous = prompt[prompt[:, 0] == self._last_onset, 2]
        self._notes_at_last_onset: set[int] = set(simultaneous.tolist())
        self._n_duplicates = 0
        self._steering = Steering(request.constraints, request.start_ticks, is_accompanied=len(request.controls) > 0)
        self._follow(request)
        present = ev.instrument_codes(anticipated) | request.existing_instruments
        self._instruments = InstrumentLimit(present, request.constraints.groups)
        biases = self._find_biases(self.current_ticks)
        self._instruments.check(self._missing_groups(), request.constraints.legal_notes, biases)
        mode = ANTICIPATE if len(request.controls) else AUTOREGRESS
        self.window = Window(mode, list(map(tuple, anticipated.tolist())), ev.onsets(anticipated).tolist(), hop_events)
        self._look_ahead()

    def _follow(self, request: DecodeRequest) -> None:
        """Make what follows the new notes for those constraints that the request has."""
        asked = request.constraints
        self.grid = (
            OnsetGrid(asked.grid, request.start_ticks, request.end_ticks, ends_too=asked.grid_durations)
            if asked.grid
            else None
        )
        self.chord_tones = ChordTones(asked.chords, asked.chord_share, request.start_ticks) if asked.chords else None
        self.variety = Variety(asked.variety) if isinstance(asked.variety, int | float) else None
        self._copying = CopyGuard(asked.copied) if asked.copied else None

    @property
    def decoded(self) -> list[Triple]:
        """Everything since the prompt: events, rests and controls, onsets from the start of the piece."""
        return self.window.events[self._n_prompt :]

    @property
    def n_decoded(self) -> int:
        """How many events `decoded` has."""
        return len(self.window.events) - self._n_prompt

    @property
    def generated(self) -> ev.Events:
        """The decoded events without rests and controls; shape = (n_events, 3)."""
        events = ev.from_tokens([token for event in self.decoded for token in event])
        return ev.unpad(events[~ev.is_control(events)])

    @property
    def current_ticks(self) -> int:
        """The music is decided up to here."""
        return max(self.request.start_ticks, self._last_onset)

    def _without_repetition(self) -> NDArray[np.bool_] | None:
        constraints, repeated = self.request.constraints, self._steering.repeated_notes
        constrained = constraints.legal_notes
        if not repeated:
            return constrained
        legal = _without(constrained, repeated)
        players = np.array(sorted(repeated)) // N_PITCHES  # who play now, so that they surely may
        possible = legal if constraints.possible_notes is None else legal & constraints.possible_notes
        has_others = possible[: N_INSTRUMENTS * N_PITCHES].reshape(N_INSTRUMENTS, N_PITCHES)[players].any()
        return legal if has_others else constrained

    def _without_copies(self, constrained: NDArray[np.bool_] | None) -> NDArray[np.bool_] | None:
        if not self._copying or not self._copying.forbidden:
            return constrained
        legal, possible = _without(constrained, self._copying.forbidden), self.request.constraints.possible_notes
        return legal if self._instruments.can_play(legal if possible is None else legal & possible) else constrained

    @property
    def key_biases(self) -> tuple[float, ...] | None:
        """Nats to add to each pitch class, 12 numbers; None for zeros."""
        return self.request.constraints.key_biases

    def _missing_groups(self) -> Collection[frozenset[int]]:
        silent = self._steering.silent_groups
        return self._instruments.missing(silent) if silent else ()

    def append(self, event: Triple) -> None:
        """Take the event of a step, onset relative to the window.

        Finish instead if it lies past the end, and drop it if it lies beside the grid, or if the same note has begun at
        the same time, which exact decoding does not mind; the window may have to move then, too.
        """
        self.uniforms = next(self._random)
        onset, duration, note = event
        is_control = note >= CONTROL_OFFSET
        ticks = onset + self.window.offset - CONTROL_OFFSET * is_control
        if is_control:
            self._controls.pop()
        elif ticks >= self.request.end_ticks:
            self.finished = True
            return
        elif self.grid and not self.grid.accepts(ticks, None if note == REST else duration - DURATION.offset):
            self._look_ahead()
            return
        elif ticks == self._last_onset and note in self._notes_at_last_onset and not self.window.is_exact:
            self._n_duplicates += 1
            self._look_ahead()
            return
        else:
            self._take_generated(ticks, duration, note)
        self._instruments.add((note - CONTROL_OFFSET * is_control - NOTE.offset) // N_PITCHES)
        self.window.append((onset + self.window.offset, duration, note), ticks)
        self._look_ahead()

    def _take_generated(self, ticks: int, duration: int, note: int) -> None:
        if ticks > self._last_onset:
            self._notes_at_last_onset.clear()
            self._n_duplicates = 0
        self._last_onset = ticks
        self._generated_onsets.append(ticks)
        if note != REST:
            self._notes_at_last_onset.add(note)
            self._observe(ticks, duration - DURATION.offset, note - NOTE.offset)

    def _observe(self, onset: int, duration: int, key: int) -> None:
        self._steering.observe(onset, duration, key)
        if self.chord_tones:
            self.chord_tones.observe(onset, duration, key)
        if self.variety:
            self.variety.observe(onset, key)
        if self._copying:
            self._copying.observe(onset, key)

    def _look_ahead(self) -> None:
        """Move the window if it must, and find what the next step must know."""
        now, steering, window = self.current_ticks, self._steering, self.window
        control = self._next_control(now) if self._controls else None
        earliest = self._find_earliest(now)
        window.slide(now, earliest, control_onset(control) if control else None)
        offset = window.offset
        self.shift = offset - self.request.start_ticks
        self.earliest_onset = earliest - offset
        target = steering.target_onset(now)
        self.target_onset = target and Span(target.earliest - offset, target.latest - offset)
        self.forced_event: Triple | None = None
        if control:
            self.forced_event = control[0] - offset, control[1], control[2]
        elif steering.must_rest(now):
            self.forced_event = self.earliest_onset, DURATION.offset, REST
        self.grid_place = self.grid.place(now, offset) if self.grid else None
        self.legal_notes = self._without_copies(self._without_repetition())
        self.note_biases = self._find_biases(now)

    def _next_control(self, now: int) -> Triple | None:
        self._controls.drop_before(now - self.window.max_span_ticks)
        return self._controls.next_control(self._last_onset)

    def _find_earliest(self, now: int) -> int:
        earliest = min(self._steering.free_ticks(now), now + REST_INTERVAL_TICKS)
        if not self.window.is_exact and len(self._generated_onsets) >= MAX_EVENTS_PER_SECOND:
            earliest = max(earliest, self._generated_onsets[-MAX_EVENTS_PER_SECOND] + TICKS_PER_SECOND)
        if self._n_duplicates >= MAX_DUPLICATE_NOTES:
            earliest = max(earliest, self._last_onset + 1)
        return earliest

    def _find_biases(self, now: int) -> NDArray[np.float32] | None:
        return self._instruments.restrict(self._steering.biases(now), self._missing_groups())


def _without(legal: NDArray[np.bool_] | None, keys: Collection[int]) -> NDArray[np.bool_]:
    """Return which notes are legal if these are not; None stands for all."""
    fewer = np.ones(NOTE.size, dtype=np.bool_) if legal is None else legal.copy()
    fewer[list(keys)] = False
    return fewer


def _uniforms(seed: int) -> Iterator[list[float]]:
    """Yield random numbers from [0, 1), three for each event; drawn in blocks, which is faster."""
    rng = np.random.default_rng(seed)
    while True:
        yield from rng.random((_UNIFORM_BLOCK_EVENTS, EVENT_TOKENS), dtype=np.float32).tolist()
