"""However models come and go: a job starts only where its model is loaded, no more stay than may, and all are answered.

Workers are played by the rules of `serving.messages`: what they are told and what they tell comes in order, and late.
"""

import asyncio
import random
from collections import deque
from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any, NamedTuple

import pytest

from serving.messages import Cancel, Done, FromWorker, Load, Loaded, NotLoaded, Ready, Start, ToWorker, Unloaded
from serving.scheduler import Scheduler
from serving.telemetry import Metrics
from serving.ticket import Ticket

GROUPS = ["a", "b", "c", "d"]
ABSENT = "absent"
"""A group that no worker can load."""

ROWS_EACH = 4
"""For which a worker has memory, of every group."""


class SomeJob(NamedTuple):
    group: str
    headers: Mapping[str, str]

    def for_worker(self) -> "SomeJob":
        return self


class PlayedWorker:
    """Do what a worker does, one small thing at a time."""

    def __init__(self, rng: random.Random, max_loaded: int) -> None:
        self._rng, self._max_loaded = rng, max_loaded
        self.told: deque[ToWorker] = deque()
        self.tells: deque[FromWorker] = deque()
        self._loaded, self._running = {"a"}, dict[int, str]()
        self._searches, self._loads = dict[str, str](), list[str]()
        self.tells.append(Ready(self._info()))

    def _info(self) -> dict[str, Any]:
        return {"capacity": dict.fromkeys(sorted(self._loaded), ROWS_EACH)}

    def act(self) -> None:
        """Take a message, or finish something that has begun."""
        can = [("take", self.told), ("end", self._running), ("search", self._searches), ("load", self._loads)]
        match self._rng.choice([name for name, what in can if what] or ["nothing"]):
            case "take":
                self._take(self.told.popleft())
            case "end":
                uid = self._rng.choice(list(self._running))
                del self._running[uid]
                self.tells.append(Done(uid, None, {}))
            case "search":
                self._find(self._rng.choice(list(self._searches)))
            case "load":
                self._finish_load(self._loads.pop(0))

    def _take(self, message: ToWorker) -> None:
        match message:
            case Start(uid, job):
                assert job.group in self._loaded
                self._running[uid] = job.group
            case Cancel(uid):
                self._running.pop(uid, None)
            case Load(group, _, None):
                self._loads.append(group)
            case Load(group, _, instead_of):
                assert instead_of is not None
                self._searches[group] = instead_of

    def _find(self, group: str) -> None:
        leaving = self._searches.pop(group)
        if group == ABSENT:
            self.tells.append(NotLoaded(group, 503, "it is not there"))
            return
        assert leaving in self._loaded
        assert leaving not in self._running.values()
        self._loaded.remove(leaving)
        self._loads.append(group)
        self.tells.append(Unloaded(leaving, self._info()))

    def _finish_load(self, group: str) -> None:
        if group == ABSENT:
            self.tells.append(NotLoaded(group, 503, "it is not there"))
            return
        assert group not in self._loaded
        self._loaded.add(group)
        assert len(self._loaded) + len(self._loads) <= self._max_loaded
        self.tells.append(Loaded(group, 0.0, self._info()))


async def outcome(ticket: Ticket) -> bool:
    try:
        return [message async for message in ticket.outcome()] != []
    except Exception:
        return False


@pytest.mark.parametrize("n_workers", [1, 2])
@pytest.mark.parametrize("max_loaded", [1, 2, 3])
def test_however_models_come_and_go_all_are_answered(n_workers: int, max_loaded: int) -> None:
    async def scenario(seed: int) -> None:
        rng = random.Random(seed)
        scheduler = Scheduler(max_batch=6, max_waiting=100, metrics=Metrics("test"), max_loaded=max_loaded)
        workers = [PlayedWorker(rng, max_loaded) for _ in range(n_workers)]
        for index, worker in enumerate(workers):
            scheduler.add_worker(worker.told.append, "cpu")
            scheduler.received(index, [worker.tells.popleft()])
        asked: list[tuple[str, asyncio.Task[bool]]] = []
        with ExitStack() as admitted:
            for step in range(3_000):
                if step < 300 and rng.random() < 0.2:
                    group = rng.choice([*GROUPS, ABSENT])
                    ticket = admitted.enter_context(scheduler.admit(rng.randint(1, ROWS_EACH)))
                    scheduler.submit(ticket, SomeJob(group, {}))
                    asked.append((group, asyncio.create_task(outcome(ticket))))
                index = rng.randrange(n_workers)
                workers[index].act()
                if workers[index].tells and rng.random() < 0.5:
                    scheduler.received(index, [workers[index].tells.popleft()])
                if step % 100 == 0:
                    await asyncio.sleep(0)
            answers = await asyncio.wait_for(asyncio.gather(*(task for _, task in asked)), 1)
        assert answers == [group != ABSENT for group, _ in asked]

    for seed in range(2):
        asyncio.run(scenario(seed))
