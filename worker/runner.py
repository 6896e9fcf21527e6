"""Run everything in the worker, one step at a time: generations, embeds, and models that load meanwhile."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from opentelemetry.trace import Tracer

from models import ModelStore
from serving.messages import Changed, Failed, FromWorker
from worker.embedding import Embeds
from worker.generation import Explain, Generations
from worker.jobs import EmbedJob, GenerateJob
from worker.loading import Loader

IDLE_SECONDS: Final = 0.2
LOADING_SECONDS: Final = 0.01


class Runner:
    """Run jobs that share batches and join and leave between steps; see `serving.batching.BatchRunner`."""

    def __init__(self, models: ModelStore, default: str, tracer: Tracer, explain: Explain) -> None:
        """Begin to load the model that `default` stands for; `step` says when that is done."""
        self._models, self._explain = models, explain
        self._generations = Generations(models, tracer, explain)
        self._loader = Loader(models, default, self._unload, tracer, explain)
        self._embeds = Embeds(models, tracer, explain)
        self._failed: list[Failed] = []
        self._has_more_to_record = False
        self._graphs: dict[str, dict[str, Any]] = {}

    @property
    def poll_timeout(self) -> float:
        """Seconds in which nothing will happen by itself."""
        if self._generations or self._embeds or self._failed or self._has_more_to_record:
            return 0
        return LOADING_SECONDS if self._loader else IDLE_SECONDS

    def add(self, uid: int, job: GenerateJob | EmbedJob) -> None:
        """Let a job join; its model has been loaded. If that fails, `step` says so."""
        try:
            if isinstance(job, EmbedJob):
                self._embeds.add(uid, job)
            else:
                self._generations.add(uid, job)
        except Exception as error:
            self._failed.append(Failed(uid, *self._explain(error)))

    def cancel(self, uid: int) -> None:
        """Let a job leave, if it is still there."""
        self._embeds.cancel(uid)
        self._generations.cancel(uid)

    def load(self, name: str, headers: Mapping[str, str], instead_of: str | None = None) -> None:
        """Begin to load a model beside what runs; one that no job uses goes for it, if it can be had at all."""
        self._loader.load(name, headers, instead_of)

    def _unload(self, name: str) -> None:
        self._generations.unload(name)
        self._models.unload(name)

    def step(self) -> Iterator[FromWorker]:
        """Decode one event of every generation, compute one batch of embeds, and tell what has been loaded."""
        yield from self._failed
        self._failed = []
        yield from self._loader.step(self._info)
        yield from self._embeds.step(beside_generations=bool(self._generations))
        yield from self._generations.step()
        if not self._generations and not self._embeds:
            self._has_more_to_record = self._generations.record_next()
        if (graphs := self._generations.describe_graphs()) != self._graphs:
            self._graphs = graphs
            yield Changed(self._info())

    def _info(self) -> dict[str, Any]:
        return {
            "device": str(self._models.device),
            "dtype": str(self._models.dtype).removeprefix("torch."),
            "default_size": self._loader.default,
            "sizes": self._models.describe(),
            "capacity": self._generations.capacity(),
            "graphs": self._graphs,
            "fallbacks": sum(each["has_failed"] + (not each["is_fused"]) for each in self._graphs.values()),
        }
