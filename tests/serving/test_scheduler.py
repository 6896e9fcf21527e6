"""Which jobs are started, in which order, and what they wait for."""

import asyncio
import time
from collections.abc import Mapping
from contextlib import ExitStack
from typing import NamedTuple

import pytest
from fastapi import HTTPException

from serving.messages import Changed, Done, FromWorker, Load, Loaded, NotLoaded, Ready, Start, ToWorker, Unloaded
from serving.scheduler import Scheduler
from serving.telemetry import Metrics
from serving.ticket import Ticket


class SomeJob(NamedTuple):
    group: str
    headers: Mapping[str, str]

    def for_worker(self) -> "SomeJob":
        return self


class Bench:
    """A scheduler, and what it has sent to workers, each with memory for two rows of "big" and many of "little"."""

    def __init__(self, n_workers: int = 1, max_loaded: int | None = None) -> None:
        self.scheduler = Scheduler(max_batch=8, max_waiting=8, metrics=Metrics("test"), max_loaded=max_loaded)
        self.sent_to: list[list[ToWorker]] = [[] for _ in range(n_workers)]
        for index, sent in enumerate(self.sent_to):
            self.scheduler.add_worker(sent.append, "cpu")
            self.receive(Ready({"capacity": {"big": 2, "little": 100}}), worker=index)
        self._admitted = ExitStack()

    def ask(self, group: str, rows: int) -> Ticket:
        ticket = self._admitted.enter_context(self.scheduler.admit(rows))
        self.scheduler.submit(ticket, SomeJob(group, {}))
        return ticket

    def receive(self, *messages: FromWorker, worker: int = 0) -> None:
        self.scheduler.received(worker, messages)

    def load(self, group: str, worker: int) -> None:
        """Let a worker have loaded a group."""
        capacity = {**self.scheduler.workers[worker].capacity, group: 2}
        self.receive(Loaded(group, 0.0, {"capacity": capacity}), worker=worker)

    def exchange(self, old: str, new: str, worker: int = 0) -> None:
        """Let a worker have unloaded a group and loaded another in its place."""
        capacity = {**self.scheduler.workers[worker].capacity, new: 2}
        left = {group: rows for group, rows in capacity.items() if group not in (old, new)}
        self.receive(Unloaded(old, {"capacity": left}), worker=worker)
        self.receive(Loaded(new, 0.0, {"capacity": {**left, new: 2}}), worker=worker)

    @property
    def sent(self) -> list[ToWorker]:
        return self.sent_to[0]

    @property
    def started(self) -> list[int]:
        return self.started_on(0)

    def started_on(self, worker: int) -> list[int]:
        return [message.uid for message in self.sent_to[worker] if isinstance(message, Start)]

    def loads_of(self, worker: int) -> list[str]:
        return [message.group for message in self.sent_to[worker] if isinstance(message, Load)]


async def refusal(ticket: Ticket) -> HTTPException:
    with pytest.raises(HTTPException) as caught:
        async for _ in ticket.outcome():
            pass
    return caught.value


def test_no_more_run_than_there_is_memory_for() -> None:
    async def scenario() -> None:
        bench = Bench()
        first, second, third = (bench.ask("big", 1).uid for _ in range(3))
        assert bench.started == [first, second]
        bench.receive(Done(first, None, {}))
        assert bench.started == [first, second, third]

    asyncio.run(scenario())


def test_memory_is_counted_by_group() -> None:
    async def scenario() -> None:
        bench = Bench()
        asked = [bench.ask("big", 2).uid, *(bench.ask("little", 1).uid for _ in range(6))]
        assert bench.started == asked

    asyncio.run(scenario())


def test_what_there_can_never_be_memory_for_is_refused_and_holds_up_nobody() -> None:
    async def scenario() -> None:
        bench = Bench()
        running = bench.ask("big", 2)
        waiting, huge, behind = bench.ask("big", 1), bench.ask("big", 3), bench.ask("big", 1)
        bench.receive(Done(running.uid, None, {}))
        assert bench.started == [running.uid, waiting.uid, behind.uid]
        with pytest.raises(HTTPException, match="there is memory for 2 at a time of big, and 3 are asked for"):
            async for _ in huge.outcome():
                pass

    asyncio.run(scenario())


def test_waiting_for_a_group_to_load_is_told_apart_from_waiting_for_room() -> None:
    async def scenario() -> None:
        bench = Bench()
        asked = time.monotonic()
        first, second = bench.ask("new", 1), bench.ask("new", 1)
        await asyncio.sleep(0.05)
        bench.receive(Loaded("new", 0.05, {"capacity": {"new": 1}}))
        assert first.started
        assert first.load_seconds >= 0.05
        await asyncio.sleep(0.05)
        bench.receive(Done(first.uid, None, {}))
        assert second.started
        assert 0.05 <= second.load_seconds <= second.started - asked - 0.05

    asyncio.run(scenario())


