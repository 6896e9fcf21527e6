"""Run the tasks that make music: a request becomes a job for the decoder, and its result the answer."""

import base64
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import cycle
from typing import Any, Final, NamedTuple

from amt.arranging.defaults import accompaniment_defaults, find_replaced, infill_defaults
from amt.arranging.melody import split_melody
from amt.arranging.plan import EditPlan, accompany, continue_from_end, continue_from_start, from_nothing, infill
from amt.decoding.constraints import NO_CONSTRAINTS, Constraints
from amt.decoding.request import DecodeRequest
from amt.midi.bars import Bars
from amt.midi.codec import Piece
from amt.midi.grid import Grid
from amt.midi.notes import TICKS_PER_SECOND
from amt.midi.timing import MILLISECONDS_PER_TICK, Timing
from amt.midi.tracks import Tracks, find_tracks
from tasks.control import find_constraints, find_grid, find_sampling_params
from tasks.copies import without_copies
from tasks.describing import describe_chords, describe_timing
from tasks.edit_requests import FitRequest, SpanRequest
from tasks.encoding import ResultEncoder, find_encoders
from tasks.fields import MAX_SEED
from tasks.harmony import Harmony, find_harmony
from tasks.lengths import length_ticks, prime_ticks, span_ticks
from tasks.locking import find_locked
from tasks.music_request import MusicRequest
from tasks.pieces import DEFAULT_BPM, find_timing, read_piece
from tasks.requests import (
    AccompanyRequest,
    AnyMusicRequest,
    ContinueRequest,
    GenerateRequest,
    InfillRequest,
    VariationRequest,
)
from tasks.responses import (
    AccompanyResponse,
    ContinueResponse,
    GenerateResponse,
    InfillResponse,
    Metadata,
    PredictResponse,
    Variation,
    VariationResponse,
)
from tasks.variations import Edit, plan_variations
from worker.jobs import GeneratedVariation, GenerateJob, Original

DRAWN_SEED_BITS: Final = 48
"""Seeds that we draw are exact in JavaScript and other languages without integers of 64 bits."""

TOLD_PER_WRITTEN: Final = 4
"""Notes that another process can be told of in the time that it takes to write one: 2 to 5 us of 20."""


class Planned(NamedTuple):
    """Hold what a request plans to do.

    Attributes:
        plan: what is kept of its piece, what the model sees, and where new notes go.
        constraints: the request's, with what it leaves open filled in.
        timing: how the answer counts time.
        original: the input that new notes are added to, if there is one.
        repeated: numbers that the answer repeats, by their fields.
        edits: of each variation, where they are not all alike. `plan` is then their span with all notes of the input.
    """

    plan: EditPlan
    constraints: Constraints
    timing: Timing
    original: Original | None = None
    repeated: Mapping[str, float] = {}
    edits: Sequence[Edit] = ()


def decode_request(request: AnyMusicRequest, size: str, headers: Mapping[str, str], *, streams: bool) -> GenerateJob:
    """Return what the worker must decode. Raise an `AMTError` if the MIDI or the constraints cannot be used."""
    seed = secrets.randbits(DRAWN_SEED_BITS) if request.seed is None else request.seed
    seeds = [(seed + variation) % (MAX_SEED + 1) for variation in range(request.num_variations)]
    planned = _plan(request, seeds)
    plan, timing, original = planned.plan, planned.timing, planned.original
    harmony, grid = find_harmony(request, plan, Bars(timing)), find_grid(request, plan, timing)
    decoding = _decoding(request, planned, grid, harmony)
    notices = [*(original.piece.notices if original else []), *harmony.notices]
    if request.grid and request.bpm is None and not original:
        notices.append(f"the grid is that of {DEFAULT_BPM:g} bpm, for no bpm was sent")
    return GenerateJob(
        size,
        headers,
        streams,
        redraws=_may_redraw(request, decoding[0]),
        plan=plan,
        sequences=tuple(replace(each, seed=seed) for each, seed in zip(cycle(decoding), seeds, strict=False)),
        timing=timing,
        original=original,
        grid=grid,
        key=harmony.key.name if harmony.key else None,
        chords=harmony.chords,
        notices=tuple(notices),
        repeated=planned.repeated,
        plans=tuple(each.plan for each in planned.edits),
        controlled=request.task if isinstance(request, FitRequest) else None,
    )


def _decoding(request: MusicRequest, planned: Planned, grid: Grid | None, harmony: Harmony) -> list[DecodeRequest]:
    """Return what is decoded: the same for all variations, or something else for each."""
    sampling = find_sampling_params(request)

    def steered(edit: Edit) -> Constraints:
        if not edit.plan.has_time:
            return NO_CONSTRAINTS
        return replace(edit.constraints, grid=grid, key=harmony.pitch_classes, chords=harmony.chords)

    edits = planned.edits or [Edit(planned.plan, planned.constraints)]
    return [edit.plan.request(steered(edit), sampling=sampling) for edit in edits]


def _may_redraw(request: MusicRequest, decoding: DecodeRequest) -> bool:
    """Tell whether another draw of what is flawed can be better."""
    has_choice = decoding.start_ticks < decoding.end_ticks and not all(each.is_greedy for each in decoding.sampling)
    return request.on_degenerate == "retry" and has_choice


