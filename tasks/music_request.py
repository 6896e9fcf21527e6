"""Define what every task that makes music takes. Its texts are those of /docs."""

from typing import Annotated, ClassVar, Final, Literal

from annotated_types import Len
from pydantic import (
    Field,
    StrictBool,
)

from amt.arranging.defaults import BALANCE, IMPLIED_CHORD_SHARE, NAMED_CHORD_SHARE
from amt.midi.grid import STRAIGHT, Division
from tasks.base import TaskRequest
from tasks.fields import (
    MAX_KEY_LENGTH,
    MAX_SEED,
    BySlot,
    Include,
    InRange,
    Instruments,
    KeyMode,
    PitchRanges,
    Slot,
    TimeSignature,
    TimeUnit,
    Variety,
    Velocity,
)
from tasks.notes import SentChords

TIME_UNIT_TEXT: Final = (
    "Of the times in `notes`, of the request and of the answer. beats: quarter notes, of those sent at `bpm`."
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
    chord_share: Annotated[float, InRange(0.0, 1.0)] | None = Field(
        default=None,
        description="With `chords`: how much of the new notes' time is aimed to be within chords that hold them. Null: "
        f"{NAMED_CHORD_SHARE:g}; with chords auto {IMPLIED_CHORD_SHARE:g}, as in music that people wrote.",
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
