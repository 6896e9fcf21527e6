"""Keeps one worker process alive, and is the API process's end of the pipe to it."""

import asyncio
import logging
import multiprocessing
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Final, Protocol

from serving.batching import BatchingAPI
from serving.messages import FromWorker, Ready, Stillborn, Stop, ToWorker
from serving.worker import work

logger = logging.getLogger("anticipatory")

FIRST_DELAY_SECONDS: Final = 0.25
LONGEST_DELAY_SECONDS: Final = 30.0
"""Between the deaths of workers that never became ready and the next try."""

START_SECONDS: Final = 120.0
"""How long a worker may be silent before it is ready, if a step may not be so long: imports take their time."""

STOP_SECONDS: Final = 5.0
"""How long a worker may take to exit when it is told to."""


class Listener(Protocol):
    """Who is told what the worker sends, and of its death; in the event loop."""

    def received(self, messages: Sequence[FromWorker]) -> None:
        """Messages have come from the worker."""

    def worker_died(self, reason: str) -> None:
        """What it was doing is lost. Another one is started."""


class _Worker:
    """A worker process, and this end of the pipe to it."""

    def __init__(self, api: BatchingAPI, received: Callable[["_Worker", Sequence[FromWorker]], None]) -> None:
        """`received` is told what the worker sends."""
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        self.process = context.Process(target=work, args=(api, theirs), name="worker", daemon=True)
        self.process.start()
        theirs.close()  # or the end of the pipe would never be seen
        self.gone = asyncio.Event()
        self.heard = time.monotonic()
        self.was_ready = False
        self._sender = ThreadPoolExecutor(1, "to-worker")
        reader = (asyncio.get_running_loop(), received)
        threading.Thread(target=self._read, args=reader, name="from-worker", daemon=True).start()

    def _read(
        self, loop: asyncio.AbstractEventLoop, received: Callable[["_Worker", Sequence[FromWorker]], None]
    ) -> None:
        """In a thread: a message may be large, and its sender may stop in the middle of it."""
        with suppress(RuntimeError):  # the event loop has been closed
            try:
                while True:
                    loop.call_soon_threadsafe(received, self, self._connection.recv())
            except (EOFError, OSError):
                loop.call_soon_threadsafe(self.gone.set)

    def send(self, message: ToWorker) -> None:
        """Pass a message on, in order and without waiting: a worker that hangs does not read."""
        self._sender.submit(self._send, message)

    def _send(self, message: ToWorker) -> None:
        with suppress(OSError):  # the reader sees the same, and acts on it
            self._connection.send(message)

    async def end(self, patience_seconds: float = 0) -> None:
        """Return when the process has ended; kill it if it does not by itself in time."""
        await asyncio.to_thread(self.process.join, patience_seconds)
        self.process.kill()
        await asyncio.to_thread(self.process.join)
        await asyncio.to_thread(self._sender.shutdown, cancel_futures=True)
        await self.gone.wait()
        self._connection.close()


class Supervisor:
    """One worker at a time: starts it, passes messages, replaces it when it dies or hangs."""

    def __init__(self, api: BatchingAPI, step_timeout_seconds: float, listener: Listener) -> None:
        self._api, self._step_timeout, self._listener = api, step_timeout_seconds, listener
        self._worker: _Worker | None = None
        self._stillborn: str | None = None

    async def run(self) -> str:
        """Keep a worker running until cancelled, or until one finds that it cannot be set up at all: why it cannot."""
        delay = FIRST_DELAY_SECONDS
        while True:
            worker = self._worker = _Worker(self._api, self._received)
            reason = await self._watch(worker)
            if self._stillborn is not None:
                return self._stillborn
            self._worker = None
            self._listener.worker_died(reason)
            await worker.end()
            delay = FIRST_DELAY_SECONDS if worker.was_ready else min(2 * delay, LONGEST_DELAY_SECONDS)
            code = worker.process.exitcode or 0
            how = f"signal {-code}" if code < 0 else f"exit status {code}"
            logger.error("the worker %s (%s); another one is started in %.2g s", reason, how, delay)
            await asyncio.sleep(delay)

    def send(self, message: ToWorker) -> None:
        """Pass a message to the worker."""
        if self._worker:
            self._worker.send(message)

    async def stop(self) -> None:
        """End the worker, gently if it is ready: it may have traces to export."""
        if self._worker:
            self._worker.send(Stop())
            await self._worker.end(STOP_SECONDS if self._worker.was_ready else 0)

    def _received(self, worker: _Worker, messages: Sequence[FromWorker]) -> None:
        worker.heard = time.monotonic()
        for message in messages:
            match message:
                case Ready():
                    worker.was_ready = True
                case Stillborn(reason):
                    self._stillborn = reason
        self._listener.received(messages)

    async def _watch(self, worker: _Worker) -> str:
        """Wait for the worker's end, or bring it about when it hangs; what happened."""
        while not worker.gone.is_set():
            patience = self._step_timeout if worker.was_ready else max(self._step_timeout, START_SECONDS)
            if time.monotonic() - worker.heard > patience:
                worker.process.kill()
                return f"was stuck in one step for {patience:g} s and has been killed"
            with suppress(TimeoutError):
                await asyncio.wait_for(worker.gone.wait(), 0.5)
        return "died"
