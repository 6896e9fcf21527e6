"""What a request says of the music, in the decoder's words."""

from typing import TypeVar

from amt.decoding.constraints import Constraints
from amt.gpt2.sampling_params import SamplingParams
from amt.midi.instruments import find_instruments
from tasks.fields import Slot
from tasks.schemas import PredictRequest

T = TypeVar("T", int, float)


def find_sampling_params(request: PredictRequest) -> tuple[SamplingParams, ...]:
    """How each slot's token is chosen."""
    default = SamplingParams()

    def of(slot: Slot) -> SamplingParams:
        return SamplingParams(
            temperature=_in_slot(request.temperature, slot, default.temperature),
            top_p=_in_slot(request.top_p, slot, default.top_p),
            top_k=_in_slot(request.top_k or default.top_k, slot, default.top_k),
            min_p=_in_slot(request.min_p, slot, default.min_p),
        )

    return of("onset"), of("duration"), of("note")


def _in_slot(value: T | dict[Slot, T], slot: Slot, default: T) -> T:
    return value.get(slot, default) if isinstance(value, dict) else value


def find_constraints(request: PredictRequest) -> Constraints:
    """What new notes must or should be.

    Raises:
        InstrumentError: an instrument is unknown.
        ConstraintError: the constraints contradict each other.
    """
    groups = tuple(find_instruments(wanted) for wanted in request.instruments or [])
    excluded = frozenset().union(*map(find_instruments, request.exclude_instruments or []))
    overall, by_instrument = request.pitch_range, {}
    if isinstance(overall, dict):
        named = [(_find(name), pitch_range) for name, pitch_range in overall.items()]
        for found, pitch_range in sorted(named, key=lambda each: -len(each[0])):  # single ones go before families
            by_instrument.update(dict.fromkeys(found, pitch_range))
        overall = None
    return Constraints(
        groups=groups,
        excluded=excluded,
        balance=request.instrument_balance,
        pitch_range=overall,
        pitch_ranges=by_instrument,
        max_polyphony=request.max_polyphony,
        density=request.density,
        allow_repetition=request.on_degenerate == "keep",
    )


def _find(name: str) -> frozenset[int]:
    """Keys of a JSON object are text, numbers too."""
    return find_instruments(int(name) if name.isdecimal() and len(name) <= 3 else name)
