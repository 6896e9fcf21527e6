"""What travels over the wire: one request, a response for each task, and their limits. Also the text of /docs."""

import base64
import re
from typing import Annotated, Any, Final, Literal, TypeAlias

from pydantic import (
    AfterValidator,
    BaseModel,
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

from tasks.fields import (
    BySlot,
    InRange,
    Instruments,
    ModelSize,
    PitchRanges,
    PrimeSeconds,
    Slot,
    TrackNames,
    Velocity,
    shown,
)

MAX_SEED: Final = 2**63 - 1
MAX_FIELDS: Final = 100
MAX_MIDI_INPUTS: Final = 64

MAX_SPAN_SECONDS: Final = 120.0
MIN_SPAN_SECONDS: Final = 0.1
MAX_FILE_SECONDS: Final = 86_400.0

Task = Literal["generate", "continue", "accompany", "infill", "embed"]
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

EXAMPLE_SCALE: Final = (
    "TVRoZAAAAAYAAAABAeBNVHJrAAAATACQPFCDYIA8QACQPlCDYIA+QACQQFCDYIBAQACQQVCDYIBBQACQQ1CDYIBDQACQRVCDYIBFQACQR1CDYIBHQACQ"
    "SFCDYIBIQAD/LwA="
)
"""A scale of C major, written likewise: eight notes of half a second each."""

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
    "accompany": {"task": "accompany", "midi_input": EXAMPLE_MIDI, "length_seconds": 5.0},
    "infill": {"task": "infill", "midi_input": EXAMPLE_SCALE, "start_seconds": 1.0, "end_seconds": 2.5},
    "embed": {"task": "embed", "midi_input": EXAMPLE_MIDI, "embed_layer": -3},
}

