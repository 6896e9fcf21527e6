"""Encode results in processes of their own: Python runs the code of one process on one core."""

import logging
import time
from contextlib import suppress
from multiprocessing.connection import Connection
from queue import SimpleQueue
from threading import Lock
from typing import Any, Final

from serving.batching import BatchingAPI
from serving.child import start_child
from serving.process import LOG_FORMAT, collect_seldom

logger = logging.getLogger("anticipatory")

ENCODE_SECONDS: Final = 60.0
"""A process that takes longer for a result is taken for dead."""

RESTART_SECONDS: Final = 3.0
"""Between two starts of a process in one place, or one that dies at its start would be started for each request."""


def encode(api: BatchingAPI, *result: Any) -> str:
    """Return the response that a result makes, as JSON; `result` is what `BatchingAPI.encode_response` takes."""
    return api.encode_response(*result).model_dump_json()


class Encoders:
    """Encode in another process where there is one that is ready, else in this one; from as many threads as those."""

    def __init__(self, api: BatchingAPI, count: int) -> None:
        """Take how many processes there are to be besides this one; `start` starts them."""
        self._api = api
        self._places = [_Place(api) for _ in range(count)]
        self._idle: SimpleQueue[_Place] = SimpleQueue()
        for place in self._places:
            self._idle.put(place)

    @property
    def count(self) -> int:
        """How many processes there are to be."""
        return len(self._places)

    def start(self) -> None:
        """Start the processes. They are ready after a second or two; what comes before is encoded here."""
        for place in self._places:
            place.start()

    def encode(self, request: Any, job: Any, result: Any, *others: Any) -> str:
        """Return the response that a result makes, see `encode`."""
        everything, encoded = (request, job, result, *others), None
        if self.count and self._api.is_long_to_encode(job, result):
            place = self._idle.get()
            try:
                encoded = place.encode(everything)
            finally:
                self._idle.put(place)
        return encode(self._api, *everything) if encoded is None else encoded

    def close(self) -> None:
        """End the processes; from now on everything is encoded here."""
        for place in self._places:
            place.close()


class _Place:
    """Hold a process that encodes, and start another one when it has died."""

    def __init__(self, api: BatchingAPI) -> None:
        self._api = api
        self._child: _Child | None = None
        self._not_before = 0.0
        self._is_closed = False
        self._lock = Lock()  # the place is closed while others may start a process in it

    def start(self) -> None:
        """Start a process if there is none, unless one has been started just before."""
        with self._lock:
            if self._child or self._is_closed or time.monotonic() < self._not_before:
                return
            self._not_before = time.monotonic() + RESTART_SECONDS
            try:
                self._child = _Child(self._api)
            except OSError as error:
                logger.error("there is no room for a process that encodes (%s)", error)

    def encode(self, result: tuple[Any, ...]) -> str | None:
        """Return what a result makes; None if it must be encoded here."""
        self.start()
        child = self._child
        if not child:
            return None
        try:
            return child.encode(result) if child.is_ready() else None
        except (EOFError, OSError):
            self._bury(child)
            return None

    def close(self) -> None:
        """End the process, and start no other."""
        with self._lock:
            self._is_closed = True
            if self._child:
                self._child.end()

    def _bury(self, child: "_Child") -> None:
        """End a process that does not answer, if it lives, and start another one."""
        with self._lock:
            if self._is_closed:
                return
            logger.error("a process that encodes has died (exit status %s)", child.end())
            self._child = None
        self.start()


class _Child:
    """Hold one process."""

    def __init__(self, api: BatchingAPI) -> None:
        self._process, self._connection = start_child(_run, api, name="encoder")
        self._is_ready = False

    def is_ready(self) -> bool:
        """Tell whether it has started. Raise EOFError or OSError if it has died."""
        if not self._is_ready and self._connection.poll():
            self._is_ready = self._connection.recv()
        return self._is_ready

    def encode(self, result: tuple[Any, ...]) -> str | None:
        """Return what a result makes; None if that raised an error. Raise EOFError or OSError if the process dies."""
        self._connection.send(result)
        if not self._connection.poll(ENCODE_SECONDS):
            raise TimeoutError
        encoded: str | None = self._connection.recv()
        return encoded

    def end(self) -> int | None:
        """Kill the process, if it lives; return its status, or minus the signal."""
        self._process.kill()
        self._process.join()
        return self._process.exitcode


def _run(api: BatchingAPI, connection: Connection) -> None:
    """Encode what comes until the service at the other end of the pipe has gone."""
    logging.basicConfig(level=logging.INFO, format=LOG_FORMAT)
    collect_seldom()
    with suppress(EOFError, OSError):
        connection.send(True)
        while True:
            connection.send(_encoded(api, connection.recv()))


def _encoded(api: BatchingAPI, result: tuple[Any, ...]) -> str | None:
    """Return what a result makes; None for an error, which the service meets, and explains, when it tries itself."""
    try:
        return encode(api, *result)
    except Exception:
        return None
