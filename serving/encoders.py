"""Encode results in processes of their own: Python runs the code of one process on one core."""

import logging
from contextlib import suppress
from multiprocessing.connection import Connection
from queue import SimpleQueue
from typing import Any

from serving.batching import BatchingAPI
from serving.child import start_child
from serving.process import LOG_FORMAT

logger = logging.getLogger("anticipatory")


def encode(api: BatchingAPI, *result: Any) -> str:
    """Return the response that a result makes, as JSON; `result` is what `BatchingAPI.encode_response` takes."""
    return api.encode_response(*result).model_dump_json()


class Encoders:
    """Encode in whichever process is idle, called from any thread; in this one if there is no other."""

    def __init__(self, api: BatchingAPI, count: int) -> None:
        """Take how many processes there are to be besides this one; `start` starts them."""
        self._api, self.count = api, count
        self._children: list[_Child] = []
        self._idle: SimpleQueue[_Child] = SimpleQueue()
        self._is_closed = False

    def start(self) -> None:
        """Start the processes. They take a second or two to be ready, and what comes before waits for that."""
        for _ in range(self.count):
            self._idle.put(self._new_child())

    def encode(self, *result: Any) -> str:
        """Return the response that a result makes, see `encode`, when a process is idle."""
        if not self.count:
            return encode(self._api, *result)
        child, encoded = self._idle.get(), None
        try:
            encoded = child.encode(result)
        except (EOFError, OSError):
            child = self._bury(child)
        finally:
            self._idle.put(child)
        return encode(self._api, *result) if encoded is None else encoded

    def close(self) -> None:
        """End the processes."""
        self._is_closed = True
        for child in self._children:
            child.end()

    def _bury(self, child: "_Child") -> "_Child":
        """Return one that takes the place of a dead child, but when all end."""
        status = child.end()
        if self._is_closed:
            return child
        logger.error("a process that encodes has died (exit status %s): another one takes its place", status)
        self._children.remove(child)
        return self._new_child()

    def _new_child(self) -> "_Child":
        child = _Child(self._api)
        self._children.append(child)
        return child


class _Child:
    """Hold a process that encodes."""

    def __init__(self, api: BatchingAPI) -> None:
        self._process, self._connection = start_child(_run, api, name="encoder")

    def encode(self, result: tuple[Any, ...]) -> str | None:
        """Return what a result makes; None if that raised an error. Raise one if the process ends."""
        self._connection.send(result)
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
    with suppress(EOFError, OSError):
        while True:
            result = connection.recv()
            try:
                encoded = encode(api, *result)
            except Exception:  # which the service meets, and explains, when it tries for itself
                encoded = None
            connection.send(encoded)
