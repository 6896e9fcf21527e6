"""The tasks that make music: a request as work for the decoder, and what came of it as the caller wants it."""

import base64
import secrets
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from amt.arranging.defaults import accompaniment_defaults, infill_defaults
from amt.arranging.melody import split_melody
from amt.arranging.plan import EditPlan, accompany, continue_from_end, continue_from_start, from_nothing, infill
from amt.arranging.velocity import VelocityContext, VelocityShaper
from amt.decoding.constraints import Constraints
from amt.midi import codec
from amt.midi.notes import TICKS_PER_SECOND, Note
from amt.midi.timing import MILLISECONDS_PER_TICK, Timing
from amt.midi.tracks import read_tracks
from amt.tokens import events as ev
from tasks.control import find_constraints, find_sampling_params
from tasks.schemas import (
    MAX_SEED,
    AccompanyResponse,
    ContinueResponse,
    GenerateResponse,
    InfillResponse,
    Metadata,
    PredictRequest,
    PredictResponse,
    Variation,
)
from worker.jobs import GeneratedVariation, GenerateJob, Progress

DRAWN_SEED_BITS: Final = 48
"""Seeds that we draw are exact in JavaScript and other languages without integers of 64 bits."""


def decode_request(request: PredictRequest, size: str, headers: Mapping[str, str], *, streams: bool) -> GenerateJob:
    """Return what the worker must decode. Raise an `AMTError` if the MIDI or the constraints cannot be used."""
    plan, constraints, timing = _arrange(request, find_constraints(request))
    decoding = plan.request(sampling=find_sampling_params(request), constraints=constraints)
    seed = secrets.randbits(DRAWN_SEED_BITS) if request.seed is None else request.seed
    sequences = tuple(
        replace(decoding, seed=(seed + variation) % (MAX_SEED + 1)) for variation in range(request.num_variations)
    )
    if request.bpm is not None:
        timing = timing.with_tempo(request.bpm)
    redraws = request.on_degenerate == "retry" and not all(each.is_greedy for each in decoding.sampling)
    return GenerateJob(size, headers, streams, redraws, plan, sequences, timing)


class StreamEncoder:
    """Tells the caller of a stream what has been decided so far."""

    def __init__(self, request: PredictRequest, job: GenerateJob) -> None:
        self._job = job
        self._loudness = _Loudness(request, job)
        self._lengthens = request.max_polyphony is None
        self._shapers = [self._loudness.velocity_shaper(sequence.seed) for sequence in job.sequences]

    def __call__(self, update: Progress) -> Iterator[tuple[str, dict[str, Any]]]:
        """What is void as `discard` events, new notes as `note` events, and one `progress`."""
        for variation, flaw, seed in update.discarded:
            self._shapers[variation] = self._loudness.velocity_shaper(seed)
            yield "discard", {"variation": variation, "reason": flaw}
        for variation, event in update.new:
            for note in self._job.plan.new_notes(ev.from_tokens(event), lengthens=self._lengthens):
                yield "note", {"variation": variation, **_in_seconds(self._shapers[variation].shape(note))}
        decoding = self._job.sequences[0]
        yield (
            "progress",
            {
                "seconds": round(update.decided_ticks - decoding.start_ticks) / TICKS_PER_SECOND,
                "total_seconds": (decoding.end_ticks - decoding.start_ticks) / TICKS_PER_SECOND,
                "events": update.n_events,
            },
        )


def encode_response(
    request: PredictRequest, job: GenerateJob, drawn: Sequence[GeneratedVariation], metadata: Metadata
) -> PredictResponse:
    """Return the answer to the task."""
    loudness = _Loudness(request, job)
    metadata = metadata.model_copy(update={"redrawn": sum(each.n_draws - 1 for each in drawn)})
    variations = [_variation(request, job, each, loudness) for each in drawn]
    answer: dict[str, Any] = {"variations": variations, "metadata": metadata}
    match request.task:
        case "continue":
            return ContinueResponse(prime_seconds=request.own_prime_seconds, **answer)
        case "accompany":
            return AccompanyResponse(prime_seconds=request.own_prime_seconds, **answer)
        case "infill":
            start, end = request.span_seconds
            return InfillResponse(start_seconds=start, end_seconds=end, **answer)
        case _:
            return GenerateResponse(**answer)


class _Loudness:
    """Gives new notes their velocities."""

    def __init__(self, request: PredictRequest, job: GenerateJob) -> None:
        self._velocity = None if request.velocity == "auto" else request.velocity
        self._context = VelocityContext(job.plan.kept if self._velocity is None else ())

    def velocity_shaper(self, seed: int) -> VelocityShaper:
        """Of a variation."""
        return VelocityShaper(self._context, self._velocity, seed)


def _ticks(seconds: float) -> int:
    return round(seconds * TICKS_PER_SECOND)


def _arrange(request: PredictRequest, constraints: Constraints) -> tuple[EditPlan, Constraints, Timing]:
    """What a request keeps, shows to the model and asks of it, what it leaves open filled in, and the timing.

    That of the input goes as far as the input is kept.
    """
    if request.task == "generate":
        return from_nothing(_ticks(request.length_seconds)), constraints, Timing()
    notes, timing = codec.read_piece(request.midi_bytes)
    prime, length = _ticks(request.own_prime_seconds), request.own_length_seconds
    balance_is_open = "instrument_balance" not in request.model_fields_set
    match request.task:
        case "accompany":
            names = request.melody_instruments or (), request.melody_tracks or ()
            part = split_melody(notes, read_tracks(request.midi_bytes), *names)
            plan = accompany(*part, prime, None if length is None else _ticks(length))
            return plan, accompaniment_defaults(constraints, plan, *part, balance_is_open=balance_is_open), timing
        case "infill":
            rewritten = frozenset().union(*constraints.groups) if constraints.groups else None
            start, end = request.span_seconds
            plan = infill(notes, _ticks(start), _ticks(end), rewritten)
            return plan, infill_defaults(constraints, plan, notes, balance_is_open=balance_is_open), timing
        case _:
            go_on = continue_from_end if request.prime_from == "end" else continue_from_start
            plan = go_on(notes, prime, _ticks(request.length_seconds))
            return plan, constraints, timing.until(MILLISECONDS_PER_TICK * plan.start_ticks)


def _in_seconds(note: Note) -> dict[str, Any]:
    return note._asdict() | {"onset": note.onset / TICKS_PER_SECOND, "duration": note.duration / TICKS_PER_SECOND}


def _variation(request: PredictRequest, job: GenerateJob, drawn: GeneratedVariation, loudness: _Loudness) -> Variation:
    plan, velocity_shaper = job.plan, loudness.velocity_shaper(drawn.seed)
    new = plan.new_notes(drawn.events, lengthens=request.max_polyphony is None)
    notes = [*plan.kept, *map(velocity_shaper.shape, new)]
    return Variation(
        midi_base64=base64.b64encode(codec.write_notes(notes, plan.length_ticks, job.timing)).decode(),
        num_events=len(notes),
        seed=drawn.seed,
        draws=drawn.n_draws,
        flaw=drawn.flaw if new else "silent",  # decoded, but kept notes of its pitch left it no room
        duration_seconds=plan.length_ticks / TICKS_PER_SECOND,
    )
