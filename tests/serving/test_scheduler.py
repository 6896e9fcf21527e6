"""Which jobs are started, in which order, and what they wait for."""

import asyncio
import time
from collections.abc import Mapping
from contextlib import ExitStack
from typing import NamedTuple

import pytest
from fastapi import HTTPException

from serving.messages import Done, FromWorker, Load, Loaded, Ready, Start, ToWorker
from serving.scheduler import Scheduler
from serving.telemetry import Metrics
from serving.ticket import Ticket


class SomeJob(NamedTuple):
    group: str
    headers: Mapping[str, str]


class Bench:
    """A scheduler, and what it has sent to a worker with memory for two rows of "big" and many of "little"."""

    def __init__(self) -> None:
        self.sent: list[ToWorker] = []
        self.scheduler = Scheduler(max_batch=8, max_waiting=8, metrics=Metrics("test"))
        self.scheduler.add_worker(self.sent.append, "cpu")
        self.receive(Ready({"capacity": {"big": 2, "little": 100}}))
        self._admitted = ExitStack()

    def ask(self, group: str, rows: int) -> Ticket:
        ticket = self._admitted.enter_context(self.scheduler.admit(rows))
        self.scheduler.submit(ticket, SomeJob(group, {}))
        return ticket

    def receive(self, *messages: FromWorker) -> None:
        self.scheduler.received(0, messages)

    @property
    def started(self) -> list[int]:
        return [message.uid for message in self.sent if isinstance(message, Start)]


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
