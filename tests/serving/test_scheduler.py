import asyncio
from collections.abc import Mapping
from contextlib import ExitStack
from typing import NamedTuple

import pytest
from fastapi import HTTPException

from serving.messages import Done, Ready, Start, ToWorker
from serving.scheduler import Scheduler, Ticket
from serving.telemetry import Metrics


class SomeWork(NamedTuple):
    group: str
    headers: Mapping[str, str]


class Desk:
    """A scheduler, and what it has sent to a worker with memory for two rows of "big" and many of "little"."""

    def __init__(self) -> None:
        self.sent: list[ToWorker] = []
        self.scheduler = Scheduler(max_batch=8, max_waiting=8, metrics=Metrics("test"))
        self.scheduler.connect(self.sent.append)
        self.scheduler.received([Ready({"capacity": {"big": 2, "little": 100}})])
        self._places = ExitStack()

    def ask(self, group: str, rows: int) -> Ticket:
        ticket = self._places.enter_context(self.scheduler.place(rows))
        self.scheduler.submit(ticket, SomeWork(group, {}))
        return ticket

    @property
    def started(self) -> list[int]:
        return [message.uid for message in self.sent if isinstance(message, Start)]


def test_no_more_run_than_there_is_memory_for() -> None:
    async def scenario() -> None:
        desk = Desk()
        first, second, third = (desk.ask("big", 1).uid for _ in range(3))
        assert desk.started == [first, second]
        desk.scheduler.received([Done(first, None, {})])
        assert desk.started == [first, second, third]

    asyncio.run(scenario())


def test_memory_is_counted_by_group() -> None:
    async def scenario() -> None:
        desk = Desk()
        asked = [desk.ask("big", 2).uid, *(desk.ask("little", 1).uid for _ in range(6))]
        assert desk.started == asked

    asyncio.run(scenario())


def test_what_there_can_never_be_memory_for_is_refused_and_holds_up_nobody() -> None:
    async def scenario() -> None:
        desk = Desk()
        running = desk.ask("big", 2)
        waiting, huge, behind = desk.ask("big", 1), desk.ask("big", 3), desk.ask("big", 1)
        desk.scheduler.received([Done(running.uid, None, {})])
        assert desk.started == [running.uid, waiting.uid, behind.uid]
        with pytest.raises(HTTPException, match="there is memory for 2 at a time of big, and 3 are asked for"):
            async for _ in huge.outcome():
                pass

    asyncio.run(scenario())
