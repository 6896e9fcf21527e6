"""Know what bends, holds or mutes the notes of a channel, and how it is mixed."""

from collections import defaultdict
from typing import Final

from amt.midi.kinds import (
    BANK_LSB,
    BANK_MSB,
    CHORUS,
    EXPRESSION,
    PAN,
    RESET_CONTROLLERS,
    REVERB,
    SOSTENUTO,
    SUSTAIN,
    VOLUME,
)

PEDAL_DOWN: Final = 64
FOR_EVER: Final = 1 << 60
"""The file tick at which ends what is never ended."""

PITCH_BEND_PLACE: Final = -1
"""In the place of a controller's number."""

PEDALS: Final = (SUSTAIN, SOSTENUTO)
MAX_FADE: Final = 0.5
"""A channel is faded out below this share of its loudest."""

_MIX: Final = (BANK_MSB, BANK_LSB, PAN, REVERB, CHORUS)
_DEFAULT_VOLUME: Final = 100
_FULL: Final = 127


class Colours:
    """Collect controllers and bends of all channels of a file that is written, in order of time."""

    def __init__(self) -> None:
        self._changes: defaultdict[int, list[tuple[int, int, int]]] = defaultdict(list)

    def add(self, channel: int, tick: int, control: int, value: int) -> None:
        """Take a controller's value, or with `PITCH_BEND_PLACE` a bend, which is 0 at rest."""
        self._changes[channel].append((tick, control, value))

    def held(self, channel: int) -> list[int]:
        """Return which pedals are down at the end, and whether a bend is left."""
        last: dict[int, int] = {}
        for _, control, value in self._changes[channel]:
            if control == RESET_CONTROLLERS:
                last.clear()
            last[control] = value
        pedals = [pedal for pedal in PEDALS if last.get(pedal, 0) >= PEDAL_DOWN]
        return pedals + [PITCH_BEND_PLACE] * (last.get(PITCH_BEND_PLACE, 0) != 0)

    def spans(self, channel: int) -> list[tuple[int, int]]:
        """Return the spans in file ticks in which a new note would be bent, held on, or hardly heard."""
        changes = self._changes[channel]
        loudest = self._loudest(channel)
        state: dict[int, int] = {}
        spans, since = [], -1
        for tick, control, value in changes:
            if control == RESET_CONTROLLERS:
                state = {VOLUME: state.get(VOLUME, _DEFAULT_VOLUME)}
            else:
                state[control] = value
            is_coloured = (
                state.get(PITCH_BEND_PLACE, 0) != 0
                or any(state.get(pedal, 0) >= PEDAL_DOWN for pedal in PEDALS)
                or _level(state) < MAX_FADE * loudest
            )
            if is_coloured and since < 0:
                since = tick
            elif not is_coloured and since >= 0:
                spans.append((since, tick))
                since = -1
        return [*spans, (since, FOR_EVER)] if since >= 0 else spans

    def _loudest(self, channel: int) -> int:
        """Return the highest level of a channel; it has none before its first volume or expression."""
        state: dict[int, int] = {}
        levels = []
        for _, control, value in self._changes[channel]:
            if control in (VOLUME, EXPRESSION):
                state[control] = value
                levels.append(_level(state))
        return max(levels, default=0)

    def mix(self, channel: int, tick: int) -> dict[int, int]:
        """Return the controllers that give another channel the same sound and place, as they are at a file tick."""
        before = [(control, value) for at, control, value in self._changes[channel] if at <= tick]
        found = {control: value for control, value in before if control in _MIX}
        volumes = [value for control, value in before if control == VOLUME]
        return {**found, VOLUME: max(volumes)} if volumes else found


def _level(state: dict[int, int]) -> int:
    return state.get(VOLUME, _DEFAULT_VOLUME) * state.get(EXPRESSION, _FULL)
