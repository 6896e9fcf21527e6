"""Translate what a request says of new notes into the decoder's terms."""

from typing import TypeVar

from amt.arranging.defaults import BALANCE, IMPLIED_CHORD_SHARE, NAMED_CHORD_SHARE
from amt.arranging.plan import EditPlan
from amt.decoding.constraints import Constraints
from amt.errors import ConstraintError
from amt.gpt2.sampling_params import SamplingParams
from amt.midi.grid import STRAIGHT, Grid, make_grid
from amt.midi.instruments import find_instruments
from amt.midi.notes import TICKS_PER_SECOND
from amt.midi.timing import Timing
from tasks.fields import PitchRange, Slot
from tasks.music_request import MusicRequest

T = TypeVar("T", int, float)


def find_sampling_params(request: MusicRequest) -> tuple[SamplingParams, ...]:
    """Return how the tokens of onset, duration and note are sampled."""
    default = SamplingParams()

    def in_slot(slot: Slot) -> SamplingParams:
        return SamplingParams(
            temperature=_in_slot(request.temperature, slot, default.temperature),
            top_p=_in_slot(request.top_p, slot, default.top_p),
            top_k=_in_slot(request.top_k or default.top_k, slot, default.top_k),
            min_p=_in_slot(request.min_p, slot, default.min_p),
        )

    return in_slot("onset"), in_slot("duration"), in_slot("note")


def _in_slot(value: T | dict[Slot, T], slot: Slot, default: T) -> T:
    return value.get(slot, default) if isinstance(value, dict) else value


def find_constraints(request: MusicRequest) -> Constraints:
    """Return what new notes must or should be.

    Raises:
        InstrumentError: an instrument is unknown.
        ConstraintError: the constraints contradict each other.
    """
    ranges = request.pitch_range if isinstance(request.pitch_range, dict) else {}
    return Constraints(
        groups=tuple(dict.fromkeys(map(find_instruments, request.instruments or []))),
        excluded=frozenset().union(*map(find_instruments, request.exclude_instruments or [])),
        balance=BALANCE if request.instrument_balance is None else request.instrument_balance,
        pitch_range=None if isinstance(request.pitch_range, dict) else request.pitch_range,
        pitch_ranges=_by_instrument(ranges),
        max_polyphony=request.max_polyphony,
        density=request.density,
        allow_repetition=request.on_degenerate == "keep",
        grid_durations=request.grid_durations,
        key_is_strict=request.key_mode == "strict",
        chord_share=_find_chord_share(request),
        variety=request.variety,
    )


def _find_chord_share(request: MusicRequest) -> float:
    if request.chord_share is not None:
        return request.chord_share
    return IMPLIED_CHORD_SHARE if request.chords == "auto" else NAMED_CHORD_SHARE


def find_grid(request: MusicRequest, plan: EditPlan, timing: Timing) -> Grid | None:
    """Return the lines on which new notes must begin, if there are to be any.

    Raises:
        ConstraintError: the grid is too fine or too coarse, or cannot swing, or there is none where one is needed.
    """
    if request.grid is None:
        if request.grid_durations or request.swing != STRAIGHT:
            name = "grid_durations" if request.grid_durations else "swing"
            raise ConstraintError(f"{name} needs a grid, such as '1/8'")
        return None
    grid = make_grid(timing, request.grid, request.swing, plan.start_ticks, plan.end_ticks)
    if grid.ticks[0] >= plan.end_ticks:
        raise ConstraintError(
            f"grid {request.grid!r} has no line within the new music, which lasts "
            f"{(plan.end_ticks - plan.start_ticks) / TICKS_PER_SECOND:g} s: a finer one is needed"
        )
    return grid


def _by_instrument(ranges: dict[str, PitchRange]) -> dict[int, PitchRange]:
    """Return pitch ranges by instrument; that of a single one goes before its family's."""
    found = [(_find_key(name), pitch_range) for name, pitch_range in ranges.items()]
    found.sort(key=lambda each: len(each[0]), reverse=True)
    return {instrument: pitch_range for instruments, pitch_range in found for instrument in instruments}


def _find_key(name: str) -> frozenset[int]:
    """Return the instruments that a key of a JSON object names: keys are text, numbers too."""
    return find_instruments(int(name) if name.isdecimal() and len(name) <= 3 else name)
