"""Run the tasks that make music: a request becomes a job for the decoder, and its result the answer."""

import base64
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final, NamedTuple

from amt.arranging.defaults import accompaniment_defaults, infill_defaults
from amt.arranging.melody import split_melody
from amt.arranging.plan import EditPlan, accompany, continue_from_end, continue_from_start, from_nothing, infill
from amt.decoding.constraints import Constraints
from amt.midi.bars import Bars
from amt.midi.codec import Piece
from amt.midi.notes import TICKS_PER_SECOND
from amt.midi.timing import MILLISECONDS_PER_TICK, Timing
from amt.midi.tracks import Tracks, find_tracks
from tasks.control import find_constraints, find_grid, find_sampling_params
from tasks.describing import describe_chords, describe_timing
from tasks.encoding import ResultEncoder
from tasks.fields import MAX_SEED
from tasks.harmony import find_harmony
from tasks.lengths import length_ticks, prime_ticks, span_ticks
from tasks.pieces import DEFAULT_BPM, find_timing, read_piece
from tasks.requests import (
    AccompanyRequest,
    AnyMusicRequest,
    ContinueRequest,
    GenerateRequest,
    InfillRequest,
    MusicRequest,
)
from tasks.responses import (
    AccompanyResponse,
    ContinueResponse,
    GenerateResponse,
    InfillResponse,
    Metadata,
    PredictResponse,
    Variation,
)
from tasks.velocity import VelocityShapers
from worker.jobs import GeneratedVariation, GenerateJob, Original

DRAWN_SEED_BITS: Final = 48
"""Seeds that we draw are exact in JavaScript and other languages without integers of 64 bits."""


class Planned(NamedTuple):
    """Hold what a request plans to do.

    Attributes:
        plan: what is kept of its piece, what the model sees, and where new notes go.
        constraints: the request's, with what it leaves open filled in.
        timing: how the answer counts time.
        original: the input that new notes are added to, if there is one.
        repeated: times in seconds that the answer repeats, by their fields.
    """

    plan: EditPlan
    constraints: Constraints
    timing: Timing
    original: Original | None = None
    repeated: Mapping[str, float] = {}


def decode_request(request: AnyMusicRequest, size: str, headers: Mapping[str, str], *, streams: bool) -> GenerateJob:
    """Return what the worker must decode. Raise an `AMTError` if the MIDI or the constraints cannot be used."""
    plan, constraints, timing, original, repeated = _plan(request)
    harmony = find_harmony(request, plan, Bars(timing))
    constraints = replace(
        constraints,
        grid=find_grid(request, plan, timing),
        key=harmony.key.pitch_classes if harmony.key else None,
        chords=harmony.chords,
    )
    decoding = plan.request(sampling=find_sampling_params(request), constraints=constraints)
    seed = secrets.randbits(DRAWN_SEED_BITS) if request.seed is None else request.seed
    sequences = tuple(
        replace(decoding, seed=(seed + variation) % (MAX_SEED + 1)) for variation in range(request.num_variations)
    )
    redraws = request.on_degenerate == "retry" and not all(each.is_greedy for each in decoding.sampling)
    notices = [*(original.piece.notices if original else []), *harmony.notices]
    if request.grid and request.bpm is None and not original:
        notices.append(f"the grid is that of {DEFAULT_BPM:g} bpm, for no bpm was sent")
    return GenerateJob(
        size,
        headers,
        streams,
        redraws,
        plan,
        sequences,
        timing=timing,
        original=original,
        grid=constraints.grid,
        key=harmony.key.name if harmony.key else None,
        chords=harmony.chords,
        notices=tuple(notices),
        repeated=repeated,
    )


def encode_response(
    request: AnyMusicRequest, job: GenerateJob, generated: Sequence[GeneratedVariation], metadata: Metadata
) -> PredictResponse:
    """Return the answer to the task."""
    new_shaper, encoder = VelocityShapers(request, job.plan), ResultEncoder(request, job)
    answer: dict[str, Any] = {
        "variations": [_encode_variation(request, job, each, new_shaper, encoder) for each in generated],
        "timing": describe_timing(job.timing, job.plan.length_ticks),
        "key": job.key,
        "chords": describe_chords(job.chords, Bars(job.timing), job.plan) or None,
        "notices": list(job.notices),
        "metadata": metadata.model_copy(update={"redrawn": sum(each.n_draws - 1 for each in generated)}),
        **job.repeated,
    }
    match request:
        case GenerateRequest():
            return GenerateResponse(**answer)
        case ContinueRequest():
            return ContinueResponse(**answer)
        case AccompanyRequest():
            return AccompanyResponse(**answer)
        case InfillRequest():
            return InfillResponse(**answer)


