"""Define notes and chords as a request and its answer hold them in JSON."""

from collections.abc import Mapping
from typing import Annotated, Any, Final, Self, TypeAlias

from annotated_types import Len
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    FailFast,
    Field,
    PlainValidator,
    TypeAdapter,
    WithJsonSchema,
    model_validator,
)
from pydantic_core import PydanticCustomError

from amt.arranging.plan import MAX_NOTES
from amt.errors import InstrumentError
from amt.harmony.progression import MAX_CHORDS
from amt.midi.instruments import find_instruments
from amt.midi.notes import DRUMS, N_PITCHES
from tasks.fields import MAX_BAR, MAX_CHORDS_LENGTH, MAX_FILE_SECONDS, MAX_VELOCITY, FileSeconds, InRange, shown

SENT_VELOCITY: Final = 80
"""The velocity of a note that is sent without one."""


def _check_object(value: Any, kind: str, names: list[str]) -> Any:
    """Return the value. Raise PydanticCustomError if it is no object, or has keys of other names."""
    unknown = value.keys() - set(names) if isinstance(value, Mapping) else [value]
    if unknown:
        raise PydanticCustomError(
            "not_as_expected",
            "{kind} is an object of {names}, got {got}",
            {"kind": kind, "names": ", ".join(names), "got": shown(min(unknown, key=str))},
        )
    return value


def _check_instrument(value: Any) -> int:
    if isinstance(value, int | str) and not isinstance(value, bool):
        try:
            found = find_instruments(value)
        except InstrumentError as error:
            raise PydanticCustomError("no_such_instrument", "{reason}", {"reason": str(error)}) from error
        if len(found) == 1:
            return min(found)
    raise PydanticCustomError(
        "no_instrument",
        "the instrument of a note is a number in range 0..{drums} or the General MIDI name of one, got {got}",
        {"drums": DRUMS, "got": shown(value)},
    )


class SentNote(BaseModel):
    """One note of a request."""

    model_config = ConfigDict(frozen=True)

    onset: Annotated[float, InRange(0.0, MAX_FILE_SECONDS)] = Field(
        description="When it begins, from the start of the piece, in `time_unit`."
    )
    duration: Annotated[float, InRange(0.0, MAX_FILE_SECONDS)] = Field(description="How long it lasts, likewise.")
    pitch: Annotated[int, InRange(0, N_PITCHES - 1)] = Field(
        description="The MIDI note number; 60 is middle C. For drums, the number of the drum."
    )
    instrument: Annotated[
        int,
        BeforeValidator(_check_instrument),
        WithJsonSchema({"anyOf": [{"type": "integer", "minimum": 0, "maximum": DRUMS}, {"type": "string"}]}),
    ] = Field(default=0, description='A General MIDI number (0 to 127, 128 for drums) or name ("Violin", "drums").')
    velocity: Annotated[int, InRange(1, MAX_VELOCITY)] = Field(default=SENT_VELOCITY, description="How loud it is.")
    is_new: bool | None = Field(
        default=None, description="Ignored, so that the notes of an answer can be sent as they are."
    )

    @model_validator(mode="before")
    @classmethod
    def _check(cls, value: Any) -> Any:
        return _check_object(value, "a note", list(cls.model_fields))


class AnsweredNote(BaseModel):
    """One note of an answer."""

    model_config = ConfigDict(frozen=True)

    onset: float = Field(description="When it begins, from the start of the piece, in the request's `time_unit`.")
    duration: float = Field(description="How long it lasts, likewise.")
    pitch: int = Field(description="The MIDI note number; 60 is middle C. For drums, the number of the drum.")
    instrument: int = Field(description="The General MIDI number, 128 for drums.")
    velocity: int = Field(description="How loud it is, 1 to 127.")
    is_new: bool = Field(description="Whether it was made, or kept of the input.")


class SentChord(BaseModel):
    """One chord of a request, and when it begins: either of the two."""

    model_config = ConfigDict(frozen=True)

    symbol: str = Field(max_length=40, description="Such as Am7, F#m7b5, C/E, or N.C. for none.")
    start_bar: Annotated[float, InRange(1.0, float(MAX_BAR))] | None = Field(
        default=None, description="The bar, counted from 1; 2.5 is the middle of bar 2."
    )
    start_seconds: FileSeconds | None = Field(default=None, description="Seconds from the start of the piece.")

    @model_validator(mode="before")
    @classmethod
    def _check(cls, value: Any) -> Any:
        return _check_object(value, "a chord", list(cls.model_fields))

    @model_validator(mode="after")
    def _check_start(self) -> Self:
        if (self.start_bar is None) == (self.start_seconds is None):
            raise PydanticCustomError("start", "a chord needs either start_bar or start_seconds")
        return self


class AnsweredChord(BaseModel):
    """One chord of an answer, which lasts until the next one's start."""

    model_config = ConfigDict(frozen=True)

    symbol: str = Field(description="The chord, or N.C. for none.")
    start_bar: float = Field(description="The bar in which it begins, counted from 1; 2.5 is the middle of bar 2.")
    start_seconds: float = Field(description="Seconds from the start of the piece.")


_NOTES: Final = TypeAdapter[list[SentNote]](Annotated[list[SentNote], Len(0, MAX_NOTES), FailFast()])
_CHORDS: Final = TypeAdapter[list[SentChord]](Annotated[list[SentChord], Len(1, MAX_CHORDS), FailFast()])

SentNotes: TypeAlias = Annotated[
    list[SentNote],
    PlainValidator(_NOTES.validate_python, json_schema_input_type=Annotated[list[SentNote], Len(0, MAX_NOTES)]),
]
"""The first note that is wrong is the only problem: there may be thousands."""


def _read_chords(value: Any) -> str | list[SentChord]:
    """Return chords as a text or a list. Raise the errors of a list alone, where a union of pydantic's names both."""
    if isinstance(value, list):
        return _CHORDS.validate_python(value)
    if isinstance(value, str) and 1 <= len(value) <= MAX_CHORDS_LENGTH:
        return value
    raise PydanticCustomError(
        "invalid_chords",
        "chords must be a text of 1 to {length} characters such as 'Am | F | C G | E7', a list of objects "
        "such as {example}, or 'auto', got {got}",
        {
            "length": MAX_CHORDS_LENGTH,
            "example": '{"symbol": "Am7", "start_bar": 1}',
            "got": shown(value),
        },
    )


SentChords: TypeAlias = Annotated[
    str | list[SentChord],
    PlainValidator(
        _read_chords,
        json_schema_input_type=Annotated[str, Len(1, MAX_CHORDS_LENGTH)]
        | Annotated[list[SentChord], Len(1, MAX_CHORDS)],
    ),
]
"""A text, or chords with the times at which they begin."""
