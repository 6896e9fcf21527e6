"""Run a job on Ray Data: rounds over what is missing, until every file has ended in one way or the other.

Ray tries what a process was doing when it died again, a few times. What is then still missing is a unit with a file
that ends each process which touches it: its files are tried one by one, each with a process for itself, and what is
missing after that is a failure of that file.
"""

import logging
import math
import os
import queue
import sys
import threading
import time
import warnings
from collections.abc import Iterator, Sequence, Set
from contextlib import suppress
from dataclasses import replace
from typing import Any, Final, Self

import ray
from ray.data import ActorPoolStrategy, DataContext
from tqdm import tqdm

from amt.errors import ModelUnavailableError
from bulk import cluster
from bulk.cluster import STAGE_CPUS, Pool
from bulk.errors import BulkError, NodeLostError
from bulk.job import Settings
from bulk.ledger import Entry, Ledger
from bulk.stages import Stages
from bulk.units import Unit
from bulk.worker import Worker, find_max_rows, probe

RETRIES: Final = 2
"""How often Ray tries again what a process was doing when it died."""

STALL_SECONDS: Final = 15.0
"""After the death of a node: what its workers had may wait for room that no other node has."""

MAX_CALLS: Final = 16
"""Units that a worker has at a time."""

MAX_INIT_DEATHS: Final = 5
"""In a row, of workers that load their model."""

CRASHED: Final = Entry(
    "", 500, f"the process died or hung each of the {RETRIES + 1} times that it worked on this file alone"
)


class Bar:
    """Show how many files have ended, how many of them failed, at which rate, and the time left."""

    def __init__(self, total: int) -> None:
        interval = 0.5 if sys.stderr.isatty() else 30.0  # a log has a line for each
        self._bar = tqdm(total=total, unit=" files", smoothing=0.1, mininterval=interval)
        self._n_failed = 0

    def catch_up(self, n_done: int) -> None:
        """Begin a round in which as many files have ended already, of which some may not have been counted."""
        self._bar.initial += n_done - self._bar.n  # they are no part of the rate
        self._bar.n = n_done
        self._bar.refresh()

    def add(self, n_done: int, n_failed: int) -> None:
        """Count files that have ended."""
        self._n_failed += n_failed
        if self._n_failed:
            self._bar.set_postfix(failed=self._n_failed, refresh=False)
        self._bar.update(n_done)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._bar.close()


class Pipeline:
    """Do what a ledger says is missing."""

    def __init__(self, stages: Stages, ledger: Ledger, address: str | None, max_workers: int | None) -> None:
        self._stages, self._ledger = stages, ledger
        self._address, self._max_workers = address, max_workers
        self._crashed: set[str] = set()

    def run(self) -> None:
        """Run rounds until nothing is missing.

        Raises:
            BulkError: the model cannot be had, results cannot be written, or the cluster has gone.
        """
        missing = self._ledger.missing()
        if not missing:
            return
        with Bar(self._ledger.total) as bar:
            while missing:
                bar.catch_up(self._ledger.total - sum(len(unit.names) for unit in missing))
                with cluster.connected(self._address):
                    if not self._stages.info:
                        self._meet_model()
                    with suppress(NodeLostError):  # the next round finds room on the nodes that are left
                        self._run_round(self._choose(missing), bar)
                missing = self._ledger.missing()

    def _meet_model(self) -> None:
        """Find out which model and device workers will have; the same as before if the job goes on."""
        settings, info = find_model(self._stages.settings)
        size = info["default_size"]
        device = info["device"].partition(":")[0]
        record = {
            "model": size,
            "checkpoint": info["sizes"][size]["checkpoint"],
            "device": device,
            "dtype": info["dtype"],
        }
        self._ledger.settle("model", record)
        self._stages = replace(self._stages, settings=settings, info={**info, "device": device})

    def _choose(self, missing: Sequence[Unit]) -> list[Unit]:
        """Return the next round: whole units; when all that are left have crashed, their files one by one."""
        whole = [unit for unit in missing if not unit.is_alone and unit.key not in self._crashed]
        return whole or [each for unit in missing for each in ([unit] if unit.is_alone else unit.alone())]

    def _run_round(self, units: Sequence[Unit], bar: Bar) -> None:
        """Do these units, and find those that have crashed. Raise NodeLostError if a node's death has stopped it."""
        pool = cluster.find_pool(self._stages.info["device"], self._max_workers)
        for row in _results(_dataset(self._stages, units, pool), cluster.nodes()):
            if row["failure"]:
                raise BulkError(f"results cannot be written: {row['failure']}")
            bar.add(row["n_done"], row["n_failed"])
        done = self._ledger.done()
        for unit in units:
            if unit.key in done:
                continue
            if unit.is_alone:
                self._ledger.commit(unit, [CRASHED._replace(name=unit.names[0])], None)
                bar.add(1, 1)
            else:
                self._crashed.add(unit.key)
                self._ledger.discard(unit)


