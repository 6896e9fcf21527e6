"""The worker process: takes what arrives, advances everything by one step, sends what came of it; and again."""

import logging
import signal
import time
from multiprocessing.connection import Connection

from serving.batching import BatchingAPI
from serving.messages import Cancel, Load, Start, Stillborn, Stop, ToWorker

logger = logging.getLogger("anticipatory")

SIGN_OF_LIFE_SECONDS = 0.25
"""The worker never says nothing for longer, unless a step takes longer."""

LOG_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"


def work(api: BatchingAPI, connection: Connection) -> None:
    """Serve until told to stop, or until the service at the other end of the pipe has gone.

    Signals are left to the API process: Ctrl-C and some supervisors send them to every process.
    """
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, signal.SIG_IGN)
    logging.basicConfig(level=logging.INFO, format=LOG_FORMAT)
    try:
        api.setup("worker")
    except ValueError as error:  # a setting that cannot work; anything else is worth another try
        connection.send([Stillborn(str(error))])
        return
    try:
        sent = 0.0
        while _take_all(api, connection):
            messages = list(api.step())
            if messages or time.monotonic() - sent > SIGN_OF_LIFE_SECONDS:
                connection.send(messages)
                sent = time.monotonic()
    except (EOFError, BrokenPipeError, ConnectionResetError):
        logger.warning("the service has gone, so the worker goes too")


def _take_all(api: BatchingAPI, connection: Connection) -> bool:
    """Take every message that has arrived, after a wait if there is nothing to do; false when told to stop."""
    patience = api.patience_seconds
    while connection.poll(patience):
        message: ToWorker = connection.recv()
        match message:
            case Start(uid, work):
                api.add_request(uid, work)
            case Cancel(uid):
                api.cancel_request(uid)
            case Load(group, headers):
                api.load(group, headers)
            case Stop():
                return False
        patience = 0
    return True
