"""Run generations: decode their sequences in one batch a model, redraw flawed ones, tell of progress."""

import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from statistics import mean
from typing import Any, Final

import numpy as np
import torch
from opentelemetry.trace import Span, Tracer

from amt.decoding.degenerate import Flaw, find_flaw
from amt.decoding.engine import Engine
from amt.decoding.sequence import Sequence
from amt.errors import ControlsError
from amt.tokens.vocab import EVENT_TOKENS
from models import ModelStore
from serving.messages import Done, Failed, FromWorker, Update
from serving.telemetry import caller_context
from worker.jobs import GeneratedVariation, GenerateJob, Progress

logger = logging.getLogger("anticipatory")

UPDATE_SECONDS: Final = 0.05
"""Between two updates of a generation, so that they do not slow it down."""

MAX_REDRAWS: Final = 2

CACHE_SHARE: Final = 0.5
"""Of the free memory, for keys and values: while a cache grows, its last state takes up to half as much again."""

Explain = Callable[[Exception], tuple[int, str]]
"""An error -> (HTTP status, detail)."""


class RunningGeneration:
    """Follow the sequences of one job, a sequence for each variation, and their redraws."""

    def __init__(self, uid: int, job: GenerateJob, engine: Engine, variety: float | None, span: Span) -> None:
        """Let all sequences join the engine, or none if one raises; `variety`: what the model asks for."""
        self.uid, self.job, self.engine, self.span = uid, job, engine, span
        self.sequences: list[Sequence] = []
        self._draws: list[list[Sequence]] = []
        self._flaws: dict[int, Flaw | None] = {}
        self._discarded: list[tuple[int, Flaw, int]] = []
        self._n_sent = [0] * len(job.sequences)
        self._updated = 0.0
        try:
            for request in job.sequences:
                constraints = request.constraints.for_model(variety)
                self.sequences.append(engine.add(replace(request, constraints=constraints)))
        except Exception:
            self.leave()
            raise
        self._draws = [[sequence] for sequence in self.sequences]

    @property
    def is_done(self) -> bool:
        """Whether every variation has its final result."""
        return len(self._flaws) == len(self.sequences)

    def leave(self) -> None:
        """Free the places of what is not finished."""
        for sequence in self.sequences:
            if not sequence.finished:
                self.engine.remove(sequence)
        self.span.end()

    def redraw_flawed(self) -> None:
        """Draw again what has finished with a flaw; if nothing better comes, the first draw stays."""
        for variation, sequence in enumerate(self.sequences):
            if variation in self._flaws or not sequence.finished:
                continue
            draws = self._draws[variation]
            flaw = find_flaw(sequence.generated, sequence.request.constraints)
            if flaw and self.job.redraws:
                if len(draws) <= MAX_REDRAWS:
                    seed = _redraw_seed(draws[0].request.seed, len(draws))
                    draws.append(self.engine.add(replace(sequence.request, seed=seed)))
                    self._replace(variation, draws[-1], flaw)
                    continue
                self._replace(variation, draws[0], flaw)
                flaw = find_flaw(draws[0].generated, sequence.request.constraints)
            self._flaws[variation] = flaw

    def _replace(self, variation: int, sequence: Sequence, reason: Flaw) -> None:
        self.sequences[variation] = sequence
        self._n_sent[variation] = 0
        self._discarded.append((variation, reason, sequence.request.seed))

    def updates(self) -> Iterator[Update]:
        """Yield what its client has not been told, if it is time for that."""
        now = time.monotonic()
        if not self.job.streams or (now - self._updated < UPDATE_SECONDS and not self.is_done):
            return
        self._updated = now
        new = []
        for variation, sequence in enumerate(self.sequences):
            new += [(variation, event) for event in sequence.decoded[self._n_sent[variation] :]]
            self._n_sent[variation] = sequence.n_decoded
        discarded, self._discarded = self._discarded, []
        decided = mean(map(_decided_ticks, self.sequences))
        yield Update(self.uid, Progress(discarded, new, decided, sum(self._n_sent)))

    def done(self) -> Done:
        """Return the result."""
        n_events = sum(sequence.n_decoded for draws in self._draws for sequence in draws)
        self.span.set_attribute("anticipatory.events", n_events)
        self.span.end()
        result = [
            GeneratedVariation(
                events=sequence.generated,
                seed=sequence.request.seed,
                n_draws=len(self._draws[variation]),
                flaw=self._flaws[variation],
            )
            for variation, sequence in enumerate(self.sequences)
        ]
        return Done(self.uid, result, {"events": n_events, "tokens": EVENT_TOKENS * n_events})