def find_model(settings: Settings) -> tuple[Settings, dict[str, Any]]:
    """Load the model in a worker; return settings that name it, and how the worker describes itself.

    Raises:
        BulkError: the model or the device cannot be had.
    """
    n_gpus = 1 if settings.device in ("auto", "cuda") and cluster.has_gpus() else 0
    task = ray.remote(num_cpus=STAGE_CPUS, num_gpus=n_gpus, max_retries=RETRIES, max_calls=1)(probe)
    try:
        info: dict[str, Any] = ray.get(task.remote(settings))
    except (ModelUnavailableError, ValueError) as error:
        raise BulkError(str(getattr(error, "cause", error))) from error
    except ray.exceptions.RayError as error:
        raise BulkError(f"no worker can load the model: {_last_line(error)}") from error
    return replace(settings, model=info["default_size"]), info


def _dataset(stages: Stages, units: Sequence[Unit], pool: Pool) -> Any:
    """Return the data set of rows that say how each unit has ended; nothing is done before it is read."""
    context = DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    context.max_errored_blocks = -1  # what processes that died have left undone is found afterwards
    context.max_consecutive_actor_init_deaths = MAX_INIT_DEATHS
    for handler in logging.getLogger("ray.data").handlers:
        if isinstance(handler, logging.StreamHandler):
            handler.setLevel(logging.CRITICAL)  # the bar is on the screen; Ray's log file has it all
    n_calls = _n_calls(stages, units)
    rows = [{"key": unit.key, "names": [os.fsencode(name) for name in unit.names]} for unit in units]
    warnings.filterwarnings("ignore", "`ray_remote_args` is deprecated")  # there is no other way to bound retries
    return (
        ray.data.from_items(rows, override_num_blocks=len(rows))
        .map(stages.prepare, num_cpus=STAGE_CPUS, max_retries=RETRIES)
        .map(
            Worker,
            fn_constructor_args=(stages.settings, pool.is_alone),
            compute=ActorPoolStrategy(
                size=min(pool.n_workers, len(units)),
                max_concurrent_calls_per_actor=n_calls,
                max_tasks_in_flight_per_actor=n_calls,
                enable_true_multi_threading=True,
            ),
            max_task_retries=RETRIES,
            **pool.resources,
        )
        .map(stages.finish, num_cpus=STAGE_CPUS, max_retries=RETRIES)
    )


def _n_calls(stages: Stages, units: Sequence[Unit]) -> int:
    """Return how many units a worker has at a time: enough for a full batch, and one more to go on with."""
    if units[0].is_alone:
        return 1
    if stages.job.task == "embed":
        return 2
    n_rows = len(units[0].names) * int(stages.job.fields.get("num_variations") or 1)
    return min(MAX_CALLS, math.ceil(find_max_rows(stages.info) / n_rows) + 1)


def _results(dataset: Any, alive: Set[str]) -> Iterator[dict[str, Any]]:
    """Yield the rows of a data set.

    Raises:
        NodeLostError: one of the nodes that were alive is not, and nothing has come for a while.
        BulkError: Ray cannot go on.
    """
    arrived: queue.SimpleQueue[dict[str, Any] | Exception | None] = queue.SimpleQueue()

    def read() -> None:
        try:
            for row in dataset.iter_rows():
                arrived.put(row)
            arrived.put(None)
        except Exception as error:
            arrived.put(error)

    threading.Thread(target=read, name="results", daemon=True).start()
    last = time.monotonic()
    while True:
        try:
            row = arrived.get(timeout=1.0)
        except queue.Empty:
            if time.monotonic() - last > STALL_SECONDS and not alive <= cluster.nodes():
                raise NodeLostError from None
            continue
        if row is None:
            return
        if isinstance(row, Exception):
            raise BulkError(f"Ray cannot go on: {_last_line(row)}") from row
        last = time.monotonic()
        yield row


def _last_line(error: Exception) -> str:
    """Return what an error says, without the stacks that Ray puts before it."""
    return (str(error).strip().splitlines() or [type(error).__name__])[-1]