def encode_response(
    request: AnyMusicRequest, job: GenerateJob, generated: Sequence[GeneratedVariation], metadata: Metadata
) -> PredictResponse:
    """Return the answer to the task."""
    encoders = find_encoders(request, job)
    answer: dict[str, Any] = {
        "variations": [
            _encode_variation(request, encoder, each, decoding.seed)
            for encoder, decoding, each in zip(encoders, job.sequences, generated, strict=True)
        ],
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
        case VariationRequest():
            return VariationResponse(**answer)


def is_long_to_encode(job: GenerateJob, generated: Sequence[GeneratedVariation]) -> bool:
    """Tell whether encoding a result takes longer than to tell another process of it, and of its job.

    A note that is written takes several times as long as one that is told of, and a long piece may be told of although
    little of it is kept.
    """
    n_told = len(job.original.piece.notes) if job.original else 0
    n_written = sum(len(plan.kept) for plan in job.plans or [job.plan]) + sum(len(each.events) for each in generated)
    return n_told <= TOLD_PER_WRITTEN * n_written


def _plan(request: AnyMusicRequest, seeds: Sequence[int]) -> Planned:
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
        case VariationRequest():
            return _plan_variations(request, constraints, piece, timing, seeds)


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
    constraints = without_copies(request, constraints, piece.notes, ())
    return Planned(plan, constraints, timing, Original(piece, until_ticks), repeated)


def _plan_accompaniment(request: AccompanyRequest, constraints: Constraints, piece: Piece, timing: Timing) -> Planned:
    names = request.melody_instruments or (), request.melody_tracks or ()
    tracks = find_tracks(piece.score) if piece.score else Tracks([], [0] * len(piece.notes))
    melody, others = split_melody(piece.notes, tracks, *names)
    prime = prime_ticks(request, Bars(timing), piece.notes)
    plan = accompany(melody, others, prime, length_ticks(request, Bars(timing), prime))
    balance_is_open = request.instrument_balance is None
    constraints = accompaniment_defaults(constraints, plan, melody, others, balance_is_open=balance_is_open)
    constraints = without_copies(request, constraints, piece.notes, others)
    repeated = {"prime_seconds": prime / TICKS_PER_SECOND if request.prime_bars else request.prime_seconds}
    return Planned(plan, constraints, timing, Original(piece), repeated)


def _plan_infill(request: InfillRequest, constraints: Constraints, piece: Piece, timing: Timing) -> Planned:
    rewritten = frozenset().union(*constraints.groups) if constraints.groups else None
    start, end = span_ticks(request, Bars(timing), piece.notes)
    plan = infill(piece.notes, start, end, rewritten, find_locked(request.locked, piece.notes))
    balance_is_open = request.instrument_balance is None
    constraints = infill_defaults(constraints, plan, piece.notes, balance_is_open=balance_is_open)
    constraints = without_copies(request, constraints, piece.notes, find_replaced(piece.notes, plan))
    return Planned(plan, constraints, timing, Original(piece), _repeated_span(request, start, end))


def _plan_variations(
    request: VariationRequest, constraints: Constraints, piece: Piece, timing: Timing, seeds: Sequence[int]
) -> Planned:
    start, end = span_ticks(request, Bars(timing), piece.notes)
    edits = plan_variations(request, constraints, piece.notes, timing, (start, end), seeds)
    # All notes say which key and which chords new ones keep to: they vary the music, not its harmony.
    frame = replace(edits[0].plan, start_ticks=start, end_ticks=end, kept=piece.notes)
    repeated = _repeated_span(request, start, end) | {"similarity": request.similarity}
    return Planned(frame, constraints, timing, Original(piece), repeated, edits)


def _repeated_span(request: SpanRequest, start_ticks: int, end_ticks: int) -> dict[str, float]:
    """Return where a span begins and ends in seconds, as they were sent if they were."""
    return {
        "start_seconds": start_ticks / TICKS_PER_SECOND if request.start_seconds is None else request.start_seconds,
        "end_seconds": end_ticks / TICKS_PER_SECOND if request.end_seconds is None else request.end_seconds,
    }


def _encode_variation(
    request: MusicRequest, encoder: ResultEncoder, generated: GeneratedVariation, seed: int
) -> Variation:
    """Return a variation; `seed` is that of its first draw."""
    plan, shaper = encoder.plan, encoder.new_shaper(generated.seed)
    new = [*map(shaper.shape, encoder.find_new(generated.events))]
    flaw = generated.flaw if new else "silent"  # decoded, but kept notes of its pitch left it no room
    return Variation(
        midi_base64=base64.b64encode(encoder.midi(new)).decode() if "midi" in request.include else None,
        notes=encoder.notes(new) if "notes" in request.include else None,
        num_events=len(plan.kept) + len(new),
        # The first one's seed chose what a variation keeps; it leads to the same draws again.
        seed=seed if isinstance(request, VariationRequest) else generated.seed,
        draws=generated.n_draws,
        flaw=flaw if plan.has_time else None,
        duration_seconds=plan.length_ticks / TICKS_PER_SECOND,
    )
