"""Define what tasks share that are given music. Their texts are those of /docs."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Final, Literal

from pydantic import (
    Field,
    StrictBool,
    ValidationInfo,
    field_validator,
)
from pydantic_core import PydanticCustomError

from amt.arranging.defaults import BALANCE
from amt.decoding.copying import MAX_COPIED_NOTES
from tasks.base import TaskRequest
from tasks.fields import (
    BarNumber,
    FileSeconds,
    InRange,
    checked_file,
)
from tasks.files import decode_file
from tasks.music_request import MusicRequest
from tasks.notes import SENT_VELOCITY, SentChords, SentNotes

MAX_SPAN_SECONDS: Final = 120.0
MIN_SPAN_SECONDS: Final = 0.1

Sustain = Literal["keep", "apply"]
SUSTAIN_TEXT: Final = (
    "What the sustain pedal of the file means to the model. keep: notes last as they were struck. apply: they last as "
    "long as they sound. The pedal itself is given back either way."
)

FILE_FORMAT: Final = (
    "It is in base64, standard or URL-safe, with or without padding, or a data: URI of that; white space is ignored."
)

NOTES_TEXT: Final = (
    'The music as notes, instead of `midi_input`: `[{"onset": 0.0, "duration": 0.5, "pitch": 60, "instrument": 0, '
    '"velocity": 80}]`, at most 20,000, in any order. `instrument` is a General MIDI number or name, 0 if it is '
    f"missing; `velocity` is {SENT_VELOCITY} if it is. Times are in `time_unit`. The notes of an answer can be sent "
    "as they are."
)

AVOID_COPY_TEXT: Final = (
    f"No more than {MAX_COPIED_NOTES} new notes in a row are those of the input in a row, by instrument and pitch, as "
    "long as there are others to choose."
)


class InputRequest(TaskRequest):
    """Hold what every task takes that reads music: a MIDI file, or notes."""

    midi_input: str | None = Field(
        default=None, description=f"The MIDI file, required unless there are `notes`. {FILE_FORMAT}"
    )
    notes: SentNotes | None = Field(default=None, description=NOTES_TEXT)
    sustain: Sustain = Field(default="keep", description=SUSTAIN_TEXT)

    @classmethod
    def _find_required(cls, given: Mapping[str, Any]) -> set[str]:
        return super()._find_required(given) | (set() if "notes" in given else {"midi_input"})

    @field_validator("midi_input")
    @classmethod
    def _check_midi_input(cls, text: str, info: ValidationInfo) -> str:
        return checked_file(text, "midi_input", info.data["task"])

    @property
    def midi_bytes(self) -> bytes:
        """The file in `midi_input`."""
        return decode_file(self.midi_input or "")


class EditRequest(InputRequest, MusicRequest):
    """Hold what every task takes that makes music from other music."""

    avoid_copy: StrictBool = Field(default=False, description=AVOID_COPY_TEXT)


class FitRequest(EditRequest):
    """Hold what the tasks take that fit new notes to others of the same time."""

    instrument_balance: Annotated[float, InRange(0.0, 10.0)] | None = Field(
        default=None,
        description="How strongly each entry of `instruments` that is silent is brought in: for each second of its "
        "silence its notes gain this many nats (each makes them 2.7 times as likely), until it plays. 0: not at all. "
        f"Null: {BALANCE:g}, or more if there is little time.",
    )
    chords: SentChords | None = Field(
        default="auto",
        description="The chords of new notes, but for drums: a text of one bar each, `Am | F | C G | E7`, split evenly "
        "within a bar, `%` for the one before, from the bar in which the new music begins, repeated to its end. Or a "
        'list, `[{"symbol": "Am7", "start_bar": 1}]` or with `start_seconds`, counted from the start of the piece. '
        "auto: those that what is kept of the input implies, if it has harmony; the answer says them. Null switches "
        "them off.",
    )


class SpanRequest(FitRequest):
    """Hold what the tasks take that write notes of a span again."""

    one_of: ClassVar[tuple[tuple[str, ...], ...]] = (
        ("notes", "midi_input"),
        ("start_seconds", "start_bar"),
        ("end_seconds", "end_bar"),
    )

    start_seconds: FileSeconds | None = None
    end_seconds: FileSeconds | None = None
    start_bar: BarNumber | None = Field(
        default=None, description="The first bar of the span, counted from 1, instead of `start_seconds`."
    )
    end_bar: BarNumber | None = Field(
        default=None,
        description="The first bar behind the span, instead of `end_seconds`: bars 3 and 4 are 3 to 5. Where the music "
        f"ends within the last bar, the span does too. It may be {MIN_SPAN_SECONDS:g} to {MAX_SPAN_SECONDS:g} s long.",
    )

    @field_validator("end_seconds")
    @classmethod
    def _check_span(cls, end: float, info: ValidationInfo) -> float:
        start = info.data.get("start_seconds")  # absent when it is wrong itself
        if start is not None and not MIN_SPAN_SECONDS <= round(end - start, 2) <= MAX_SPAN_SECONDS:
            raise PydanticCustomError(
                "invalid_span",
                "end_seconds must be {minimum} to {maximum} s after start_seconds, got {start} to {end}",
                {"minimum": MIN_SPAN_SECONDS, "maximum": MAX_SPAN_SECONDS, "start": start, "end": end},
            )
        return end

    @field_validator("end_bar")
    @classmethod
    def _check_bars(cls, end: int, info: ValidationInfo) -> int:
        start = info.data.get("start_bar")
        if start is not None and end <= start:
            raise PydanticCustomError(
                "invalid_span",
                "end_bar must be greater than start_bar, for it is the first bar behind the span, got {start} to {end}",
                {"start": start, "end": end},
            )
        return end
