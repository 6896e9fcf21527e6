"""Say which notes of a span are locked, by their places in the request or by what they are."""

from collections.abc import Sequence
from typing import Annotated, Any, Final, TypeAlias

from annotated_types import Ge, Len
from pydantic import BaseModel, ConfigDict, Field, PlainValidator
from pydantic_core import PydanticCustomError

from amt.arranging.plan import MAX_NOTES
from amt.midi.instruments import find_instruments
from amt.midi.notes import DRUMS, N_PITCHES, Note
from tasks.fields import Instruments, PitchRange, is_pitch_range


class LockedKind(BaseModel):
    """Notes by their instruments, by their pitches, or by both."""

    model_config = ConfigDict(frozen=True)

    instruments: Instruments | None = Field(
        default=None, description="Those that play them: numbers, names or families. Null: all but drums."
    )
    pitch_range: PitchRange | None = Field(
        default=None, description="The lowest and the highest pitch; of drums their numbers. Null: any."
    )


LOCKED_FORMS: Final = (
    "a list of places in notes, counted from 0, or an object with instruments, with pitch_range as [lowest, highest], "
    'or with both, such as {"instruments": ["piano"], "pitch_range": [0, 59]}'
)


def _read_locked(value: Any) -> list[int] | LockedKind:
    if isinstance(value, list) and len(value) <= MAX_NOTES and all(type(each) is int and each >= 0 for each in value):
        return value
    if isinstance(value, dict) and _is_kind(value):
        return LockedKind.model_validate(value)
    raise PydanticCustomError("locked", "locked must be {forms}", {"forms": LOCKED_FORMS})


def _is_kind(value: dict[str, Any]) -> bool:
    is_known = value.keys() <= LockedKind.model_fields.keys() and any(each is not None for each in value.values())
    pitch_range = value.get("pitch_range")
    return is_known and (pitch_range is None or is_pitch_range(pitch_range))


_Places: TypeAlias = Annotated[list[Annotated[int, Ge(0)]], Len(0, MAX_NOTES)]

Locked: TypeAlias = Annotated[
    list[int] | LockedKind, PlainValidator(_read_locked, json_schema_input_type=_Places | LockedKind)
]
"""Places in `notes`, or what the notes are."""


def find_locked(locked: list[int] | LockedKind | None, notes: Sequence[Note]) -> list[Note]:
    """Return the notes that are locked, the very objects. Raise InstrumentError if there is no such instrument."""
    if locked is None:
        return []
    if isinstance(locked, list):
        return [notes[place] for place in locked]
    players = frozenset().union(*map(find_instruments, locked.instruments or range(DRUMS)))
    lowest, highest = locked.pitch_range or (0, N_PITCHES - 1)
    return [note for note in notes if note.instrument in players and lowest <= note.pitch <= highest]
