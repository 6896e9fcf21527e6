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
from amt.midi import codec
from amt.midi.notes import TICKS_PER_SECOND
from amt.midi.timing import Timing
from amt.midi.tracks import Tracks, find_tracks
from tasks.control import find_constraints, find_sampling_params
from tasks.fields import MAX_SEED
from tasks.requests import (
    AccompanyRequest,
    AnyMusicRequest,
    ContinueRequest,
    EditRequest,
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
        original: the input that new notes are added to, if there is one.
    """

    plan: EditPlan
    constraints: Constraints
    original: Original | None = None


def decode_request(request: AnyMusicRequest, size: str, headers: Mapping[str, str], *, streams: bool) -> GenerateJob:
    """Return what the worker must decode. Raise an `AMTError` if the MIDI or the constraints cannot be used."""
    plan, constraints, original = _plan(request)
    decoding = plan.request(sampling=find_sampling_params(request), constraints=constraints)
    seed = secrets.randbits(DRAWN_SEED_BITS) if request.seed is None else request.seed
    sequences = tuple(
        replace(decoding, seed=(seed + variation) % (MAX_SEED + 1)) for variation in range(request.num_variations)
    )
    timing = original.timing if original else Timing()
    if request.bpm is not None:
        timing = timing.with_tempo(request.bpm)
    redraws = request.on_degenerate == "retry" and not all(each.is_greedy for each in decoding.sampling)
    return GenerateJob(size, headers, streams, redraws, plan, sequences, timing, original)


def encode_response(
    request: AnyMusicRequest, job: GenerateJob, generated: Sequence[GeneratedVariation], metadata: Metadata
) -> PredictResponse:
    """Return the answer to the task."""
    new_shaper = VelocityShapers(request, job.plan)
    answer: dict[str, Any] = {
        "variations": [_encode_variation(request, job, each, new_shaper) for each in generated],
        "notices": job.original.piece.notices if job.original else [],
        "metadata": metadata.model_copy(update={"redrawn": sum(each.n_draws - 1 for each in generated)}),
    }
    match request:
        case GenerateRequest():
            return GenerateResponse(**answer)
        case ContinueRequest():
            return ContinueResponse(prime_seconds=request.prime_seconds, **answer)
        case AccompanyRequest():
            return AccompanyResponse(prime_seconds=request.prime_seconds, **answer)
        case InfillRequest():
            return InfillResponse(start_seconds=request.start_seconds, end_seconds=request.end_seconds, **answer)


def _plan(request: AnyMusicRequest) -> Planned:
    constraints = find_constraints(request)
    match request:
        case GenerateRequest():
            return Planned(from_nothing(_ticks(request.length_seconds)), constraints)
        case ContinueRequest():
            return _plan_continuation(request, constraints)
        case AccompanyRequest():
            return _plan_accompaniment(request, constraints)
        case InfillRequest():
            return _plan_infill(request, constraints)


def _plan_continuation(request: ContinueRequest, constraints: Constraints) -> Planned:
    piece = _read(request)
    prime, length = _ticks(request.prime_seconds), _ticks(request.length_seconds)
    if request.prime_from == "end":
        plan = continue_from_end(piece.notes, prime, length, piece.length_ticks)
        return Planned(plan, constraints, Original(piece))
    plan = continue_from_start(piece.notes, prime, length)
    return Planned(plan, constraints, Original(piece, until_ticks=plan.start_ticks))


def _plan_accompaniment(request: AccompanyRequest, constraints: Constraints) -> Planned:
    piece = _read(request)
    names = request.melody_instruments or (), request.melody_tracks or ()
    tracks = find_tracks(piece.score) if piece.score else Tracks([], [0] * len(piece.notes))
    melody, others = split_melody(piece.notes, tracks, *names)
    length = None if request.length_seconds is None else _ticks(request.length_seconds)
    plan = accompany(melody, others, _ticks(request.prime_seconds), length)
    balance_is_open = request.instrument_balance is None
    constraints = accompaniment_defaults(constraints, plan, melody, others, balance_is_open=balance_is_open)
    return Planned(plan, constraints, Original(piece))


def _plan_infill(request: InfillRequest, constraints: Constraints) -> Planned:
    piece = _read(request)
    rewritten = frozenset().union(*constraints.groups) if constraints.groups else None
    plan = infill(piece.notes, _ticks(request.start_seconds), _ticks(request.end_seconds), rewritten)
    balance_is_open = request.instrument_balance is None
    constraints = infill_defaults(constraints, plan, piece.notes, balance_is_open=balance_is_open)
    return Planned(plan, constraints, Original(piece))


def _read(request: EditRequest) -> codec.Piece:
    return codec.read_piece(request.midi_bytes, sustained=request.sustain == "apply")


def _ticks(seconds: float) -> int:
    return round(seconds * TICKS_PER_SECOND)


def _encode_variation(
    request: MusicRequest, job: GenerateJob, generated: GeneratedVariation, new_shaper: VelocityShapers
) -> Variation:
    plan, shaper = job.plan, new_shaper(generated.seed)
    new = [*map(shaper.shape, plan.new_notes(generated.events, lengthens=request.max_polyphony is None))]
    if job.original:
        piece, until_ticks = job.original
        data = codec.write_piece(piece, plan.kept, new, plan.length_ticks, job.timing, until_ticks)
    else:
        data = codec.write_notes(new, plan.length_ticks, job.timing)
    return Variation(
        midi_base64=base64.b64encode(data).decode(),
        num_events=len(plan.kept) + len(new),
        seed=generated.seed,
        draws=generated.n_draws,
        flaw=generated.flaw if new else "silent",  # decoded, but kept notes of its pitch left it no room
        duration_seconds=plan.length_ticks / TICKS_PER_SECOND,
    )
