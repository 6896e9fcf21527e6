"""Define what the service answers: a response for each task, and one for errors."""

from typing import Final, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field

from tasks.notes import AnsweredChord, AnsweredNote

NOTICES: Final = (
    "What was mended while the input was read, what cannot be given back, and what was chosen for the request, in "
    "sentences for people; at most 22."
)


class _Response(BaseModel):
    model_config = ConfigDict(frozen=True)


def _is_none(value: object) -> bool:
    return value is None


class Tempo(_Response):
    """A tempo, and when it begins."""

    seconds: float = Field(description="From the start of the piece.")
    bpm: float = Field(description="Quarter notes a minute.")


class Metre(_Response):
    """A time signature, and the bar from which it holds."""

    bar: int = Field(description="Counted from 1.")
    time_signature: str = Field(description="Such as 3/4.")


class AnsweredTiming(_Response):
    """How the answer counts time."""

    bpm: float | None = Field(description="Quarter notes a minute; null if the tempo changes.")
    tempos: list[Tempo] = Field(description="In order of time, the first at 0 s; at most 10,000.")
    time_signature: str | None = Field(description="Such as 4/4; null if it changes.")
    time_signatures: list[Metre] = Field(description="In order of time, the first at bar 1; at most 10,000.")
    bars: list[float] = Field(
        description="The second at which each bar of the result begins, the first being bar 1; at most 10,000."
    )


class Variation(_Response):
    """One of the results of all tasks but embed."""

    midi_base64: str | None = Field(
        default=None,
        exclude_if=_is_none,
        description="The MIDI file in base64, of type 1: the input's tracks and all else that it says, with new notes "
        "in the track of their instrument; from nothing a track for each instrument. See `bpm`. It is there unless "
        "`include` leaves it out.",
    )
    notes: list[AnsweredNote] | None = Field(
        default=None,
        exclude_if=_is_none,
        description="With `include` notes: all notes of the result, in order of onset. What is kept of `notes` has the "
        "very numbers that were sent.",
    )
    num_events: int = Field(description="How many notes the result has.")
    seed: int = Field(description="What to send as `seed` to get this one alone again.")
    draws: int = Field(
        default=1, description="How often it was drawn: once, or more often because it was silent or stuck."
    )
    flaw: Literal["silent", "stuck"] | None = Field(
        default=None, description="What is wrong with it nevertheless: no new notes, or one or two repeated to the end."
    )
    duration_seconds: float = Field(
        description="How long the MIDI file lasts, in seconds. continue: with the prime that was used, or from its end "
        "with the whole input. accompany: to the end of the new music, or of what was kept if that is later. infill "
        "and variation: as long as the input's notes."
    )


class Metadata(_Response):
    """How the answer came about."""

    model_size: str = Field(description="The name of the model that was used.")
    model_id: str = Field(description="Where its checkpoint came from: a Hugging Face repository or a folder.")
    device: str = Field(description="What it ran on, such as cpu or cuda:0.")
    client_job_id: str | None = Field(description="As sent; null when none was.")
    trace_id: str = Field(
        description="The OpenTelemetry trace, 32 hexadecimal digits: the caller's if `traceparent` named it."
    )
    span_id: str = Field(description="The request's span in that trace, 16 hexadecimal digits.")
    queue_seconds: float = Field(
        description="Seconds from the request's arrival to the start of its computation, without `load_seconds`."
    )
    load_seconds: float = Field(
        default=0.0, description="Seconds in which it waited for a model to be loaded; 0 when that was loaded already."
    )
    compute_seconds: float = Field(description="Seconds of computation, from the first event to the last.")
    redrawn: int = Field(default=0, description="How many silent or stuck results were thrown away and drawn again.")


class _MusicResponse(_Response):
    timing: AnsweredTiming
    key: str | None = Field(
        default=None, exclude_if=_is_none, description="The key that new notes keep to, if they do."
    )
    chords: list[AnsweredChord] | None = Field(
        default=None,
        exclude_if=_is_none,
        description="The chords that new notes keep to, if they do, from the start of the new music to its end.",
    )
    notices: list[str] = Field(default=[], description=NOTICES)
    metadata: Metadata


class _GenerateTask(_Response):
    task: Literal["generate"] = "generate"
    variations: list[Variation] = Field(description="As many as `num_variations` asked for.")


class GenerateResponse(_MusicResponse, _GenerateTask):  # pydantic puts the last one's fields first
    """The answer to task generate."""


class _ContinueTask(_Response):
    task: Literal["continue"] = "continue"
    variations: list[Variation] = Field(
        description="As many as `num_variations` asked for. Each begins with the prime, note for note."
    )
    prime_seconds: float = Field(description="As asked for, in seconds.")


class ContinueResponse(_MusicResponse, _ContinueTask):
    """The answer to task continue."""


class _AccompanyTask(_Response):
    task: Literal["accompany"] = "accompany"
    variations: list[Variation] = Field(
        description="As many as `num_variations` asked for. Each holds the part that was accompanied, note for note."
    )
    prime_seconds: float = Field(description="Where the new music begins, in seconds.")


class AccompanyResponse(_MusicResponse, _AccompanyTask):
    """The answer to task accompany."""


class _InfillTask(_Response):
    task: Literal["infill"] = "infill"
    variations: list[Variation] = Field(
        description="As many as `num_variations` asked for. Each is the input, note for note outside the span."
    )
    start_seconds: float = Field(description="As asked for, in seconds.")
    end_seconds: float = Field(description="As asked for, in seconds.")


class InfillResponse(_MusicResponse, _InfillTask):
    """The answer to task infill."""


class _VariationTask(_Response):
    task: Literal["variation"] = "variation"
    variations: list[Variation] = Field(
        description="As many as `num_variations` asked for. Each keeps other notes of the input, as its seed has it."
    )
    start_seconds: float = Field(description="Where the span begins whose notes were in question.")
    end_seconds: float = Field(description="Where it ends.")
    similarity: float = Field(description="As asked for.")


class VariationResponse(_MusicResponse, _VariationTask):
    """The answer to task variation."""


class WindowEmbedding(_Response):
    """A part of a file as a vector."""

    embedding: list[float] = Field(description="The window's vector, pooled as asked for.")
    start_seconds: float = Field(description="When its first event begins, from the start of the file.")
    end_seconds: float = Field(description="When the next window begins, or where the file's last note ends.")
    num_tokens: int = Field(description="How many event tokens it has, 3 for each note or rest.")


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
    notices: list[str] = Field(default=[], description=NOTICES)


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


PredictResponse: TypeAlias = (
    GenerateResponse
    | ContinueResponse
    | AccompanyResponse
    | InfillResponse
    | VariationResponse
    | EmbedResponse
    | EmbedFilesResponse
)


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
