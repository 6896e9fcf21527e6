"""Define the types of request fields. They are checked before pydantic looks, so that errors say what is allowed."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal, TypeAlias, get_args

from annotated_types import Ge, GroupedMetadata, Le, Len
from pydantic import AfterValidator, BeforeValidator, StrictInt, StrictStr, ValidationInfo, WithJsonSchema
from pydantic_core import PydanticCustomError, PydanticKnownError

from tasks.files import decode_file

Task = Literal["generate", "continue", "accompany", "infill", "variation", "embed"]
Slot = Literal["onset", "duration", "note"]
Windows = Literal["first", "all", "each"]
Part = Literal["midi", "notes"]
TimeUnit = Literal["seconds", "beats"]
KeyMode = Literal["bias", "strict"]

MAX_INSTRUMENTS_NAMED: Final = 129
MAX_PITCH: Final = 127
MAX_VELOCITY: Final = 127
MAX_SEED: Final = 2**63 - 1
MAX_FILES: Final = 64
MIN_LENGTH_SECONDS: Final = 1.0
MAX_LENGTH_SECONDS: Final = 120.0
MIN_PRIME_SECONDS: Final = 1.0
MAX_PRIME_SECONDS: Final = 60.0
MAX_FILE_SECONDS: Final = 86_400.0
MAX_BARS: Final = 1_000
"""Bars of new music, or of a prime: there is no more time for them at 300 bpm in 1/2."""

MAX_BAR: Final = 1_000_000
"""The largest number of a bar."""

MIN_VARIETY: Final = 0.1
MAX_KEY_LENGTH: Final = 40
MAX_CHORDS_LENGTH: Final = 10_000
MAX_VALUE_SHOWN: Final = 40
"""Characters of a wrong value that a message repeats."""

CLIENT_JOB_ID_PATTERN: Final = r"[A-Za-z0-9._:-]{1,256}"
TIME_SIGNATURE_PATTERN: Final = r"([1-9]|[12][0-9]|3[0-2])/(1|2|4|8|16|32)"


@dataclass(frozen=True)
class InRange(GroupedMetadata):
    """Require a number from `minimum` to `maximum`, both allowed; whole when the bounds are integers.

    pydantic's own `ge` and `le` put the bounds into the JSON schema, but their messages name only one of
    them, and they let true and "2" pass as numbers. The check runs before them and names the range.
    """

    minimum: float
    maximum: float

    def __iter__(self) -> Iterator[object]:
        yield Ge(self.minimum)
        yield Le(self.maximum)
        yield BeforeValidator(self._check)  # the last one named is the first one run

    def _check(self, value: Any, info: ValidationInfo) -> Any:
        return self.check(value, info.field_name or "")

    def check(self, value: Any, name: str) -> Any:
        """Return the value. Raise PydanticCustomError if it is not such a number."""
        whole = isinstance(self.minimum, int)
        if isinstance(value, bool) or not isinstance(value, int | float):
            must = "be a number in range"
        elif not self.minimum <= value <= self.maximum:  # also when it is not a number (NaN)
            must = "be in range"
        elif whole and not float(value).is_integer():
            must = "be a whole number in range"
        else:
            return value
        raise PydanticCustomError(
            "out_of_range",
            "{field} must {must} {range}, got {got}",
            {"field": name, "must": must, "range": f"{self.minimum}..{self.maximum}", "got": shown(value)},
        )


@dataclass(frozen=True)
class BySlot(GroupedMetadata):
    """Require one number from `minimum` to `maximum`, or one for each of some slots."""

    minimum: float
    maximum: float

    def __iter__(self) -> Iterator[object]:
        number = {
            "type": "integer" if isinstance(self.minimum, int) else "number",
            "minimum": self.minimum,
            "maximum": self.maximum,
        }
        slots = dict.fromkeys(get_args(Slot), number)
        by_slot = {"type": "object", "properties": slots, "additionalProperties": False}
        yield WithJsonSchema({"anyOf": [number, by_slot]})
        yield BeforeValidator(self._check)

    def _check(self, value: Any, info: ValidationInfo) -> Any:
        name = info.field_name or ""
        if not isinstance(value, Mapping):
            return InRange(self.minimum, self.maximum).check(value, name)
        for slot, number in value.items():
            if slot not in get_args(Slot):
                raise PydanticCustomError(
                    "unknown_slot",
                    "{field} must be a number, or an object with any of onset, duration and note, got {got}",
                    {"field": name, "got": shown(slot)},
                )
            InRange(self.minimum, self.maximum).check(number, f"{name}.{slot}")
        return value


def shown(value: Any) -> str:
    """Return a value from JSON as it looks there, cut to a length for messages."""
    names = {None: "null", True: "true", False: "false"}
    text = names[value] if value is None or isinstance(value, bool) else repr(value)
    return text if len(text) <= MAX_VALUE_SHOWN else f"{text[:MAX_VALUE_SHOWN]}..."


def _check_model(value: Any, info: ValidationInfo) -> Any:
    """Hold a name to those on offer, which are known once the service has its settings: the context has them."""
    models = (info.context or {}).get("models")
    if models is None or value in models:
        return value
    *names, last = map(repr, models)
    raise PydanticKnownError("literal_error", {"expected": f"{', '.join(names)} or {last}" if names else last})


def _check_velocity(value: Any) -> Any:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if value == "auto" or (is_number and 1 <= value <= MAX_VELOCITY and float(value).is_integer()):
        return value
    raise PydanticCustomError(
        "invalid_velocity",
        "velocity must be 'auto' or a whole number in range 1..{maximum}, got {got}",
        {"maximum": MAX_VELOCITY, "got": shown(value)},
    )


def _check_instruments(value: Any, info: ValidationInfo) -> Any:
    if isinstance(value, list) and 1 <= len(value) <= MAX_INSTRUMENTS_NAMED and all(map(_is_instrument, value)):
        return value
    raise PydanticCustomError(
        "instruments",
        "{field} must be a list of 1 to {maximum} General MIDI numbers, names or families, "
        'such as [0, "Acoustic Bass", "strings", "drums"], got {got}',
        {"field": info.field_name, "maximum": MAX_INSTRUMENTS_NAMED, "got": shown(value)},
    )


def _is_instrument(value: Any) -> bool:
    return isinstance(value, int | str) and not isinstance(value, bool)


def _check_pitch_ranges(value: Any, info: ValidationInfo) -> Any:
    ranges = list(value.values()) if isinstance(value, dict) else [value]
    if 1 <= len(ranges) <= MAX_INSTRUMENTS_NAMED and all(map(is_pitch_range, ranges)):
        return value
    raise PydanticCustomError(
        "pitch_range",
        "{field} must be [lowest, highest], two whole numbers in range 0..{maximum}, the second not the smaller, "
        "or an object of such lists by instrument, such as {example}, got {got}",
        {
            "field": info.field_name,
            "maximum": MAX_PITCH,
            "example": '{"Acoustic Bass": [28, 55]}',
            "got": shown(value),
        },
    )


def is_pitch_range(value: Any) -> bool:
    """Tell whether a value from JSON is the lowest and the highest of some pitches."""
    if not isinstance(value, list | tuple) or len(value) != 2:
        return False
    return all(type(pitch) is int for pitch in value) and 0 <= value[0] <= value[1] <= MAX_PITCH


def _check_client_job_id(value: str) -> str:
    if not re.fullmatch(CLIENT_JOB_ID_PATTERN, value):
        raise PydanticCustomError(
            "invalid_client_job_id",
            "client_job_id must be 1 to 256 letters, digits or any of . _ : - , got {got}",
            {"got": shown(value)},
        )
    return value


def _check_time_signature(value: Any) -> Any:
    if isinstance(value, str) and re.fullmatch(TIME_SIGNATURE_PATTERN, value, flags=re.ASCII):
        return value
    raise PydanticCustomError(
        "invalid_time_signature",
        "time_signature must be like '3/4': a number in range 1..32, and 1, 2, 4, 8, 16 or 32, got {got}",
        {"got": shown(value)},
    )


def _check_variety(value: Any) -> Any:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if value in ("auto", None) or (is_number and MIN_VARIETY <= value <= 1):
        return value
    raise PydanticCustomError(
        "invalid_variety",
        "variety must be 'auto', a number in range {minimum}..1.0, or null to switch it off, got {got}",
        {"minimum": MIN_VARIETY, "got": shown(value)},
    )


def checked_file(text: str, name: str, task: str) -> str:
    """Return a text that holds a file. Raise PydanticCustomError if it does not."""
    if not text.strip():
        raise PydanticCustomError("missing", "{field} is required for task '{task}'", {"field": name, "task": task})
    try:
        decode_file(text)
    except ValueError as error:
        reason = {"field": name, "reason": str(error)}
        raise PydanticCustomError("invalid_base64", "{field} is not valid base64: {reason}", reason) from error
    return text


ModelName: TypeAlias = Annotated[StrictStr, BeforeValidator(_check_model)]
"""The name of a model on offer."""

LengthSeconds: TypeAlias = Annotated[float, InRange(MIN_LENGTH_SECONDS, MAX_LENGTH_SECONDS)]
"""Seconds of new music."""

FileSeconds: TypeAlias = Annotated[float, InRange(0.0, MAX_FILE_SECONDS)]
"""A time in a file."""

Bars: TypeAlias = Annotated[int, InRange(1, MAX_BARS)]
"""A number of bars."""

BarNumber: TypeAlias = Annotated[int, InRange(1, MAX_BAR)]
"""Which bar, from 1 on."""

TimeSignature: TypeAlias = Annotated[
    str,
    BeforeValidator(_check_time_signature),
    WithJsonSchema({"type": "string", "pattern": f"^{TIME_SIGNATURE_PATTERN}$"}),
]

Include: TypeAlias = Annotated[list[Part], Len(1, 2)]

Variety: TypeAlias = Annotated[
    Literal["auto"] | Annotated[float, Ge(MIN_VARIETY), Le(1.0)] | None,
    BeforeValidator(_check_variety),
]

Velocity: TypeAlias = Annotated[
    Literal["auto"] | Annotated[int, Ge(1), Le(MAX_VELOCITY)],
    BeforeValidator(_check_velocity),
]

Instruments: TypeAlias = Annotated[list[int | str], BeforeValidator(_check_instruments)]
"""Numbers, names and families, not looked up yet."""

PitchRange: TypeAlias = tuple[int, int]

PitchRanges: TypeAlias = Annotated[PitchRange | dict[str, PitchRange], BeforeValidator(_check_pitch_ranges)]
"""One for all, or by instrument."""

TrackNames: TypeAlias = Annotated[list[StrictInt | StrictStr], Len(1, MAX_INSTRUMENTS_NAMED)]
"""Numbers from 1 and names, not looked up yet."""

ClientJobId: TypeAlias = Annotated[
    str,
    AfterValidator(_check_client_job_id),
    WithJsonSchema({"type": "string", "pattern": f"^{CLIENT_JOB_ID_PATTERN}$"}),
]
