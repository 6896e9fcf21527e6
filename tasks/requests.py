"""Define what the service is asked for: a request for each task. Their texts are those of /docs."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Final, Literal, TypeAlias

from annotated_types import Len
from pydantic import (
    Field,
    StrictBool,
    StrictInt,
    ValidationInfo,
    field_validator,
)
from pydantic_core import PydanticCustomError

from amt.arranging.defaults import BALANCE
from amt.decoding.copying import MAX_COPIED_NOTES
from amt.midi.grid import STRAIGHT, Division
from amt.pooling import Pooling
from tasks.base import TaskRequest
from tasks.fields import (
    MAX_BARS,
    MAX_FILES,
    MAX_KEY_LENGTH,
    MAX_PRIME_SECONDS,
    MAX_SEED,
    MIN_PRIME_SECONDS,
    BarNumber,
    Bars,
    BySlot,
    FileSeconds,
    Include,
    InRange,
    Instruments,
    KeyMode,
    LengthSeconds,
    PitchRanges,
    Slot,
    TimeSignature,
    TimeUnit,
    TrackNames,
    Variety,
    Velocity,
    Windows,
    checked_file,
)
from tasks.files import decode_file
from tasks.locking import Locked, LockedKind
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
TIME_UNIT_TEXT: Final = (
    "Of the times in `notes`, of the request and of the answer. beats: quarter notes, of those sent at `bpm`."
)

LENGTH_BARS_TEXT: Final = (
    "How long the new music is in bars, instead of `length_seconds`, by the time signatures and the tempo of the "
    "answer; 1 to 120 s. Where it begins within a bar, the rest of that bar comes on top, so that it ends on a line."
)


class MusicRequest(TaskRequest):
    """Hold what every task that makes music takes: how new notes are chosen, and what they must or should be."""

    null_is_off: ClassVar[frozenset[str]] = frozenset({"chords", "variety"})

    num_variations: Annotated[int, InRange(1, 5)] = Field(
        default=1, description="How many independent results. They are made together, as one batch."
    )
    seed: Annotated[int, InRange(0, MAX_SEED)] | None = Field(
        default=None,
        description="Of the random choices. The first variation gets it, each further one the next number; null: one "
        "is drawn. The answer names every variation's seed, and sending it back with the same request gives the same "
        "music, on the same device and precision.",
    )
    top_p: Annotated[float | dict[Slot, float], BySlot(0.1, 1.0)] = Field(
        default=0.95,
        description="Nucleus sampling. Each choice is made among the likeliest tokens "
        "whose probabilities add up to this. About 0.8: slow, dense, repetitive. 0.95: balanced. 0.98 to "
        "0.99: fast, varied, adventurous. Like temperature, top_k and min_p a number, or one for some of an event's "
        'three choices: `{"onset": 0.9, "duration": 0.95, "note": 0.98}`.',
    )
    temperature: Annotated[float | dict[Slot, float], BySlot(0.0, 2.0)] = Field(
        default=1.0,
        description="Below 1 likely choices become likelier still, above 1 unlikely ones less unlikely; 0 always takes "
        "the likeliest.",
    )
    top_k: Annotated[int | dict[Slot, int], BySlot(1, 512)] | None = Field(
        default=None, description="Each choice is made among at most this many of the likeliest tokens. Null: all."
    )
    min_p: Annotated[float | dict[Slot, float], BySlot(0.0, 1.0)] = Field(
        default=0.0,
        description="Tokens less probable than this share of the likeliest one's probability are never chosen.",
    )
    instruments: Instruments | None = Field(
        default=None,
        description="The only instruments that new notes may have: General MIDI numbers (0 to 127, 128 for drums), "
        'names ("Acoustic Bass", "drums") or families ("strings": any of the eight). An entry that is named twice '
        "counts once. Null: any.",
    )
    exclude_instruments: Instruments | None = Field(
        default=None, description="Instruments that no new note may have; named as in `instruments`."
    )
    instrument_balance: Annotated[float, InRange(0.0, 10.0)] | None = Field(
        default=BALANCE,
        description="How strongly each entry of `instruments` that is silent is brought in: for each second of its "
        "silence its notes gain this many nats (each makes them 2.7 times as likely), until it plays. 0: not at all.",
    )
    pitch_range: PitchRanges | None = Field(
        default=None,
        description="The lowest and the highest pitch of new notes, `[48, 84]` (60 is middle C), of all instruments "
        'but drums; or of single ones: `{"Acoustic Bass": [28, 55], "strings": [55, 96]}`. Null: any.',
    )
    max_polyphony: Annotated[int, InRange(1, 64)] | None = Field(
        default=None, description="How many new notes may sound at the same time. Null: any number."
    )
    density: Annotated[float, InRange(0.1, 50.0)] | None = Field(
        default=None,
        description="How many new notes a second are aimed at, on average. Null: as many as the model likes.",
    )
    velocity: Velocity = Field(
        default="auto",
        description="How loud new notes are; the model does not say. auto: about as loud as the "
        "nearest kept notes of the same instrument, with as much variety. Without any, about as loud as other kept "
        "notes, or 72, and lightly shaped by the beat, the pitch and, from the seed, chance. 1 to 127: all the same. "
        "Kept notes keep theirs.",
    )
    bpm: Annotated[float, InRange(20.0, 300.0)] | None = Field(
        default=None,
        description="Quarter notes a minute of the MIDI file. It moves no note: all sound at the same second as "
        "without it, but stand on that tempo's grid. Null: the tempo map and the time signatures of `midi_input` up to "
        "where the new music begins, whose last tempo goes on; 120 without an input or when it has no tempo map (SMPTE "
        "time, type 2). With `notes` it is their tempo, in which beats are counted.",
    )
    time_signature: TimeSignature | None = Field(
        default=None,
        description="Of the whole answer, such as `3/4` or `6/8`: bars are counted by it. Null: those of `midi_input`; "
        "4/4 where there are none.",
    )
    grid: Division | None = Field(
        default=None,
        description="Every new note begins on a line of this grid: the beats of the answer's tempo map, divided; T: "
        "in triplets. It is decided while the music is composed, nothing is moved afterwards. Without an input and "
        "`bpm` the tempo is 120. Null: notes begin when the model likes.",
    )
    grid_durations: StrictBool = Field(
        default=False, description="With `grid`: every new note ends on a line too, or where the new music ends."
    )
    swing: Annotated[float, InRange(STRAIGHT, 0.75)] = Field(
        default=STRAIGHT,
        description="With `grid` 1/8 or 1/16: where in each pair of lines the second one is, as a share of the pair. "
        "0.5: in the middle; 0.67: as in triplets.",
    )
    key: Annotated[str, Len(1, MAX_KEY_LENGTH)] | None = Field(
        default=None,
        description="The key or scale of new notes, but for drums: a tonic and a scale, such as `C major`, `A minor`, "
        "`D dorian`, `F# harmonic minor`, or `chromatic`. auto: the key of what is kept of the input; the answer says "
        "which. Null: none.",
    )
    key_mode: KeyMode = Field(
        default="bias",
        description="Other pitch classes than the key's are unlikely, so that leading notes stay possible (bias), or "
        "forbidden (strict).",
    )
    chords: SentChords | None = Field(
        default=None,
        description="The chords of new notes, but for drums: a text of one bar each, `Am | F | C G | E7`, split evenly "
        "within a bar, `%` for the one before, from the bar in which the new music begins, repeated to its end. Or a "
        'list, `[{"symbol": "Am7", "start_bar": 1}]` or with `start_seconds`, counted from the start of the piece. '
        "Null: none.",
    )
    chord_share: Annotated[float, InRange(0.0, 1.0)] = Field(
        default=0.8,
        description="With `chords`: how much of the new notes' time is aimed to be within chords that hold them. Music "
        "that people wrote has 0.63 to 0.70.",
    )
    variety: Variety = Field(
        default="auto",
        description="Which share of the notes of the last 20 s the six commonest are aimed not to exceed; small models "
        "dwell on few. auto: what suits the model. Null switches it off.",
    )
    include: Include = Field(
        default=["midi"],
        description="What each variation holds: midi, a MIDI file in `midi_base64`; notes, `notes` in JSON.",
    )
    time_unit: TimeUnit = Field(default="seconds", description=TIME_UNIT_TEXT)
    on_degenerate: Literal["retry", "keep"] = Field(
        default="retry",
        description="What becomes of a variation that is silent or gets stuck, which means that it repeats one or two "
        "notes to its end: retry draws it again with another seed, at most twice; keep keeps it. With retry, one or "
        "two notes that have been all there is for four seconds, or two drums for eight if nothing is given to play "
        "beside, also may not go on until another note is heard.",
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


AVOID_COPY_TEXT: Final = (
    f"No more than {MAX_COPIED_NOTES} new notes in a row are those of the input in a row, by instrument and pitch, as "
    "long as there are others to choose."
)


class EditRequest(InputRequest, MusicRequest):
    """Hold what every task takes that makes music from other music."""

    avoid_copy: StrictBool = Field(default=False, description=AVOID_COPY_TEXT)


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
