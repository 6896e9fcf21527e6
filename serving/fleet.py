"""Keep all workers alive: one at first, which finds out for which devices there are to be others."""

import asyncio
from collections.abc import Sequence

from serving.batching import BatchingAPI
from serving.messages import Devices, FromWorker
from serving.scheduler import Scheduler
from serving.supervisor import Supervisor


class Fleet:
    """Run a supervisor for each worker, and let the scheduler know of each; a `Listener` of all of them."""

    def __init__(self, api: BatchingAPI, step_timeout_seconds: float, scheduler: Scheduler) -> None:
        self._api, self._step_timeout, self._scheduler = api, step_timeout_seconds, scheduler
        self._supervisors: list[Supervisor] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._add(None)

    async def run(self) -> str:
        """Keep the workers running until cancelled. Return why, if one finds that it cannot be set up at all."""
        self._failure: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._keep_running(self._supervisors[0])
        try:
            return await self._failure
        finally:
            for task in self._tasks:
                task.cancel()

    async def stop(self) -> None:
        """End all workers, gently if they are ready."""
        await asyncio.gather(*(supervisor.stop() for supervisor in self._supervisors))

    def received(self, index: int, messages: Sequence[FromWorker]) -> None:
        """Start the other workers when the first one tells for which devices; pass on what else a worker sends."""
        for message in messages:
            if isinstance(message, Devices) and not self._failure.done():
                own, *others = message.names
                self._supervisors[index].device = self._scheduler.workers[index].device = own
                for device in others:
                    self._keep_running(self._add(device))
        self._scheduler.received(index, messages)

    def worker_died(self, index: int, reason: str) -> None:
        """Pass on that a worker's jobs are lost."""
        self._scheduler.worker_died(index, reason)

    def _add(self, device: str | None) -> Supervisor:
        supervisor = Supervisor(self._api, len(self._supervisors), device, self._step_timeout, self)
        self._supervisors.append(supervisor)
        self._scheduler.add_worker(supervisor.send, device)
        return supervisor

    def _keep_running(self, supervisor: Supervisor) -> None:
        self._tasks.append(asyncio.create_task(self._supervise(supervisor)))

    async def _supervise(self, supervisor: Supervisor) -> None:
        try:
            failure = await supervisor.run()
        except Exception as error:
            if not self._failure.done():
                self._failure.set_exception(error)
        else:
            if not self._failure.done():
                self._failure.set_result(failure)
