"""The worker process: takes what arrives, advances everything by one step, sends what came of it; and again."""

import logging
import time
from multiprocessing.connection import Connection

from serving import telemetry
from serving.batching import BatchingAPI, BatchRunner
from serving.messages import Cancel, Load, SetupFailed, Start, Stop, ToWorker

logger = logging.getLogger("anticipatory")

SIGN_OF_LIFE_SECONDS = 0.25
"""The worker never says nothing for longer, unless a step takes longer."""

LOG_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"


def run_worker(api: BatchingAPI, connection: Connection) -> None:
    """Serve until told to stop, or until the service at the other end of the pipe has gone."""
    logging.basicConfig(level=logging.INFO, format=LOG_FORMAT)
    try:
        api.setup("worker")
    except ValueError as error:  # a setting that cannot work; anything else is worth another try
        connection.send([SetupFailed(str(error))])
        return
    try:
        sent = 0.0
        while _take_all(api.runner, connection):
            messages = list(api.runner.step())
            if messages or time.monotonic() - sent > SIGN_OF_LIFE_SECONDS:
                connection.send(messages)
                sent = time.monotonic()
    except (EOFError, BrokenPipeError, ConnectionResetError):
        logger.warning("the service has gone, so the worker goes too")
    telemetry.finish()


def _take_all(runner: BatchRunner, connection: Connection) -> bool:
    """Take every message that has arrived, after a wait if there is nothing to do; false when told to stop."""
    patience = runner.poll_timeout
    while connection.poll(patience):
        message: ToWorker = connection.recv()
        match message:
            case Start(uid, job):
                runner.add(uid, job)
            case Cancel(uid):
                runner.cancel(uid)
            case Load(group, headers):
                runner.load(group, headers)
            case Stop():
                return False
        patience = 0
    return True