class Generations:
    """Decode all running generations, those of each model together."""

    def __init__(self, models: ModelStore, tracer: Tracer, explain: Explain) -> None:
        self._models, self._tracer, self._explain = models, tracer, explain
        self._engines: dict[str, Engine] = {}
        self._running: dict[int, RunningGeneration] = {}

    def __bool__(self) -> bool:
        """Tell whether any generation runs."""
        return bool(self._running)

    def capacity(self) -> dict[str, int]:
        """Return for how many sequences of each loaded model there is memory, if all models take as much."""
        loaded = self._models.loaded
        held = sum(engine.cache_bytes for engine in self._engines.values())
        share = CACHE_SHARE * (self._models.free_bytes + held) / max(len(loaded), 1)
        return {name: int(share // model.row_bytes) for name, model in loaded.items()}

    def unload(self, name: str) -> None:
        """Forget a model's keys and values; none of its sequences run."""
        self._engines.pop(name, None)

    def _engine(self, name: str) -> Engine:
        if name not in self._engines:
            self._engines[name] = Engine(self._models.get(name), max_rows=self.capacity()[name])
        return self._engines[name]

    def describe_graphs(self) -> dict[str, dict[str, Any]]:
        """Say of each model whose steps are recorded how many kinds are, if that has failed, and if it is fused."""
        return {
            name: {
                "recorded": len(engine.graphs.recordings),
                "has_failed": engine.graphs.has_failed,
                "is_fused": engine.model.is_fused,
            }
            for name, engine in self._engines.items()
            if engine.graphs
        }

    def record_next(self) -> bool:
        """Record a kind of step ahead of its first use, where steps are recorded; return whether more are missing."""
        return any(self._engine(name).record_next() for name in self._models.loaded)

    def add(self, uid: int, job: GenerateJob) -> None:
        """Let a generation join; its model has been loaded.

        Raises:
            ControlsError: it tells the model notes ahead, and that was trained without any.
            SequenceError: it cannot be decoded.
            RuntimeError: there is no memory for it.
        """
        if job.controlled and not self._models.has_controls(job.group):
            raise ControlsError(job.group, job.controlled)
        engine = self._engine(job.group)
        span = self._tracer.start_span("generate", caller_context(job.headers))
        self._running[uid] = RunningGeneration(uid, job, engine, self._models.variety(job.group), span)

    def cancel(self, uid: int) -> None:
        """Let a generation leave, if it is still there."""
        if generation := self._running.pop(uid, None):
            generation.leave()

    def step(self) -> Iterator[FromWorker]:
        """Decode one event of every generation; the models take turns."""
        for name, engine in list(self._engines.items()):
            if not engine.is_idle:
                yield from self._step(name, engine)

    def _step(self, name: str, engine: Engine) -> Iterator[FromWorker]:
        generations = [generation for generation in self._running.values() if generation.engine is engine]
        try:
            engine.step()
        except torch.AcceleratorError:
            raise  # the device is lost to this process: another one is needed
        except Exception as error:
            yield from self._fail(name, generations, error)
            return
        for generation in generations:
            try:
                generation.redraw_flawed()
            except Exception as error:
                self.cancel(generation.uid)
                yield Failed(generation.uid, *self._explain(error))
                continue
            yield from generation.updates()
            if generation.is_done:
                del self._running[generation.uid]
                yield generation.done()

    def _fail(self, name: str, generations: list[RunningGeneration], error: Exception) -> Iterator[Failed]:
        """Fail the last generation to come if memory is short, else all that share the engine."""
        status, detail = self._explain(error)
        if status == 503:
            self.cancel(generations[-1].uid)
            yield Failed(generations[-1].uid, status, detail)
            return
        logger.error("a step of model %s failed", name, exc_info=error)
        del self._engines[name]  # nobody knows in what state it is, nor whose fault that is
        for generation in generations:
            self._running.pop(generation.uid).span.end()
            yield Failed(generation.uid, status, detail)


def _redraw_seed(seed: int, n_draws: int) -> int:
    """Return the seed of one more draw, of 48 bits like those that the service draws itself."""
    return int(np.random.SeedSequence([seed, n_draws]).generate_state(1, np.uint64)[0]) >> 16


def _decided_ticks(sequence: Sequence) -> int:
    return sequence.request.end_ticks if sequence.finished else sequence.current_ticks
