"""Load models in the background, beside what runs."""

import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple, TypeVar

from opentelemetry.trace import Tracer

from models import ModelStore
from serving.messages import FromWorker, Loaded, NotLoaded, Ready, Unloaded
from serving.telemetry import caller_context
from worker.generation import Explain

T = TypeVar("T")


class _Check(NamedTuple):
    """Hold the search for a model's files, what is to be unloaded once they are there, and when that began."""

    search: Future[None]
    instead_of: str
    headers: Mapping[str, str]
    start: float


class Loader:
    """Load the default model at once, and others when they are asked for, perhaps in the place of one that is loaded.

    Attributes:
        default: the name of the default model; None until it has been loaded.
    """

    def __init__(
        self, models: ModelStore, default: str, unload: Callable[[str], None], tracer: Tracer, explain: Explain
    ) -> None:
        """`unload` is called in `step`."""
        self._models, self._unload, self._tracer, self._explain = models, unload, tracer, explain
        self.default: str | None = None
        self._first: Future[str] | None = _in_background(self._begin, default)
        self._checks: dict[str, _Check] = {}
        self._loads: dict[str, Future[float]] = {}

    def __bool__(self) -> bool:
        """Tell whether anything is being loaded."""
        return bool(self._loads or self._checks or self._first)

    def _begin(self, default: str) -> str:
        name = self._models.load_default(default)
        self._models.survey()
        return name

    def load(self, name: str, headers: Mapping[str, str], instead_of: str | None) -> None:
        """Begin to load a model; if one is to be unloaded for it, only once its files are there."""
        start = time.monotonic()
        if instead_of is None:
            self._loads[name] = _in_background(self._load, name, headers, start)
        else:
            self._checks[name] = _Check(_in_background(self._models.find, name), instead_of, headers, start)

    def _load(self, name: str, headers: Mapping[str, str], start: float) -> float:
        with self._tracer.start_as_current_span("load model", caller_context(headers)):
            self._models.get(name)
        return time.monotonic() - start

    def step(self, info: Callable[[], Mapping[str, Any]]) -> Iterator[FromWorker]:
        """Yield what has been loaded, or could not be; `info` describes what the worker then offers."""
        if self._first and self._first.done():
            self.default, self._first = self._first.result(), None
            yield Ready(info())
        for name in [name for name, check in self._checks.items() if check.search.done()]:
            search, instead_of, headers, start = self._checks.pop(name)
            if error := search.exception():
                assert isinstance(error, Exception)
                yield NotLoaded(name, *self._explain(error))
                continue
            self._unload(instead_of)
            self._loads[name] = _in_background(self._load, name, headers, start)
            yield Unloaded(instead_of, info())
        for name in [name for name, load in self._loads.items() if load.done()]:
            try:
                seconds = self._loads.pop(name).result()
            except Exception as error:
                yield NotLoaded(name, *self._explain(error))
            else:
                yield Loaded(name, seconds, info())


def _in_background(function: Callable[..., T], *args: Any) -> Future[T]:
    """Call a function in a thread that ends with it.

    While it lived OpenMP would count its threads as well, find more than there are cores, and have the threads of the
    decoder sleep whenever they wait for one another: half the speed.
    """
    executor = ThreadPoolExecutor(1, "loader")
    future = executor.submit(function, *args)
    executor.shutdown(wait=False)
    return future
