"""The worker's batch: generations that join and leave between events, embeds, and models that load meanwhile."""

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from statistics import mean
from typing import Any, Final, Literal, TypeVar

import numpy as np
import torch
from opentelemetry.trace import Span, Tracer

from amt.degenerate import Flaw, find_flaw
from amt.embedding import embed, find_depth
from amt.engine import Engine
from amt.excerpt import Pooling, Vectors, Window
from amt.sequence import Sequence
from amt.vocab import CONTEXT_TOKENS, EVENT_TOKENS
from jobs import Drawn, Embed, Generation, Progress
from models import LoadedModel, ModelStore, free_bytes
from schemas import ModelSize
from serving.messages import Done, Failed, FromWorker, Loaded, NotLoaded, Ready, Update
from serving.telemetry import caller_context

logger = logging.getLogger("anticipatory")

UPDATE_SECONDS: Final = 0.05
"""Between two updates of a generation, so that they do not slow it down."""

EMBED_TOKENS: Final = {"cpu": 1_024}
MOST_EMBED_TOKENS: Final = 65_536
"""In one batch of embeds, padding included: what else runs waits for it. A CPU gains nothing from more."""

LEAST_FILLED: Final = 0.75
"""The shortest window of a batch has this share of the longest one's tokens, or more: what is padded is wasted."""

CACHE_SHARE: Final = 0.5
"""Of the free memory, for keys and values: while a cache grows, its last state takes up to half as much again."""

MAX_REDRAWS: Final = 2

IDLE_SECONDS: Final = 0.2
LOADING_SECONDS: Final = 0.01

T = TypeVar("T")

Explain = Callable[[Exception], tuple[int, str]]


class _Decoding:
    """A generation that runs."""

    def __init__(self, uid: int, work: Generation, engine: Engine, span: Span) -> None:
        self.uid, self.work, self.engine, self.span = uid, work, engine, span
        self.sequences: list[Sequence] = []
        self._draws: list[list[Sequence]] = []
        self._flaws: dict[int, Flaw | None] = {}
        self._discarded: list[tuple[int, Flaw, int]] = []
        self._sent = [0] * len(work.sequences)
        self._updated = 0.0
        try:
            for request in work.sequences:
                self.sequences.append(engine.add(request))
        except Exception:
            self.leave()
            raise
        self._draws = [[sequence] for sequence in self.sequences]

    @property
    def is_done(self) -> bool:
        return len(self._flaws) == len(self.sequences)

    def leave(self) -> None:
        """Free the places of what is not finished."""
        for sequence in self.sequences:
            if not sequence.finished:
                self.engine.remove(sequence)
        self.span.end()

    def judge(self) -> None:
        """Draw again what has finished with a flaw; when nothing better comes, the first draw stays."""
        for variation, sequence in enumerate(self.sequences):
            if variation in self._flaws or not sequence.finished:
                continue
            draws = self._draws[variation]
            flaw = find_flaw(sequence.generated, sequence.request.wishes)
            if flaw and self.work.redraws:
                if len(draws) <= MAX_REDRAWS:
                    seed = _another_seed(draws[0].request.seed, len(draws))
                    draws.append(self.engine.add(replace(sequence.request, seed=seed)))
                    self._replace(variation, draws[-1], flaw)
                    continue
                self._replace(variation, draws[0], flaw)
                flaw = find_flaw(draws[0].generated, sequence.request.wishes)
            self._flaws[variation] = flaw

    def _replace(self, variation: int, sequence: Sequence, why: Flaw) -> None:
        self.sequences[variation] = sequence
        self._sent[variation] = 0
        self._discarded.append((variation, why, sequence.request.seed))

    def updates(self) -> Iterator[Update]:
        """What its client has not been told, if it is time for that."""
        now = time.monotonic()
        if not self.work.streams or (now - self._updated < UPDATE_SECONDS and not self.is_done):
            return
        self._updated = now
        new = []
        for variation, sequence in enumerate(self.sequences):
            new += [(variation, event) for event in sequence.decoded[self._sent[variation] :]]
            self._sent[variation] = sequence.n_decoded
        discarded, self._discarded = self._discarded, []
        decided = mean(map(_decided_ticks, self.sequences))
        yield Update(self.uid, Progress(discarded, new, decided, sum(self._sent)))

    def done(self) -> Done:
        """Its result."""
        n_events = sum(sequence.n_decoded for draws in self._draws for sequence in draws)
        self.span.set_attribute("anticipatory.events", n_events)
        self.span.end()
        result = [
            Drawn(sequence.generated, sequence.request.seed, len(self._draws[variation]), self._flaws[variation])
            for variation, sequence in enumerate(self.sequences)
        ]
        return Done(self.uid, result, {"events": n_events, "tokens": EVENT_TOKENS * n_events})


