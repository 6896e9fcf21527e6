"""Define what the service is asked for: a request for each task. Their texts are those of /docs."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Final, Literal, TypeAlias

from pydantic import (
    Field,
    StrictBool,
    StrictInt,
    ValidationInfo,
    field_validator,
)
from pydantic_core import PydanticCustomError

from amt.pooling import Pooling
from tasks.edit_requests import (
    AVOID_COPY_TEXT,
    FILE_FORMAT,
    MAX_SPAN_SECONDS,
    MIN_SPAN_SECONDS,
    EditRequest,
    FitRequest,
    InputRequest,
    SpanRequest,
)
from tasks.fields import (
    MAX_BARS,
    MAX_FILES,
    MAX_PRIME_SECONDS,
    MIN_PRIME_SECONDS,
    Bars,
    FileSeconds,
    InRange,
    Instruments,
    LengthSeconds,
    PitchRanges,
    TimeUnit,
    TrackNames,
    Windows,
    checked_file,
)
from tasks.files import decode_file
from tasks.locking import Locked, LockedKind
from tasks.music_request import TIME_UNIT_TEXT, MusicRequest

LENGTH_BARS_TEXT: Final = (
    "How long the new music is in bars, instead of `length_seconds`, by the time signatures and the tempo of the "
    "answer; 1 to 120 s. Where it begins within a bar, the rest of that bar comes on top, so that it ends on a line."
)


class GenerateRequest(MusicRequest):
    """Make music from nothing. This is the task of a request that names none."""

    one_of: ClassVar[tuple[tuple[str, ...], ...]] = (("length_seconds", "length_bars"),)

    task: Literal["generate"] = Field(default="generate", description="Make music from nothing.")
    length_seconds: LengthSeconds = Field(default=20.0, description="Seconds of new music. The resolution is 0.01 s.")
    length_bars: Bars | None = Field(
        default=None,
        description="How long it is in bars, instead of `length_seconds`, by `bpm` and `time_signature`; 1 to 120 s.",
    )


class ContinueRequest(EditRequest):
    """Go on where the first seconds of a file end, or where all of it does."""

    one_of: ClassVar[tuple[tuple[str, ...], ...]] = (
        ("notes", "midi_input"),
        ("prime_seconds", "prime_bars"),
        ("length_seconds", "length_bars"),
    )

    task: Literal["continue"] = Field(
        description="Go on where the first seconds of `midi_input` end, or where all of it does."
    )
    prime_seconds: Annotated[float, InRange(MIN_PRIME_SECONDS, MAX_PRIME_SECONDS)] = Field(
        default=5.0,
        description="How many seconds from the start of `midi_input` are kept, note for note. New music starts there, "
        "or where the input's last note ends if that is earlier. With `prime_from` end: how many of its last seconds "
        "the new music goes on from.",
    )
    prime_bars: Bars | None = Field(
        default=None,
        description="How much of the input goes before the new music in bars, instead of `prime_seconds`: its first, "
        "or with `prime_from` end its last, the one in which its last note ends included; 1 to 60 s.",
    )
    prime_from: Literal["start", "end"] = Field(
        default="start",
        description="Which seconds of `midi_input` the new music goes on from. start: the first; what comes after them "
        "is left out. end: the last; the answer is all of `midi_input`, and the new music after its last note, or "
        "after its last bar where the file itself ends a bar or less behind that note.",
    )
    length_seconds: LengthSeconds = Field(
        default=20.0, description="Seconds of new music, after the prime. The resolution is 0.01 s."
    )
    length_bars: Bars | None = Field(default=None, description=LENGTH_BARS_TEXT)


class AccompanyRequest(FitRequest):
    """Write other parts around one that is given."""

    one_of: ClassVar[tuple[tuple[str, ...], ...]] = (
        ("notes", "midi_input"),
        ("notes", "melody_tracks"),
        ("prime_seconds", "prime_bars"),
        ("length_seconds", "length_bars"),
    )

    task: Literal["accompany"] = Field(description="Write other parts around one that `midi_input` holds.")
    melody_instruments: Instruments | None = Field(
        default=None,
        description="The part that is kept and accompanied is all that these play: General MIDI names, numbers (0 "
        "to 127, 128 for drums) or families. Null, and `melody_tracks` too: everything.",
    )
    melody_tracks: TrackNames | None = Field(
        default=None,
        description="The part that is kept and accompanied, by track: names, or numbers from 1, counting only tracks "
        "that hold notes. Of a file of type 0 the channels are counted. With `melody_instruments`: what either names.",
    )
    prime_seconds: Annotated[float, InRange(0.0, MAX_PRIME_SECONDS)] = Field(
        default=0.0, description="New music starts here, and what the others play before is kept too."
    )
    prime_bars: Annotated[int, InRange(0, MAX_BARS)] | None = Field(
        default=None, description="New music starts after so many bars, instead of `prime_seconds`; 0 to 60 s."
    )
    length_seconds: LengthSeconds | None = Field(
        default=None,
        description="Seconds of new music, from `prime_seconds` on. Null: to the end of the part that is accompanied, "
        "at most 120. The resolution is 0.01 s.",
    )
    length_bars: Bars | None = Field(default=None, description=LENGTH_BARS_TEXT)
    instruments: Instruments | None = Field(
        default=None,
        description="The only instruments that new notes may have: General MIDI numbers (0 to 127, 128 for drums), "
        'names ("Acoustic Bass", "drums") or families ("strings": any of the eight). An entry that is named twice '
        "counts once. Null: those that are replaced; where none is, piano, a bass and strings.",
    )
    density: Annotated[float, InRange(0.1, 50.0)] | None = Field(
        default=None,
        description="How many new notes a second are aimed at, on average. Null: as many as what is replaced had; "
        "where nothing is replaced, 3 to 6.",
    )


class InfillRequest(SpanRequest):
    """Write a span of a file again, to fit what is before and after it."""

    task: Literal["infill"] = Field(
        description="Write a span of `midi_input` again, to fit what is before and after it."
    )
    start_seconds: FileSeconds | None = Field(
        default=None,
        description="Where the span begins that is written again, in seconds from the start of the piece; required "
        "unless `start_bar` and `end_bar` say it. Notes that begin before it stay, also where they sound into it.",
    )
    end_seconds: FileSeconds | None = Field(
        default=None,
        description=f"Where the span ends: {MIN_SPAN_SECONDS:g} to {MAX_SPAN_SECONDS:g} s after `start_seconds`, and "
        "not after the end of the last note. Notes that begin there or later stay; new ones end there at the latest.",
    )
    instruments: Instruments | None = Field(
        default=None,
        description="Only what these play in the span is replaced, and only they may play new notes: General MIDI "
        'numbers (0 to 127, 128 for drums), names ("Acoustic Bass", "drums") or families ("strings": any of the '
        "eight). An entry that is named twice counts once. Null: all is replaced, by the piece's instruments.",
    )
    density: Annotated[float, InRange(0.1, 50.0)] | None = Field(
        default=None,
        description="How many new notes a second are aimed at, on average. Null: as many as what is replaced had; "
        "where nothing is replaced, as many as around the span.",
    )
    locked: Locked | None = Field(
        default=None,
        description="Notes that stay within the span too, and that the model is told ahead: places in `notes`, counted "
        'from 0, or what they are, `{"instruments": ["drums"]}`, `{"pitch_range": [0, 47]}` or both. Null: none.',
    )

    @classmethod
    def _find_required(cls, given: Mapping[str, Any]) -> set[str]:
        bars = {"start_bar", "end_bar"}
        return super()._find_required(given) | (bars if bars & given.keys() else {"start_seconds", "end_seconds"})

    @field_validator("locked")
    @classmethod
    def _check_locked(cls, locked: list[int] | LockedKind, info: ValidationInfo) -> list[int] | LockedKind:
        notes = info.data.get("notes")
        if not isinstance(locked, list) or (notes is None and info.data.get("midi_input") is None):
            return locked
        if notes is None:
            raise PydanticCustomError(
                "locked", "locked must be an object with instruments or pitch_range if the input is not sent as notes"
            )
        if wrong := [place for place in locked if place >= len(notes)]:
            raise PydanticCustomError(
                "locked",
                "locked holds places in notes, which are in range 0..{last}, got {got}",
                {"last": len(notes) - 1, "got": wrong[0]},
            )
        return locked


class VariationRequest(SpanRequest):
    """Write a part of the notes of a piece again."""

    task: Literal["variation"] = Field(
        description="Keep some of the notes of `midi_input`, and write the others again."
    )
    similarity: Annotated[float, InRange(0.0, 1.0)] = Field(
        default=0.5,
        description="The share of the notes in question that stays: those on strong beats first, and by `seed` among "
        "equally strong ones. 1: all, so that the answer is the input; 0: none.",
    )
    start_seconds: FileSeconds | None = Field(
        default=None,
        description="Where the span begins whose notes are in question, in seconds from the start of the piece. All "
        "others stay. Null: at the start.",
    )
    end_seconds: FileSeconds | None = Field(
        default=None,
        description=f"Where the span ends: {MIN_SPAN_SECONDS:g} to {MAX_SPAN_SECONDS:g} s after its start, and not "
        f"after the end of the last note. Null: there, but at most {MAX_SPAN_SECONDS:g} s after the start.",
    )
    instruments: Instruments | None = Field(
        default=None,
        description="Only the notes that these play are in question, and only they play new ones: General MIDI "
        'numbers (0 to 127, 128 for drums), names ("Acoustic Bass", "drums") or families ("strings": any of the '
        "eight). Null: those of the piece.",
    )
    pitch_range: PitchRanges | None = Field(
        default=None,
        description="The lowest and the highest pitch of new notes, `[48, 84]` (60 is middle C), of all instruments "
        'but drums; or of single ones: `{"Acoustic Bass": [28, 55], "strings": [55, 96]}`. Null: for each instrument '
        "those of the notes that are replaced.",
    )
    density: Annotated[float, InRange(0.1, 50.0)] | None = Field(
        default=None,
        description="How many new notes a second are aimed at, on average. Null: as many as are replaced.",
    )
    avoid_copy: StrictBool = Field(default=True, description=AVOID_COPY_TEXT)


class EmbedRequest(InputRequest):
    """Describe a piece by a vector, or several files by one each."""

    one_of: ClassVar[tuple[tuple[str, ...], ...]] = (("notes", "midi_inputs", "midi_input"),)

    task: Literal["embed"] = Field(description="Describe `midi_input` by a vector, or each of `midi_inputs`.")
    embed_layer: StrictInt = Field(
        default=-3,
        description="The hidden state to take, as a Python index: 0 is the input embedding, 1 the first block's "
        "output, -1 the last one's. Of small's 12 blocks -3 is the tenth. The model's depth is the limit.",
    )
    pooling: Pooling = Field(
        default="mean",
        description="How the hidden states of the tokens become one vector. mean: their average. last: that of "
        "the last token, the only one that sees all others. max: the largest number in each dimension. none: "
        "they stay as they are, a vector for each token; for one file and its first window only, as that is "
        "millions of bytes.",
    )
    windows: Windows = Field(
        default="first",
        description="How much of the file. The model sees at most 341 events, rests included, and less than "
        "100 s at once: that is a window. first: the file's first window. all: the whole file in windows that follow "
        "one another; one vector, pooled over the tokens of all (so the mean is weighted by their number). each: "
        "likewise, but one vector for each window, with its times.",
    )
    normalize: StrictBool = Field(
        default=False, description="Scale each vector to the length 1 (L2), so that dot products are cosines."
    )
    midi_inputs: list[str] | None = Field(
        default=None,
        min_length=1,
        max_length=MAX_FILES,
        description="Several MIDI files instead of `midi_input`, each as it would be there. The answer then has "
        "`files`, one entry for each in this order.",
    )
    midi_input: str | None = Field(
        default=None, description=f"The MIDI file, required unless there are `midi_inputs` or `notes`. {FILE_FORMAT}"
    )
    time_unit: TimeUnit = Field(default="seconds", description=TIME_UNIT_TEXT)
    bpm: Annotated[float, InRange(20.0, 300.0)] | None = Field(
        default=None, description="The tempo of `notes` in beats. Null: 120."
    )

    @classmethod
    def _find_required(cls, given: Mapping[str, Any]) -> set[str]:
        return super()._find_required(given) - ({"midi_input"} if "midi_inputs" in given else set())

    @field_validator("windows")
    @classmethod
    def _check_windows(cls, windows: Windows, info: ValidationInfo) -> Windows:
        if info.data.get("pooling") == "none" and windows != "first":
            raise PydanticCustomError(
                "too_many_vectors",
                "windows must be 'first' when pooling is 'none', got {got}",
                {"got": repr(windows)},
            )
        return windows

    @field_validator("midi_inputs")
    @classmethod
    def _check_midi_inputs(cls, texts: list[str], info: ValidationInfo) -> list[str]:
        if info.data.get("pooling") == "none":
            raise PydanticCustomError(
                "too_many_vectors", "midi_inputs cannot be used when pooling is 'none': send one file as midi_input"
            )
        return [checked_file(text, f"midi_inputs[{index}]", "embed") for index, text in enumerate(texts)]

    @property
    def files(self) -> list[bytes]:
        """The MIDI files, of which there is at least one unless there are notes."""
        return [self.midi_bytes] if self.midi_inputs is None else list(map(decode_file, self.midi_inputs))


AnyMusicRequest: TypeAlias = GenerateRequest | ContinueRequest | AccompanyRequest | InfillRequest | VariationRequest