def _plan(request: AnyMusicRequest) -> Planned:
    constraints = find_constraints(request)
    if isinstance(request, GenerateRequest):
        timing = find_timing(request, None)
        return Planned(from_nothing(length_ticks(request, Bars(timing), 0) or 0), constraints, timing)
    piece = read_piece(request)
    timing = find_timing(request, piece)
    match request:
        case ContinueRequest():
            return _plan_continuation(request, constraints, piece, timing)
        case AccompanyRequest():
            return _plan_accompaniment(request, constraints, piece, timing)
        case InfillRequest():
            return _plan_infill(request, constraints, piece, timing)


def _plan_continuation(request: ContinueRequest, constraints: Constraints, piece: Piece, timing: Timing) -> Planned:
    prime = prime_ticks(request, Bars(timing), piece.notes)
    until_ticks = None
    if request.prime_from == "end":
        plan = continue_from_end(piece.notes, prime, 0, piece.length_ticks)
    else:
        plan = continue_from_start(piece.notes, prime, 0)
        until_ticks = plan.start_ticks
        timing = timing.until(MILLISECONDS_PER_TICK * until_ticks)
    end = plan.start_ticks + (length_ticks(request, Bars(timing), plan.start_ticks) or 0)
    repeated = {"prime_seconds": prime / TICKS_PER_SECOND if request.prime_bars else request.prime_seconds}
    plan = replace(plan, end_ticks=end, length_ticks=end)
    return Planned(plan, constraints, timing, Original(piece, until_ticks), repeated)


def _plan_accompaniment(request: AccompanyRequest, constraints: Constraints, piece: Piece, timing: Timing) -> Planned:
    names = request.melody_instruments or (), request.melody_tracks or ()
    tracks = find_tracks(piece.score) if piece.score else Tracks([], [0] * len(piece.notes))
    melody, others = split_melody(piece.notes, tracks, *names)
    prime = prime_ticks(request, Bars(timing), piece.notes)
    plan = accompany(melody, others, prime, length_ticks(request, Bars(timing), prime))
    balance_is_open = request.instrument_balance is None
    constraints = accompaniment_defaults(constraints, plan, melody, others, balance_is_open=balance_is_open)
    repeated = {"prime_seconds": prime / TICKS_PER_SECOND if request.prime_bars else request.prime_seconds}
    return Planned(plan, constraints, timing, Original(piece), repeated)


def _plan_infill(request: InfillRequest, constraints: Constraints, piece: Piece, timing: Timing) -> Planned:
    rewritten = frozenset().union(*constraints.groups) if constraints.groups else None
    start, end = span_ticks(request, Bars(timing), piece.notes)
    plan = infill(piece.notes, start, end, rewritten)
    balance_is_open = request.instrument_balance is None
    constraints = infill_defaults(constraints, plan, piece.notes, balance_is_open=balance_is_open)
    repeated = {
        "start_seconds": start / TICKS_PER_SECOND if request.start_seconds is None else request.start_seconds,
        "end_seconds": end / TICKS_PER_SECOND if request.end_seconds is None else request.end_seconds,
    }
    return Planned(plan, constraints, timing, Original(piece), repeated)


def _encode_variation(
    request: MusicRequest,
    job: GenerateJob,
    generated: GeneratedVariation,
    new_shaper: VelocityShapers,
    encoder: ResultEncoder,
) -> Variation:
    plan, shaper = job.plan, new_shaper(generated.seed)
    new = [*map(shaper.shape, plan.new_notes(generated.events, lengthens=request.max_polyphony is None))]
    return Variation(
        midi_base64=base64.b64encode(encoder.midi(new)).decode() if "midi" in request.include else None,
        notes=encoder.notes(new) if "notes" in request.include else None,
        num_events=len(plan.kept) + len(new),
        seed=generated.seed,
        draws=generated.n_draws,
        flaw=generated.flaw if new else "silent",  # decoded, but kept notes of its pitch left it no room
        duration_seconds=plan.length_ticks / TICKS_PER_SECOND,
    )
