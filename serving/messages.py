"""What travels through the pipe between the API process and its worker, in lists: several messages at a time."""

from collections.abc import Mapping
from typing import Any, NamedTuple, TypeAlias


class Start(NamedTuple):
    """To the worker: begin this work now; there is room for it, and its group is loaded."""

    uid: int
    job: Any


class Cancel(NamedTuple):
    """To the worker: nobody waits for it any more."""

    uid: int


class Load(NamedTuple):
    """To the worker: make a group ready, beside what runs. `headers` name the trace of the request that needs it."""

    group: str
    headers: Mapping[str, str]


class Stop(NamedTuple):
    """To the worker: drop everything and exit."""


class Ready(NamedTuple):
    """From the worker, once: it takes work.

    `info` describes what it offers, among other things its "capacity": how many rows of each group that is ready it has
    memory for.
    """

    info: Mapping[str, Any]


class SetupFailed(NamedTuple):
    """From the worker: it can never be set up as it is configured."""

    reason: str


class Loaded(NamedTuple):
    """From the worker: the group is ready; `info` as in `Ready`."""

    group: str
    seconds: float
    info: Mapping[str, Any]


class NotLoaded(NamedTuple):
    """From the worker: it cannot be had now."""

    group: str
    status: int
    detail: str


class Update(NamedTuple):
    """From the worker: something of a work's result is there."""

    uid: int
    data: Any


class Done(NamedTuple):
    """From the worker: a work's result, and how much of what it took (`amounts`, for the metrics)."""

    uid: int
    result: Any
    amounts: Mapping[str, int]


class Failed(NamedTuple):
    """From the worker: there will be no result."""

    uid: int
    status: int
    detail: str


ToWorker: TypeAlias = Start | Cancel | Load | Stop
FromWorker: TypeAlias = Ready | SetupFailed | Loaded | NotLoaded | Update | Done | Failed
