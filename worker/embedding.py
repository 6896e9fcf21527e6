"""Run embeds: windows of about one length together, in batches that leave time for what is decoded."""

import time
from collections.abc import Iterator
from typing import Final

import torch
from opentelemetry.trace import Tracer

from amt.embedding import embed, find_depth
from amt.pooling import Pooling, Vectors
from amt.tokens.vocab import CONTEXT_TOKENS
from amt.tokens.windows import Window
from models import ModelStore
from serving.messages import Done, Failed, FromWorker
from serving.telemetry import caller_context
from worker.generation import Explain
from worker.jobs import EmbedJob

MAX_BATCH_TOKENS: Final = 65_536
MAX_CPU_BATCH_TOKENS: Final = 1_024
"""In one batch, padding included: what else runs waits for it. A CPU gains nothing from more."""

MIN_FILLED: Final = 0.75
"""The shortest window of a batch has this share of the longest one's tokens, or more: what is padded is wasted."""


class RunningEmbed:
    """Follow the windows of one job, some of which are computed at a time."""

    def __init__(self, uid: int, job: EmbedJob, depth: int) -> None:
        self.uid, self.job = uid, job
        self.kind: tuple[str, int, Pooling] = job.group, depth, job.pooling
        self.windows: list[Window] = job.windows
        # Longest first, so that those of about one length go together.
        self.left = sorted(range(len(self.windows)), key=lambda index: -self.windows[index].num_tokens)
        self._vectors: dict[int, Vectors] = {}

    def take(self, vectors: dict[int, Vectors]) -> None:
        """Take the vectors of windows that have been computed, by index."""
        self._vectors |= vectors
        self.left = [index for index in self.left if index not in vectors]

    def done(self) -> Done:
        """Return the result."""
        return Done(self.uid, [self._vectors[index] for index in range(len(self.windows))], {})


class Embeds:
    """Compute all running embeds, one batch a step."""

    def __init__(self, models: ModelStore, tracer: Tracer, explain: Explain) -> None:
        self._models, self._tracer, self._explain = models, tracer, explain
        self._running: dict[int, RunningEmbed] = {}
        self._not_before = 0.0
        self._batch_tokens = MAX_CPU_BATCH_TOKENS if models.device.type == "cpu" else MAX_BATCH_TOKENS

    def __bool__(self) -> bool:
        """Tell whether any embed runs."""
        return bool(self._running)

    def add(self, uid: int, job: EmbedJob) -> None:
        """Let an embed join; its model has been loaded. Raise LayerError if that has no such layer."""
        self._running[uid] = RunningEmbed(uid, job, find_depth(self._models.get(job.group), job.layer))

    def cancel(self, uid: int) -> None:
        """Let an embed leave, if it is still there."""
        self._running.pop(uid, None)

    def step(self, *, beside_generations: bool) -> Iterator[FromWorker]:
        """Compute one batch of windows; beside generations only half of the time.

        What is then unfinished goes to the back, so that all advance in turn.
        """
        if not self._running or (beside_generations and time.monotonic() < self._not_before):
            return
        start = time.monotonic()
        yield from self._compute(self._next_batch())
        end = time.monotonic()
        self._not_before = end + (end - start)

    def _compute(self, batch: dict[int, list[int]]) -> Iterator[FromWorker]:
        embeds = [self._running[uid] for uid in batch]
        windows = [each.windows[index] for each in embeds for index in batch[each.uid]]
        job = embeds[0].job
        try:
            with self._tracer.start_as_current_span("embed", caller_context(job.headers)):
                vectors = iter(embed(self._models.get(job.group), windows, job.layer, job.pooling))
        except torch.AcceleratorError:
            raise  # the device is lost to this process: another one is needed
        except Exception as error:
            status, detail = self._explain(error)
            if status == 503 and len(windows) > 1:  # there may be memory for fewer at a time
                self._batch_tokens = len(windows) // 2 * (1 + max(window.num_tokens for window in windows))
                return
            for each in embeds:
                del self._running[each.uid]
                yield Failed(each.uid, status, detail)
            return
        for each in embeds:
            each.take({index: next(vectors) for index in batch[each.uid]})
            del self._running[each.uid]
            if each.left:
                self._running[each.uid] = each
            else:
                yield each.done()

    def _next_batch(self) -> dict[int, list[int]]:
        """Return windows of about one length, as indices by the embed that they belong to.

        First those of the embed that is next, then of others: as many as a batch holds, and at least one.
        """
        kind = next(iter(self._running.values())).kind
        batch: dict[int, list[int]] = {}
        count, shortest, longest = 0, CONTEXT_TOKENS, 0
        for uid, each in self._running.items():
            if each.kind != kind:
                continue
            for index in each.left:
                if count and (count + 1) * longest > self._batch_tokens:
                    return batch
                n_tokens = 1 + each.windows[index].num_tokens
                least, most = min(shortest, n_tokens), max(longest, n_tokens)
                if not count or ((count + 1) * most <= self._batch_tokens and least >= MIN_FILLED * most):
                    count, shortest, longest = count + 1, least, most
                    batch.setdefault(uid, []).append(index)
        return batch
