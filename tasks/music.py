"""The tasks that make music: a request as work for the decoder, and what came of it as the caller wants it."""

import base64
import secrets
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from amt import events as ev
from amt import midi
from amt.arrangement import Arrangement, accompany, continue_from_end, continue_from_start, from_nothing, infill
from amt.dynamics import Dynamics, Surroundings
from amt.ensemble import to_accompany, to_fill_in
from amt.events import Note
from amt.part import take_part
from amt.timing import MILLISECONDS_PER_TICK, Timing
from amt.tracks import read_tracks
from amt.vocab import TICKS_PER_SECOND
from amt.wishes import Wishes
from jobs import Drawn, Generation, Progress
from schemas import (
    MAX_SEED,
    AccompanyResponse,
    ContinueResponse,
    GenerateResponse,
    InfillResponse,
    Metadata,
    ModelSize,
    PredictRequest,
    PredictResponse,
    Variation,
)
from wishing import find_sampling, find_wishes

DRAWN_SEED_BITS: Final = 48
"""Seeds that we draw are exact in JavaScript and other languages without integers of 64 bits."""


def compose(request: PredictRequest, size: ModelSize, headers: Mapping[str, str], *, streams: bool) -> Generation:
    """What the worker has to decode. Raises an `AMTError` if the MIDI or the wishes cannot be used."""
    arrangement, wishes, timing = _arrange(request, find_wishes(request))
    decoding = arrangement.request(sampling=find_sampling(request), wishes=wishes)
    seed = secrets.randbits(DRAWN_SEED_BITS) if request.seed is None else request.seed
    sequences = tuple(
        replace(decoding, seed=(seed + variation) % (MAX_SEED + 1)) for variation in range(request.num_variations)
    )
    if request.bpm is not None:
        timing = timing.with_tempo(request.bpm)
    redraws = request.on_degenerate == "retry" and not all(each.is_greedy for each in decoding.sampling)
    return Generation(size, headers, streams, redraws, arrangement, sequences, timing)


class Narrator:
    """Tells the caller of a stream what has been decided so far."""

    def __init__(self, request: PredictRequest, work: Generation) -> None:
        self._work = work
        self._loudness = _Loudness(request, work)
        self._lengthens = request.max_polyphony is None
        self._dynamics = [self._loudness.dynamics(sequence.seed) for sequence in work.sequences]

    def __call__(self, update: Progress) -> Iterator[tuple[str, dict[str, Any]]]:
        """What is void as `discard` events, new notes as `note` events, and one `progress`."""
        for variation, flaw, seed in update.discarded:
            self._dynamics[variation] = self._loudness.dynamics(seed)
            yield "discard", {"variation": variation, "reason": flaw}
        for variation, event in update.new:
            for note in self._work.arrangement.new_notes(ev.from_tokens(event), lengthens=self._lengthens):
                yield "note", {"variation": variation, **_in_seconds(self._dynamics[variation].shape(note))}
        decoding = self._work.sequences[0]
        yield (
            "progress",
            {
                "seconds": round(update.decided_ticks - decoding.start_ticks) / TICKS_PER_SECOND,
                "total_seconds": (decoding.end_ticks - decoding.start_ticks) / TICKS_PER_SECOND,
                "events": update.n_events,
            },
        )


def present(request: PredictRequest, work: Generation, drawn: Sequence[Drawn], metadata: Metadata) -> PredictResponse:
    """The answer to the task."""
    loudness = _Loudness(request, work)
    metadata = metadata.model_copy(update={"redrawn": sum(each.n_draws - 1 for each in drawn)})
    variations = [_variation(request, work, each, loudness) for each in drawn]
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

    def __init__(self, request: PredictRequest, work: Generation) -> None:
        self._velocity = None if request.velocity == "auto" else request.velocity
        self._surroundings = Surroundings(work.arrangement.kept if self._velocity is None else ())

    def dynamics(self, seed: int) -> Dynamics:
        """Of a variation."""
        return Dynamics(self._surroundings, self._velocity, seed)


def _ticks(seconds: float) -> int:
    return round(seconds * TICKS_PER_SECOND)


def _arrange(request: PredictRequest, wishes: Wishes) -> tuple[Arrangement, Wishes, Timing]:
    """What a request keeps, shows to the model and asks of it, what it leaves open filled in, and the timing.

    That of the input goes as far as the input is kept.
    """
    if request.task == "generate":
        return from_nothing(_ticks(request.length_seconds)), wishes, Timing()
    notes, timing = midi.read_piece(request.midi_bytes)
    prime, length = _ticks(request.own_prime_seconds), request.own_length_seconds
    balance_is_open = "instrument_balance" not in request.model_fields_set
    match request.task:
        case "accompany":
            names = request.melody_instruments or (), request.melody_tracks or ()
            part = take_part(notes, read_tracks(request.midi_bytes), *names)
            arrangement = accompany(*part, prime, None if length is None else _ticks(length))
            return arrangement, to_accompany(wishes, arrangement, *part, balance_is_open=balance_is_open), timing
        case "infill":
            rewritten = frozenset().union(*wishes.groups) if wishes.groups else None
            start, end = request.span_seconds
            arrangement = infill(notes, _ticks(start), _ticks(end), rewritten)
            return arrangement, to_fill_in(wishes, arrangement, notes, balance_is_open=balance_is_open), timing
        case _:
            go_on = continue_from_end if request.prime_from == "end" else continue_from_start
            arrangement = go_on(notes, prime, _ticks(request.length_seconds))
            return arrangement, wishes, timing.until(MILLISECONDS_PER_TICK * arrangement.start_ticks)


def _in_seconds(note: Note) -> dict[str, Any]:
    return note._asdict() | {"onset": note.onset / TICKS_PER_SECOND, "duration": note.duration / TICKS_PER_SECOND}


def _variation(request: PredictRequest, work: Generation, drawn: Drawn, loudness: _Loudness) -> Variation:
    arrangement, dynamics = work.arrangement, loudness.dynamics(drawn.seed)
    new = arrangement.new_notes(drawn.events, lengthens=request.max_polyphony is None)
    notes = [*arrangement.kept, *map(dynamics.shape, new)]
    return Variation(
        midi_base64=base64.b64encode(midi.write_notes(notes, arrangement.length_ticks, work.timing)).decode(),
        num_events=len(notes),
        seed=drawn.seed,
        draws=drawn.n_draws,
        flaw=drawn.flaw if new else "silent",  # decoded, but kept notes of its pitch left it no room
        duration_seconds=arrangement.length_ticks / TICKS_PER_SECOND,
    )