CLIENT_JOB_ID_PATTERN: Final = r"[A-Za-z0-9._:-]{1,256}"


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
            {"got": shown(value)},
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
        description="generate: music from nothing. continue: go on where the first seconds of `midi_input` end, or "
        "where all of it does. accompany: write other parts around one that is given. infill: write a span of "
        "`midi_input` anew, to fit what is before and after it. embed: one vector that describes `midi_input`.",
    )
    length_seconds: Annotated[float, InRange(1.0, 120.0)] = Field(
        default=20.0,
        description="generate, continue, accompany: seconds of new music. continue adds them after the prime. "
        "accompany: from `prime_seconds` on; if not sent, to the end of the part that is accompanied, at most 120. "
        "The resolution is 0.01 s.",
    )
    prime_seconds: PrimeSeconds = Field(
        default=5.0,
        description="continue: how many seconds from the start of `midi_input` are kept, note for note. New "
        "music starts there, or where the input's last note ends if that is earlier. With `prime_from` end: how many "
        "of its last seconds are gone on from. 1.0 to 60.0. accompany: new music starts here, and what the others "
        "play before is kept too; 0.0 to 60.0, and 0.0 if not sent.",
    )
    prime_from: Literal["start", "end"] = Field(
        default="start",
        description="continue: which seconds of `midi_input` are gone on from. start: the first; what comes after them "
        "is left out. end: the last; the answer is all of `midi_input`, and the new music after its last note.",
    )
    start_seconds: Annotated[float, InRange(0.0, MAX_FILE_SECONDS)] | None = Field(
        default=None,
        description="infill: where the span begins that is written anew, in seconds from the start of `midi_input`; "
        "required. Notes that begin before it stay, also where they sound into it.",
    )
    end_seconds: Annotated[float, InRange(0.0, MAX_FILE_SECONDS)] | None = Field(
        default=None,
        validate_default=True,
        description="infill: where the span ends, required: 0.1 to 120 s after `start_seconds`, and not after the end "
        "of the last note. Notes that begin there or later stay; new ones end there at the latest.",
    )
    melody_instruments: Instruments | None = Field(
        default=None,
        description="accompany: what is kept and accompanied is all that these play: General MIDI names, numbers (0 "
        "to 127, 128 for drums) or families. Null, and `melody_tracks` too: everything.",
    )
    melody_tracks: TrackNames | None = Field(
        default=None,
        description="accompany: likewise by track: names, or numbers from 1, counting only tracks that hold notes. Of "
        "a file of type 0 the channels are counted. With `melody_instruments`: what either names.",
    )
    top_p: Annotated[float | dict[Slot, float], BySlot(0.1, 1.0)] = Field(
        default=0.95,
        description="Nucleus sampling. Each choice is made among the likeliest tokens "
        "whose probabilities add up to this. About 0.8: slow, dense, repetitive. 0.95: balanced. 0.98 to "
        "0.99: fast, varied, adventurous. Like temperature, top_k and min_p a number, or one for some of an event's "
        'three choices: `{"onset": 0.9, "duration": 0.95, "note": 0.98}`; embed ignores them all.',
    )
    temperature: Annotated[float | dict[Slot, float], BySlot(0.0, 2.0)] = Field(
        default=1.0,
        description="Below 1 likely choices become likelier still, above 1 unlikely ones less unlikely; 0 always takes "
        "the likeliest.",
    )
    top_k: Annotated[int | dict[Slot, int], BySlot(1, 512)] | None = Field(
        default=None, description="Each choice is made among at most so many of the likeliest tokens."
    )
    min_p: Annotated[float | dict[Slot, float], BySlot(0.0, 1.0)] = Field(
        default=0.0,
        description="No choice of a token less probable than this share of the likeliest one's probability.",
    )
    instruments: Instruments | None = Field(
        default=None,
        description="The only instruments that new notes may have: General MIDI numbers (0..127, 128 for drums), names "
        '("Acoustic Bass", "drums") or families ("strings": any of the eight). accompany: null is those that are '
        "replaced; where none is, piano, a bass and strings. infill: only what these play is replaced; null: all, by "
        "the piece's instruments.",
    )
    exclude_instruments: Instruments | None = Field(
        default=None, description="Instruments that no new note may have; named likewise."
    )
    instrument_balance: Annotated[float, InRange(0.0, 10.0)] = Field(
        default=3.0,
        description="How strongly each entry of `instruments` that is silent is brought in: its notes gain so many "
        "nats (each makes them 2.7 times as likely) a second, until it plays. 0: not at all. accompany, infill: "
        "more if not sent and there is little time.",
    )
    pitch_range: PitchRanges | None = Field(
        default=None,
        description="The lowest and the highest pitch of new notes, `[48, 84]` (60 is middle C), of all instruments "
        'but drums; or of single ones: `{"Acoustic Bass": [28, 55], "strings": [55, 96]}`.',
    )
    max_polyphony: Annotated[int, InRange(1, 64)] | None = Field(
        default=None, description="How many new notes may sound at the same time."
    )
    density: Annotated[float, InRange(0.1, 50.0)] | None = Field(
        default=None,
        description="How many new notes a second are aimed at, on average. accompany, infill: null is as many as what "
        "is replaced had; where nothing is, 3 to 6 beside a melody, as many as around an empty span.",
    )
    num_variations: Annotated[int, InRange(1, 5)] = Field(
        default=1,
        description="All tasks but embed: how many independent results. They are made together, as one batch.",
    )
    seed: Annotated[int, InRange(0, MAX_SEED)] | None = Field(
        default=None,
        description="All tasks but embed: of the random choices. The first variation gets it, each further one the "
        "next number; null: one is drawn. The answer names every variation's seed, and sending it back with the "
        "same request gives the same music, on the same device and precision.",
    )
    on_degenerate: Literal["retry", "keep"] = Field(
        default="retry",
        description="What becomes of a variation that is silent or gets stuck, that is repeats one or two notes to its "
        "end: it is drawn again, at most twice, with another seed, or kept. Unless it is to be kept, one or two notes "
        "that are all there is for four seconds, or two drums for eight if nothing is given to play beside, may not go "
        "on until another is heard.",
    )
    velocity: Velocity = Field(
        default="auto",
        description="Not for embed: how loud new notes are; the model does not say. auto: about as loud as the "
        "nearest kept notes of the same instrument, with as much variety. Without any, about as loud as other kept "
        "notes, or 72, and lightly shaped by the beat, the pitch and, from the seed, chance. 1 to 127: all the same. "
        "Kept notes keep theirs.",
    )
    bpm: Annotated[float, InRange(20.0, 300.0)] | None = Field(
        default=None,
        description="Not for embed: quarter notes a minute of the MIDI file. It moves no note: all sound at the "
        "same second as without it, but stand on that tempo's grid. Null: the tempo map and the time signatures of "
        "`midi_input` up to where the new music begins, whose last tempo goes on; 120 without an input or when it "
        "has no tempo map (SMPTE time, type 2).",
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
        "one entry for each in this order. Other tasks ignore it.",
    )
    midi_input: str | None = Field(
        default=None,
        validate_default=True,
        description="All tasks but generate: the MIDI file in standard base64, required but for `midi_inputs`; white "
        "space is ignored. generate: ignored.",
    )
    client_job_id: ClientJobId | None = Field(
        default=None,
        description="Your own name for this job: 1 to 256 letters, digits or any of . _ : - . It comes back "
        "in the metadata, and appears in the service's log.",
    )

    @field_validator("end_seconds")
    @classmethod
    def _check_span(cls, end: float | None, info: ValidationInfo) -> float | None:
        if info.data.get("task") != "infill" or "start_seconds" not in info.data:
            return end
        start = info.data["start_seconds"]
        if start is None or end is None:
            raise PydanticCustomError("span_required", "start_seconds and end_seconds are required for task 'infill'")
        if not MIN_SPAN_SECONDS <= round(end - start, 2) <= MAX_SPAN_SECONDS:
            raise PydanticCustomError(
                "invalid_span",
                "end_seconds must be {least} to {most} s after start_seconds, got {start} to {end}",
                {"least": MIN_SPAN_SECONDS, "most": MAX_SPAN_SECONDS, "start": start, "end": end},
            )
        return end

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
    def own_prime_seconds(self) -> float:
        """`prime_seconds`, or what the task has instead when it was not sent."""
        return 0.0 if self.task == "accompany" and "prime_seconds" not in self.model_fields_set else self.prime_seconds

    @property
    def own_length_seconds(self) -> float | None:
        """`length_seconds`, or None when the task finds it out for itself."""
        return (
            None if self.task == "accompany" and "length_seconds" not in self.model_fields_set else self.length_seconds
        )

    @property
    def span_seconds(self) -> tuple[float, float]:
        """`start_seconds` and `end_seconds`, for the task that needs them."""
        return self.start_seconds or 0.0, self.end_seconds or 0.0

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
    """One of the results of all tasks but embed."""

    midi_base64: str = Field(description="The MIDI file in base64: type 1, a track for each instrument. See `bpm`.")
    num_events: int = Field(description="How many notes the MIDI file holds.")
    seed: int = Field(description="What to send as `seed` to get this one alone again.")
    draws: int = Field(
        default=1, description="How often it was drawn: once, or more often because it was silent or stuck."
    )
    flaw: Literal["silent", "stuck"] | None = Field(
        default=None, description="What is wrong with it nevertheless: no new notes, or one or two repeated to the end."
    )
    duration_seconds: float = Field(
        description="How long the MIDI file lasts, in seconds. continue: with the prime that was used, or from its end "
        "with the whole input. accompany: to the end of the new music, or of what was kept if that is later. infill: "
        "as long as the input's notes."
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
        description="Seconds from the request's arrival to the start of its computation, without `load_seconds`."
    )
    load_seconds: float = Field(
        default=0.0, description="Seconds in which it waited for a model to be loaded; 0 when that was loaded already."
    )
    compute_seconds: float = Field(description="Seconds of computation, from the first event to the last.")
    redrawn: int = Field(default=0, description="How many silent or stuck results were thrown away and drawn again.")


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


class AccompanyResponse(_Response):
    """The answer to task accompany."""

    task: Literal["accompany"] = "accompany"
    variations: list[Variation] = Field(
        description="As many as `num_variations` asked for. Each holds the part that was accompanied, note for note."
    )
    prime_seconds: float = Field(description="Where the new music begins, in seconds.")
    metadata: Metadata


class InfillResponse(_Response):
    """The answer to task infill."""

    task: Literal["infill"] = "infill"
    variations: list[Variation] = Field(
        description="As many as `num_variations` asked for. Each is the input, note for note outside the span."
    )
    start_seconds: float = Field(description="As asked for, in seconds.")
    end_seconds: float = Field(description="As asked for, in seconds.")
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


PredictResponse: TypeAlias = (
    GenerateResponse | ContinueResponse | AccompanyResponse | InfillResponse | EmbedResponse | EmbedFilesResponse
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
