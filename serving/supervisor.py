"""Keep one worker process alive, at the other end of a pipe."""

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Final, Protocol

from serving.batching import BatchingAPI
from serving.child import start_child
from serving.messages import FromWorker, Ready, SetupFailed, Stop, ToWorker
from serving.process import run_worker

logger = logging.getLogger("anticipatory")

FIRST_DELAY_SECONDS: Final = 0.25
MAX_DELAY_SECONDS: Final = 30.0
"""Between the deaths of workers that never became ready and the next try."""

START_SECONDS: Final = 120.0
"""A worker may be silent for so long before it is ready, if a step may not be so long: imports take their time."""

STOP_SECONDS: Final = 5.0
"""A worker may take so long to exit when it is told to."""

EXIT_SECONDS: Final = 1.0
"""A worker that has closed the pipe may take so long to exit by itself."""


class Listener(Protocol):
    """Take what a worker sends, and learn of its death; in the event loop."""

    def received(self, index: int, messages: Sequence[FromWorker]) -> None:
        """Take messages from the worker of that number."""

    def worker_died(self, index: int, reason: str) -> None:
        """Learn that the worker's jobs are lost. Another one is started in its place."""


class _Worker:
    """Hold a worker process, and this end of the pipe to it."""

    def __init__(
        self, api: BatchingAPI, device: str | None, received: Callable[["_Worker", Sequence[FromWorker]], None]
    ) -> None:
        """Start the process for a device; `received` is told what it sends.

        Raises:
            OSError: the system has no room for another process.
        """
        self.process, self._connection = start_child(run_worker, api, device, name="worker")
        self.gone, self._exited = asyncio.Event(), asyncio.Event()
        self.last_heard = time.monotonic()
        self.was_ready = False
        self._sender = ThreadPoolExecutor(1, "to-worker")
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self.process.sentinel, self._exited.set)
        threading.Thread(target=self._read, args=(received,), name="from-worker", daemon=True).start()

    def _read(self, received: Callable[["_Worker", Sequence[FromWorker]], None]) -> None:
        """Read until the pipe ends. In a thread: a message may be large, and its sender may stop within it."""
        try:
            while True:
                messages = self._connection.recv()
                self._loop.call_soon_threadsafe(received, self, messages)
        except (EOFError, OSError):
            pass
        finally:
            with suppress(RuntimeError):  # the event loop has been closed
                self._loop.call_soon_threadsafe(self.gone.set)

    def send(self, message: ToWorker) -> None:
        """Pass a message on, in order and without waiting: a worker that hangs does not read."""
        with suppress(RuntimeError):  # it has ended
            self._sender.submit(self._send, message)

    def _send(self, message: ToWorker) -> None:
        try:
            self._connection.send(message)
        except OSError:
            pass  # the reader sees the same, and acts on it
        except Exception:
            logger.exception("a message to the worker could not be sent")

    async def end(self, timeout_seconds: float = 0) -> None:
        """Wait for the process to end; kill it if it does not by itself in time."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._exited.wait(), timeout_seconds)
        self._loop.remove_reader(self.process.sentinel)
        self.process.kill()
        self.process.join()  # a matter of milliseconds
        self._sender.shutdown(cancel_futures=True)  # likewise: what it sends has no reader
        await self.gone.wait()
        self._connection.close()


class Supervisor:
    """Run one worker at a time: start it, pass messages, replace it when it dies or hangs.

    Attributes:
        index: the worker's number.
        device: that it runs on; None: it is to find out.
    """

    def __init__(
        self, api: BatchingAPI, index: int, device: str | None, step_timeout_seconds: float, listener: Listener
    ) -> None:
        self.index, self.device = index, device
        self._api, self._step_timeout, self._listener = api, step_timeout_seconds, listener
        self._worker: _Worker | None = None  # that takes messages
        self._last_started: _Worker | None = None
        self._was_ever_ready = False
        self._setup_failure: str | None = None

    async def run(self) -> str:
        """Keep a worker running until cancelled. Return why, if the first one finds that it cannot be set up at all."""
        delay = FIRST_DELAY_SECONDS
        while True:
            try:
                worker = self._worker = self._last_started = _Worker(self._api, self.device, self._received)
            except OSError as error:
                reason, was_ready = f"cannot be started ({error})", False
            else:
                reason = await self._end(worker)
                was_ready = worker.was_ready
            if self._setup_failure is not None:
                if not self._was_ever_ready:
                    return self._setup_failure
                reason, self._setup_failure = f"cannot be set up ({self._setup_failure})", None
            delay = FIRST_DELAY_SECONDS if was_ready else min(2 * delay, MAX_DELAY_SECONDS)
            logger.error("the worker %s; number %d is started again in %.2g s", reason, self.index, delay)
            await asyncio.sleep(delay)

    def send(self, message: ToWorker) -> None:
        """Pass a message to the worker."""
        if self._worker:
            self._worker.send(message)

    async def stop(self) -> None:
        """End the worker, gently if it is ready: it may have traces to export."""
        self.send(Stop())
        if self._last_started:
            await self._last_started.end(STOP_SECONDS if self._last_started.was_ready else 0)

    def _received(self, worker: _Worker, messages: Sequence[FromWorker]) -> None:
        if worker is not self._worker:
            return  # it comes from one that has been replaced
        worker.last_heard = time.monotonic()
        for message in messages:
            match message:
                case Ready():
                    worker.was_ready = self._was_ever_ready = True
                case SetupFailed(reason):
                    self._setup_failure = reason
        self._listener.received(self.index, messages)

    async def _end(self, worker: _Worker) -> str:
        """Wait for the worker's end, or kill it when it hangs. Return what happened."""
        gone = asyncio.ensure_future(worker.gone.wait())
        timeout = self._step_timeout
        while not gone.done() and time.monotonic() - worker.last_heard < timeout:
            await asyncio.wait({gone}, timeout=0.5)
            timeout = self._step_timeout if worker.was_ready else max(self._step_timeout, START_SECONDS)
        self._worker = None
        if not gone.done():
            reason = f"was stuck in one step for {timeout:g} s and has been killed"
            self._listener.worker_died(self.index, reason)
            await worker.end()
            return reason
        self._listener.worker_died(self.index, "died")
        await worker.end(EXIT_SECONDS)
        code = worker.process.exitcode or 0
        return f"died (signal {-code})" if code < 0 else f"died (exit status {code})"