class _Embedding:
    """An embed that runs, some of its windows at a time."""

    def __init__(self, uid: int, work: Embed, depth: int) -> None:
        self.uid, self.work = uid, work
        self.kind: tuple[ModelSize, int, Pooling] = work.group, depth, work.pooling
        self.windows: list[Window] = work.windows
        # Longest first, so that those of about one length go together.
        self.left = sorted(range(len(self.windows)), key=lambda index: -self.windows[index].num_tokens)
        self.vectors: dict[int, Vectors] = {}

    def take(self, vectors: dict[int, Vectors]) -> None:
        """These windows' vectors have been computed."""
        self.vectors |= vectors
        self.left = [index for index in self.left if index not in vectors]

    def done(self) -> Done:
        """Its result."""
        return Done(self.uid, [self.vectors[index] for index in range(len(self.windows))], {})


class Runner:
    """Everything that runs in the worker, one step at a time; the sizes take turns."""

    def __init__(
        self, models: ModelStore, default: ModelSize | Literal["auto"], tracer: Tracer, explain: Explain
    ) -> None:
        """Begins to load the size that `default` stands for; `step` says when that is done."""
        self._models, self._tracer, self._explain = models, tracer, explain
        self._engines: dict[ModelSize, Engine] = {}
        self._decodings: dict[int, _Decoding] = {}
        self._embeds: dict[int, _Embedding] = {}
        self._no_embed_before = 0.0
        self._embed_tokens = EMBED_TOKENS.get(models.device.type, MOST_EMBED_TOKENS)
        self._failed: list[Failed] = []
        self._default: Future[ModelSize] | None = _in_background(models.default_size, default)
        self._default_size: ModelSize | None = None
        self._loads: dict[ModelSize, Future[tuple[LoadedModel, float]]] = {}

    @property
    def patience_seconds(self) -> float:
        """How long nothing will happen by itself."""
        if self._decodings or self._embeds or self._failed:
            return 0
        return LOADING_SECONDS if self._loads or self._default else IDLE_SECONDS

    def add(self, uid: int, work: Generation | Embed) -> None:
        """Let work join; its size has been loaded. If that fails, `step` says so."""
        try:
            gpt2 = self._models.get(work.group).gpt2
            if isinstance(work, Embed):
                self._embeds[uid] = _Embedding(uid, work, find_depth(gpt2, work.layer))
            else:
                engine = self._engines.setdefault(work.group, Engine(gpt2))
                span = self._tracer.start_span("generate", caller_context(work.headers))
                self._decodings[uid] = _Decoding(uid, work, engine, span)
        except Exception as error:
            self._failed.append(Failed(uid, *self._explain(error)))

    def cancel(self, uid: int) -> None:
        """Let work leave, if it is still there."""
        self._embeds.pop(uid, None)
        if decoding := self._decodings.pop(uid, None):
            decoding.leave()

    def load(self, size: ModelSize, headers: Mapping[str, str]) -> None:
        """Begin to load a size beside what runs."""
        self._loads[size] = _in_background(self._load, size, headers)

    def _load(self, size: ModelSize, headers: Mapping[str, str]) -> tuple[LoadedModel, float]:
        start = time.monotonic()
        with self._tracer.start_as_current_span("load model", caller_context(headers)):
            return self._models.get(size), time.monotonic() - start

    def step(self) -> Iterator[FromWorker]:
        """One event of every generation, one batch of embeds, and what the loader has finished."""
        yield from self._failed
        self._failed = []
        yield from self._take_loaded()
        if self._embeds and not (self._decodings and time.monotonic() < self._no_embed_before):
            yield from self._embed()
        for size, engine in list(self._engines.items()):
            if not engine.is_idle:
                yield from self._decode(size, engine)

    def _take_loaded(self) -> Iterator[FromWorker]:
        if self._default and self._default.done():
            self._default_size, self._default = self._default.result(), None
            yield Ready(self._info())
        for size in [size for size, load in self._loads.items() if load.done()]:
            try:
                _, seconds = self._loads.pop(size).result()
                yield Loaded(size, seconds, self._info())
            except Exception as error:
                yield NotLoaded(size, *self._explain(error))

    def _info(self) -> dict[str, Any]:
        return {
            "device": str(self._models.device),
            "dtype": str(self._models.dtype).removeprefix("torch."),
            "default_size": self._default_size,
            "sizes": self._models.describe(),
            "capacity": self._capacity(),
        }

    def _capacity(self) -> dict[ModelSize, int]:
        """Of each size that is loaded: for how many sequences there is memory, if all sizes take as much."""
        loaded = self._models.loaded
        held = sum(engine.cache_bytes for engine in self._engines.values())
        share = CACHE_SHARE * (free_bytes(self._models.device) + held) / max(len(loaded), 1)
        return {size: int(share // model.gpt2.row_bytes) for size, model in loaded.items()}

    def _embed(self) -> Iterator[FromWorker]:
        """One batch of windows. What is then unfinished goes to the back, so that all advance in turn."""
        start = time.monotonic()
        batch = self._next_batch()
        chosen = [self._embeds[uid] for uid in batch]
        windows = [each.windows[index] for each in chosen for index in batch[each.uid]]
        work = chosen[0].work
        try:
            with self._tracer.start_as_current_span("embed", caller_context(work.headers)):
                vectors = iter(embed(self._models.get(work.group).gpt2, windows, work.layer, work.pooling))
        except torch.AcceleratorError:
            raise  # see _decode
        except Exception as error:
            status, detail = self._explain(error)
            if status == 503 and len(windows) > 1:  # there may be memory for fewer at a time
                self._embed_tokens = len(windows) // 2 * (1 + max(window.num_tokens for window in windows))
                return
            for each in chosen:
                del self._embeds[each.uid]
                yield Failed(each.uid, status, detail)
        else:
            for each in chosen:
                each.take({index: next(vectors) for index in batch[each.uid]})
                del self._embeds[each.uid]
                if each.left:
                    self._embeds[each.uid] = each
                else:
                    yield each.done()
        end = time.monotonic()
        self._no_embed_before = end + (end - start)  # half of the time is for what is decoded

    def _next_batch(self) -> dict[int, list[int]]:
        """Windows of about one length, by the embed that they belong to: first of that which is next, then of others.

        As many as a batch holds, and at least one.
        """
        kind = next(iter(self._embeds.values())).kind
        batch: dict[int, list[int]] = {}
        count, shortest, longest = 0, CONTEXT_TOKENS, 0
        for uid, each in self._embeds.items():
            if each.kind != kind:
                continue
            for index in each.left:
                if count and (count + 1) * longest > self._embed_tokens:
                    return batch
                n_tokens = 1 + each.windows[index].num_tokens
                least, most = min(shortest, n_tokens), max(longest, n_tokens)
                if not count or ((count + 1) * most <= self._embed_tokens and least >= LEAST_FILLED * most):
                    count, shortest, longest = count + 1, least, most
                    batch.setdefault(uid, []).append(index)
        return batch

    def _decode(self, size: ModelSize, engine: Engine) -> Iterator[FromWorker]:
        decodings = [decoding for decoding in self._decodings.values() if decoding.engine is engine]
        try:
            engine.step()
        except torch.AcceleratorError:
            raise  # the device is lost to this process: another one is needed
        except Exception as error:
            status, detail = self._explain(error)
            if status == 503:  # without memory for all, the last one to come must go
                self.cancel(decodings[-1].uid)
                yield Failed(decodings[-1].uid, status, detail)
                return
            logger.exception("a step of size %s failed", size)
            del self._engines[size]  # nobody knows in what state it is, nor whose fault that is
            for decoding in decodings:
                self._decodings.pop(decoding.uid).span.end()
                yield Failed(decoding.uid, status, detail)
            return
        for decoding in decodings:
            try:
                decoding.judge()
            except Exception as error:
                self.cancel(decoding.uid)
                yield Failed(decoding.uid, *self._explain(error))
                continue
            yield from decoding.updates()
            if decoding.is_done:
                del self._decodings[decoding.uid]
                yield decoding.done()


def _in_background(function: Callable[..., T], *args: Any) -> Future[T]:
    """Call it in a thread that ends with it.

    While it lived OpenMP would count its threads as well, find more than there are cores, and have the threads of the
    decoder sleep whenever they wait for one another: half the speed.
    """
    executor = ThreadPoolExecutor(1, "loader")
    future = executor.submit(function, *args)
    executor.shutdown(wait=False)
    return future


def _another_seed(seed: int, n_draws: int) -> int:
    """For one more draw; of 48 bits, like those that the service draws itself."""
    return int(np.random.SeedSequence([seed, n_draws]).generate_state(1, np.uint64)[0]) >> 16


def _decided_ticks(sequence: Sequence) -> int:
    return sequence.request.end_ticks if sequence.finished else sequence.current_ticks
