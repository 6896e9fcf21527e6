"""What travels over the wire: one request, three responses, and their limits. Also the text of /docs."""

import base64
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal, TypeAlias

from annotated_types import Ge, GroupedMetadata, Le
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictBool,
    StrictInt,
    ValidationInfo,
    WithJsonSchema,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError

MAX_SEED: Final = 2**63 - 1
MAX_FIELDS: Final = 100
MAX_MIDI_INPUTS: Final = 64

Task = Literal["generate", "continue", "embed"]
ModelSize = Literal["tiny", "small", "medium", "large"]
Pooling = Literal["mean", "last", "max", "none"]
Windows = Literal["first", "all", "each"]

EXAMPLE_MIDI: Final = "TVRoZAAAAAYAAAABAeBNVHJrAAAADQCQPFCDYIA8QAD/LwA="
"""A MIDI file of one middle C that lasts half a second, written by hand:

    4d546864 00000006 0000 0001 01e0    MThd, 6 bytes: type 0, 1 track, 480 ticks a quarter note (120 bpm)
    4d54726b 0000000d                   MTrk, 13 bytes
    00   90 3c 50                       at 0: note on, channel 1, pitch 60, velocity 80
    8360 80 3c 40                       480 ticks later: note off
    00   ff 2f 00                       end of track
"""

EXAMPLES: Final[dict[str, dict[str, Any]]] = {
    "generate": {
        "task": "generate",
        "length_seconds": 20.0,
        "top_p": 0.95,
        "num_variations": 1,
        "client_job_id": "optional-tracking-id",
    },
    "continue": {
        "task": "continue",
        "midi_input": EXAMPLE_MIDI,
        "prime_seconds": 5.0,
        "length_seconds": 20.0,
        "top_p": 0.95,
        "num_variations": 1,
    },
    "embed": {"task": "embed", "midi_input": EXAMPLE_MIDI, "embed_layer": -3},
}

CLIENT_JOB_ID_PATTERN: Final = r"[A-Za-z0-9._:-]{1,256}"