def test_one_load_serves_all_who_wait_for_it_and_the_loaded_wait_for_none() -> None:
    async def scenario() -> None:
        bench = Bench()
        waiting = [bench.ask("new", 1) for _ in range(3)]
        loaded = bench.ask("little", 1)
        assert [message for message in bench.sent if isinstance(message, Load)] == [Load("new", {})]
        bench.receive(Loaded("new", 0.05, {"capacity": {"new": 100, "little": 100}}))
        assert all(ticket.load_seconds > 0 for ticket in waiting)
        assert (loaded.started is not None, loaded.load_seconds) == (True, 0)

    asyncio.run(scenario())


def test_a_job_goes_where_there_is_most_room() -> None:
    async def scenario() -> None:
        bench = Bench(2)
        five, one, two, four = (bench.ask("little", rows).uid for rows in (5, 1, 2, 4))
        assert (bench.started_on(0), bench.started_on(1)) == ([five], [one, two, four])

    asyncio.run(scenario())


def test_each_worker_has_its_own_limits() -> None:
    async def scenario() -> None:
        bench = Bench(2)
        first, second, third = (bench.ask("big", 2) for _ in range(3))
        assert (bench.started_on(0), bench.started_on(1)) == ([first.uid], [second.uid])
        bench.receive(Done(second.uid, None, {}), worker=1)
        assert bench.started_on(1) == [second.uid, third.uid]

    asyncio.run(scenario())


def test_groups_are_loaded_where_least_is_loaded_and_jobs_follow_them() -> None:
    async def scenario() -> None:
        bench = Bench(2)
        some, others = bench.ask("some", 1), bench.ask("others", 1)
        assert (bench.loads_of(0), bench.loads_of(1)) == (["some"], ["others"])
        bench.load("others", worker=1)
        bench.load("some", worker=0)
        again = bench.ask("others", 1)
        assert (bench.started_on(0), bench.started_on(1)) == ([some.uid], [others.uid, again.uid])

    asyncio.run(scenario())


def test_a_group_that_is_full_where_it_is_loaded_is_loaded_where_there_is_room() -> None:
    async def scenario() -> None:
        bench = Bench(2)
        bench.load("new", worker=0)
        bench.ask("new", 2)
        waiting = bench.ask("new", 1)
        assert bench.loads_of(1) == ["new"]
        bench.load("new", worker=1)
        assert (bench.started_on(1), waiting.load_seconds) == ([waiting.uid], 0)

    asyncio.run(scenario())


def test_a_group_that_cannot_be_loaded_elsewhere_is_not_tried_there_again() -> None:
    async def scenario() -> None:
        bench = Bench(2)
        bench.load("new", worker=0)
        running, waiting = bench.ask("new", 2), bench.ask("new", 1)
        bench.receive(NotLoaded("new", 503, "no memory"), worker=1)
        bench.ask("new", 1)
        assert bench.loads_of(1) == ["new"]
        bench.receive(Done(running.uid, None, {}))
        assert bench.started == [running.uid, waiting.uid, waiting.uid + 1]

    asyncio.run(scenario())


def test_what_came_later_does_not_overtake_where_an_earlier_one_waits() -> None:
    async def scenario() -> None:
        bench = Bench(2)
        fill = [bench.ask("little", 7), bench.ask("little", 7)]
        waiting, behind = bench.ask("big", 2), bench.ask("little", 1)
        assert behind.started is None
        bench.receive(Done(fill[1].uid, None, {}), worker=1)
        assert bench.started_on(1) == [fill[1].uid, waiting.uid, behind.uid]

    asyncio.run(scenario())


def test_what_waits_for_one_worker_does_not_hold_up_another() -> None:
    async def scenario() -> None:
        bench = Bench(2)
        bench.load("new", worker=0)
        bench.receive(NotLoaded("new", 503, "no memory"), worker=1)
        bench.ask("new", 2)
        waiting, behind = bench.ask("new", 2), bench.ask("little", 1)
        assert waiting.started is None
        assert bench.started_on(1) == [behind.uid]

    asyncio.run(scenario())


def test_a_death_loses_only_what_ran_there() -> None:
    async def scenario() -> None:
        bench = Bench(2)
        lost, kept, waiting = (bench.ask("big", 2) for _ in range(3))
        bench.scheduler.worker_died(0, "died")
        assert (await refusal(lost)).status_code == 503
        assert bench.scheduler.is_ready
        bench.receive(Done(kept.uid, "music", {}), worker=1)
        assert [message async for message in kept.outcome()] == [Done(kept.uid, "music", {})]
        assert bench.started_on(1) == [kept.uid, waiting.uid]

    asyncio.run(scenario())


