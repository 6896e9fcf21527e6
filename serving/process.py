"""Run the worker process: take the messages that have arrived, advance all jobs by one step, send what came of it.

What other processes of the service have in common with it is here, too.
"""

import gc
import logging
import time
from multiprocessing.connection import Connection
from typing import Final

from serving import telemetry
from serving.batching import BatchingAPI, BatchRunner
from serving.messages import Cancel, Devices, Load, SetupFailed, Start, Stop, ToWorker

logger = logging.getLogger("anticipatory")

SIGN_OF_LIFE_SECONDS: Final = 0.25
"""The worker is never silent for longer, unless a step takes longer."""

LOG_FORMAT: Final = "%(asctime)s %(levelname)s %(name)s: %(message)s"

_NEW_OBJECTS: Final = 50_000
"""How many there are before Python looks for garbage among them; its own limit is 700, or 2,000."""


def collect_seldom() -> None:
    """Let Python look for garbage seldom, and never in what has been imported, which takes 50 ms.

    A request makes thousands of notes, which are freed when it ends: what there is to be found are a few errors.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_NEW_OBJECTS)


def run_worker(api: BatchingAPI, device: str | None, connection: Connection) -> None:
    """Run jobs on a device until told to stop, or until the service at the other end of the pipe has gone.

    Without a device, find out first which devices there are to be workers for, and take the first one.
    """
    logging.basicConfig(level=logging.INFO, format=LOG_FORMAT)
    try:
        if device is None:
            devices = api.find_devices()
            connection.send([Devices(devices)])
            device = devices[0]
        api.setup(device)
    except ValueError as error:  # a setting that cannot work; anything else is worth another try
        connection.send([SetupFailed(str(error))])
        return
    try:
        sent = 0.0
        while _take_messages(api.runner, connection):
            messages = list(api.runner.step())
            if messages or time.monotonic() - sent > SIGN_OF_LIFE_SECONDS:
                connection.send(messages)
                sent = time.monotonic()
    except (EOFError, BrokenPipeError, ConnectionResetError):
        logger.warning("the service has gone, so the worker goes too")
    telemetry.finish()


def _take_messages(runner: BatchRunner, connection: Connection) -> bool:
    """Take every message that has arrived, after a wait if there are no jobs; return false when told to stop."""
    timeout = runner.poll_timeout
    while connection.poll(timeout):
        message: ToWorker = connection.recv()
        match message:
            case Start(uid, job):
                runner.add(uid, job)
            case Cancel(uid):
                runner.cancel(uid)
            case Load(group, headers, instead_of):
                runner.load(group, headers, instead_of)
            case Stop():
                return False
        timeout = 0
    return True