@dataclass(frozen=True)
class InRange(GroupedMetadata):
    """A number from `minimum` to `maximum`, both allowed; whole when the bounds are integers.

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
            {
                "field": info.field_name,
                "must": must,
                "range": f"{self.minimum}..{self.maximum}",
                "got": _shown(value),
            },
        )


def _shown(value: Any) -> str:
    """A value from JSON as it looks there, cut to a length for messages."""
    names = {None: "null", True: "true", False: "false"}
    text = names[value] if value is None or isinstance(value, bool) else repr(value)
    return text if len(text) <= 40 else f"{text[:40]}..."


def _decode_base64(text: str) -> bytes:
    """White space is left out first: `base64` breaks its lines."""
    return base64.b64decode("".join(text.split()), validate=True)


def _check_midi(text: str | None, name: str, task: Task) -> None:
    """Whether `name` holds a file in base64."""
    if text is None or not text.strip():
        raise PydanticCustomError("midi_required", "{name} is required for task '{task}'", {"name": name, "task": task})
    try:
        _decode_base64(text)
    except ValueError as error:
        reason = {"name": name, "reason": str(error)}
        raise PydanticCustomError("invalid_base64", "{name} is not valid base64: {reason}", reason) from error


def _check_client_job_id(value: str) -> str:
    if not re.fullmatch(CLIENT_JOB_ID_PATTERN, value):
        raise PydanticCustomError(
            "invalid_client_job_id",
            "client_job_id must be 1 to 256 letters, digits or any of . _ : - , got {got}",
            {"got": _shown(value)},
        )
    return value


ClientJobId: TypeAlias = Annotated[
    str,
    AfterValidator(_check_client_job_id),
    WithJsonSchema({"type": "string", "pattern": f"^{CLIENT_JOB_ID_PATTERN}$"}),
]


class PredictRequest(BaseModel):
    """What to do, and how.

    A body may carry the fields of every task: those that its task does not use must be valid and are ignored.
    Fields that are not listed here are refused.
    """

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        json_schema_extra={"examples": list(EXAMPLES.values())},
    )

    @model_validator(mode="before")
    @classmethod
    def _check_size(cls, body: Any) -> Any:
        """One error at once, where pydantic would list a million unknown fields first."""
        if isinstance(body, dict) and len(body) > MAX_FIELDS:
            raise PydanticCustomError(
                "too_many_fields",
                "a request has at most {most} fields, got {got}",
                {"most": MAX_FIELDS, "got": len(body)},
            )
        return body

    task: Task = Field(
        default="generate",
        description="generate: music from nothing. continue: go on where the first seconds of `midi_input` "
        "end. embed: one vector that describes `midi_input`.",
    )
    length_seconds: Annotated[float, InRange(1.0, 120.0)] = Field(
        default=20.0,
        description="generate, continue: seconds of new music. continue adds them after the prime. "
        "The resolution is 0.01 s.",
    )
    prime_seconds: Annotated[float, InRange(1.0, 60.0)] = Field(
        default=5.0,
        description="continue: how many seconds from the start of `midi_input` are kept, note for note. New "
        "music starts there, or where the input's last note ends if that is earlier.",
    )
    top_p: Annotated[float, InRange(0.1, 1.0)] = Field(
        default=0.95,
        description="generate, continue: nucleus sampling. Each choice is made among the likeliest tokens "
        "whose probabilities add up to this. About 0.8: slow, dense, repetitive. 0.95: balanced. 0.98 to "
        "0.99: fast, varied, adventurous.",
    )
    num_variations: Annotated[int, InRange(1, 5)] = Field(
        default=1,
        description="generate, continue: how many independent results. They are made together, as one batch.",
    )
    seed: Annotated[int, InRange(0, MAX_SEED)] | None = Field(
        default=None,
        description="generate, continue: of the random choices. The first variation gets it, each further one the "
        "next number; null: one is drawn. The answer names every variation's seed, and sending it back with the "
        "same request gives the same music, on the same device and precision.",
    )
    model_size: ModelSize | None = Field(
        default=None,
        description="Which model: tiny (bundled with the service), small (about 128 million parameters), "
        "medium (350) or large (780). Larger is better and slower. A size is loaded when it is first asked "
        "for. Null: the service's default; the answer's metadata says which.",
    )
    embed_layer: StrictInt = Field(
        default=-3,
        description="embed: the hidden state to take, as a Python index: 0 is the input embedding, 1 the "
        "first block's output, -1 the last one's. Of small's 12 blocks -3 is the tenth. The model's depth is "
        "the limit.",
    )
    pooling: Pooling = Field(
        default="mean",
        description="embed: how the hidden states of the tokens become one vector. mean: their average. last: that of "
        "the last token, the only one that sees all others. max: the largest number in each dimension. none: "
        "they stay as they are, a vector for each token; for one file and its first window only, as that is "
        "millions of bytes.",
    )
    windows: Windows = Field(
        default="first",
        description="embed: how much of the file. The model sees at most 341 events, rests included, and less than "
        "100 s at once: that is a window. first: the file's first window. all: the whole file in windows that follow "
        "one another; one vector, pooled over the tokens of all (so the mean is weighted by their number). each: "
        "likewise, but one vector for each window, with its times.",
    )
    normalize: StrictBool = Field(
        default=False,
        description="embed: scale each vector to the length 1 (L2), so that dot products are cosines.",
    )
    midi_inputs: list[str] | None = Field(
        default=None,
        min_length=1,
        max_length=MAX_MIDI_INPUTS,
        description="embed: instead of `midi_input`, several MIDI files, each in base64. The answer then has `files`, "
        "one entry for each in this order. generate, continue: ignored.",
    )
    midi_input: str | None = Field(
        default=None,
        validate_default=True,
        description="continue, embed: the MIDI file in standard base64, required but for `midi_inputs`; white space is "
        "ignored. generate: ignored.",
    )
    client_job_id: ClientJobId | None = Field(
        default=None,
        description="Your own name for this job: 1 to 256 letters, digits or any of . _ : - . It comes back "
        "in the metadata, and appears in the service's log.",
    )

    @field_validator("windows")
    @classmethod
    def _check_windows(cls, value: Windows, info: ValidationInfo) -> Windows:
        if info.data.get("task") == "embed" and info.data.get("pooling") == "none" and value != "first":
            raise PydanticCustomError(
                "too_many_vectors", "windows must be 'first' when pooling is 'none', got {got}", {"got": repr(value)}
            )
        return value

    @field_validator("midi_inputs")
    @classmethod
    def _check_midi_inputs(cls, value: list[str] | None, info: ValidationInfo) -> list[str] | None:
        if value is None or info.data.get("task") != "embed":
            return value
        if info.data.get("pooling") == "none":
            raise PydanticCustomError(
                "too_many_vectors", "midi_inputs cannot be used when pooling is 'none': send one file as midi_input"
            )
        for index, text in enumerate(value):
            _check_midi(text, f"midi_inputs[{index}]", "embed")
        return value

    @field_validator("midi_input")
    @classmethod
    def _check_midi_input(cls, value: str | None, info: ValidationInfo) -> str | None:
        task = info.data.get("task", "generate")  # absent when it is wrong itself, and then that is the news
        if task == "generate":
            return value
        if task == "embed" and info.data.get("midi_inputs", []) is not None:  # absent when they are wrong themselves
            if value is not None:
                raise PydanticCustomError("ambiguous_midi", "send either midi_input or midi_inputs, not both")
            return value
        _check_midi(value, "midi_input", task)
        return value

    @property
    def midi_bytes(self) -> bytes:
        """The file in `midi_input`, for tasks that need one; empty when there is none."""
        return _decode_base64(self.midi_input or "")

    @property
    def midi_files(self) -> list[bytes]:
        """The files in `midi_inputs`."""
        return [_decode_base64(text) for text in self.midi_inputs or []]


class _Response(BaseModel):
    model_config = ConfigDict(frozen=True)


class Variation(_Response):
    """One of the results of generate and continue."""

    midi_base64: str = Field(description="The MIDI file in base64: type 1, 120 bpm, a track for each instrument.")
    num_events: int = Field(description="How many notes the MIDI file holds.")
    seed: int = Field(description="What to send as `seed` to get this one alone again.")
    duration_seconds: float = Field(
        description="How long the MIDI file lasts, in seconds; continue: with the prime that was used."
    )


class Metadata(_Response):
    """How the answer came about."""

    model_size: ModelSize = Field(description="The size that was used.")
    model_id: str = Field(description="Where its checkpoint came from: a Hugging Face repository or a folder.")
    device: str = Field(description="What it ran on, such as cpu or cuda:0.")
    client_job_id: str | None = Field(description="As sent; null when none was.")
    trace_id: str = Field(
        description="The OpenTelemetry trace, 32 hexadecimal digits: the caller's if `traceparent` named it."
    )
    span_id: str = Field(description="The request's span in that trace, 16 hexadecimal digits.")
    queue_seconds: float = Field(
        description="Seconds from the request's arrival to the start of its computation, "
        "those in which a model was loaded included."
    )
    compute_seconds: float = Field(description="Seconds of computation, from the first event to the last.")


class GenerateResponse(_Response):
    """The answer to task generate."""

    task: Literal["generate"] = "generate"
    variations: list[Variation] = Field(description="As many as `num_variations` asked for.")
    metadata: Metadata


class ContinueResponse(_Response):
    """The answer to task continue."""

    task: Literal["continue"] = "continue"
    variations: list[Variation] = Field(
        description="As many as `num_variations` asked for. Each begins with the prime, note for note."
    )
    prime_seconds: float = Field(description="As asked for, in seconds.")
    metadata: Metadata


class WindowEmbedding(_Response):
    """A part of a file as a vector."""

    embedding: list[float] = Field(description="The window's vector, pooled as asked for.")
    start_seconds: float = Field(description="When its first event begins, from the start of the file.")
    end_seconds: float = Field(description="When the next window begins, or where the file's last note ends.")
    num_tokens: int = Field(description="How many event tokens it has, 3 for each note or rest.")


def _is_none(value: object) -> bool:
    return value is None


class FileEmbedding(_Response):
    """A file as one vector or several. Of the first three fields there is one."""

    embedding: list[float] | None = Field(
        default=None,
        exclude_if=_is_none,
        description="The hidden states of the tokens used, pooled as asked for; by default their mean.",
    )
    token_embeddings: list[list[float]] | None = Field(
        default=None,
        exclude_if=_is_none,
        description="With `pooling` none: the hidden state of each event token, to 6 decimals. Tokens come in threes: "
        "a note's or rest's onset, its duration, and its instrument and pitch.",
    )
    windows: list[WindowEmbedding] | None = Field(
        default=None,
        exclude_if=_is_none,
        description="With `windows` each: a vector for each window, in the order of time.",
    )
    embedding_dim: int = Field(
        description="A vector's length, the model's width: 256 for tiny, 768 for small, 1,024 for medium, 1,280 "
        "for large."
    )
    layer: int = Field(description="The layer, as asked for.")
    num_tokens: int = Field(description="How many event tokens were used: whole events, at most 1,023 in a window.")
    original_tokens: int = Field(description="How many event tokens the whole input has.")
    truncated: bool = Field(description="Whether the input was too long, so that only its beginning was used.")


class _EmbedTask(_Response):
    task: Literal["embed"] = "embed"


class _Answered(_Response):
    metadata: Metadata


class EmbedResponse(_Answered, FileEmbedding, _EmbedTask):  # pydantic puts the last one's fields first
    """The answer to task embed with `midi_input`."""


class EmbedFilesResponse(_Response):
    """The answer to task embed with `midi_inputs`."""

    task: Literal["embed"] = "embed"
    files: list[FileEmbedding] = Field(description="One for each of `midi_inputs`, in their order.")
    metadata: Metadata


PredictResponse: TypeAlias = GenerateResponse | ContinueResponse | EmbedResponse | EmbedFilesResponse


class ErrorDetail(BaseModel):
    """One thing that is wrong with a request."""

    loc: list[str | int] = Field(description="Where: a field's name, and what leads to it.")
    msg: str = Field(description="What is wrong, for people.")
    type: str = Field(description="What is wrong, for programs.")


class ErrorResponse(BaseModel):
    """The body of an answer that is not 200."""

    detail: str | list[ErrorDetail] = Field(
        description="One sentence, or for a body that does not fit the schema a list of what is wrong."
    )