def test_a_death_while_a_group_loads_is_told_to_those_who_have_no_other_worker() -> None:
    async def scenario() -> None:
        bench = Bench(2)
        bench.load("spread", worker=1)
        bench.ask("spread", 2)
        alone, spread = bench.ask("new", 1), bench.ask("spread", 1)
        assert bench.loads_of(0) == ["new", "spread"]
        bench.scheduler.worker_died(0, "died")
        assert (await refusal(alone)).status_code == 503
        assert not spread.aborted.done()

    asyncio.run(scenario())


def test_the_least_recently_used_group_goes_for_another() -> None:
    async def scenario() -> None:
        bench = Bench(max_loaded=2)
        for group in ("big", "little"):
            bench.receive(Done(bench.ask(group, 1).uid, None, {}))
        new = bench.ask("new", 1)
        assert bench.sent[-1] == Load("new", {}, instead_of="big")
        bench.exchange("big", "new")
        assert bench.started[-1] == new.uid
        bench.receive(Done(new.uid, None, {}))
        bench.ask("big", 1)
        assert bench.sent[-1] == Load("big", {}, instead_of="little")

    asyncio.run(scenario())


def test_a_group_that_goes_takes_no_more_jobs() -> None:
    async def scenario() -> None:
        bench = Bench(max_loaded=2)
        bench.ask("new", 1)
        assert bench.sent == [Load("new", {}, instead_of="big")]
        bench.receive(Changed({"capacity": {"big": 2, "little": 100}}))  # sent before the worker has been told
        assert list(bench.scheduler.workers[0].capacity) == ["little"]
        back = bench.ask("big", 1)
        assert len(bench.sent) == 1
        bench.receive(Unloaded("big", {"capacity": {"little": 100}}))
        assert bench.sent[1:] == [Load("big", {}, instead_of="little")]
        bench.receive(Unloaded("little", {"capacity": {}}))
        bench.receive(Loaded("big", 0.0, {"capacity": {"big": 2}}))
        assert bench.started == [back.uid]

    asyncio.run(scenario())


def test_what_is_busy_stays_until_it_is_idle_and_then_goes_before_what_came_later() -> None:
    async def scenario() -> None:
        bench = Bench(max_loaded=2)
        running, other = bench.ask("big", 1), bench.ask("little", 1)
        waiting, behind, beside = bench.ask("new", 1), bench.ask("big", 1), bench.ask("little", 1)
        assert bench.started == [running.uid, other.uid, beside.uid]
        assert not bench.loads_of(0)
        bench.receive(Done(running.uid, None, {}))
        assert bench.loads_of(0) == ["new"]
        bench.exchange("big", "new")
        assert bench.started[-1] == waiting.uid
        bench.receive(Done(other.uid, None, {}), Done(beside.uid, None, {}))
        assert bench.sent[-1] == Load("big", {}, instead_of="little")
        bench.exchange("little", "big")
        assert bench.started[-1] == behind.uid

    asyncio.run(scenario())


def test_a_group_that_an_earlier_request_waits_for_stays() -> None:
    async def scenario() -> None:
        bench = Bench(max_loaded=2)
        fill = bench.ask("little", 7)
        waiting, behind = bench.ask("big", 2), bench.ask("new", 1)
        assert not bench.loads_of(0)
        bench.receive(Done(fill.uid, None, {}))
        assert bench.started == [fill.uid, waiting.uid]
        assert bench.sent[-1] == Load("new", {}, instead_of="little")
        bench.exchange("little", "new")
        assert bench.started[-1] == behind.uid

    asyncio.run(scenario())


def test_a_group_whose_place_another_could_not_take_is_there_again() -> None:
    async def scenario() -> None:
        bench = Bench(max_loaded=2)
        lost = bench.ask("new", 1)
        bench.receive(NotLoaded("new", 503, "no such file"))
        assert (await refusal(lost)).status_code == 503
        assert bench.ask("big", 1).started

    asyncio.run(scenario())


def test_a_group_is_loaded_where_nothing_must_go_for_it() -> None:
    async def scenario() -> None:
        bench = Bench(2, max_loaded=3)
        bench.load("some", worker=0)
        bench.ask("new", 1)
        assert bench.sent_to == [[], [Load("new", {})]]

    asyncio.run(scenario())


def test_requests_for_more_groups_than_stay_loaded_are_all_answered() -> None:
    async def scenario() -> None:
        bench, groups = Bench(max_loaded=1), ["a", "b", "c"] * 2
        bench.receive(Ready({"capacity": {"a": 2}}))
        tickets = [bench.ask(group, 1) for group in groups]
        for _ in range(len(groups) + 1):
            worker = bench.scheduler.workers[0]
            for uid in list(worker.running):
                bench.receive(Done(uid, None, {}))
            for new, old in list(worker.loading.items()):
                assert len(worker.capacity) == 0
                bench.exchange(old or "", new)
        assert all(ticket.started for ticket in tickets)

    asyncio.run(scenario())
