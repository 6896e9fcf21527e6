"""Define what travels through the pipe between the API process and a worker, in lists of messages."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias


class Start(NamedTuple):
    """Tell the worker to begin this job now; there is room for it, and its group is loaded."""

    uid: int
    job: Any


class Cancel(NamedTuple):
    """Tell the worker that nobody waits for this job any more."""

    uid: int


class Load(NamedTuple):
    """Tell the worker to load a group, beside what runs. `headers` name the trace of the request that needs it.

    `instead_of` names a group that no job uses: it is unloaded once it is known that the other one is there.
    """

    group: str
    headers: Mapping[str, str]
    instead_of: str | None = None


class Stop(NamedTuple):
    """Tell the worker to drop everything and exit."""


class Devices(NamedTuple):
    """Tell, before anything else, for which devices there are to be workers: a name for each worker.

    Only a worker that has not been told its own device looks for them; its own is the first.
    """

    names: Sequence[str]


class Ready(NamedTuple):
    """Tell, once, that the worker takes jobs.

    `info` describes what it offers, among other things its "capacity": how many rows of each loaded group it has memory
    for; and its "fallbacks": how many of its parts run in a slower way than they should.
    """

    info: Mapping[str, Any]


class Changed(NamedTuple):
    """Tell that what the worker offers has changed; `info` as in `Ready`."""

    info: Mapping[str, Any]


class SetupFailed(NamedTuple):
    """Tell that the worker can never be set up as it is configured."""

    reason: str


class Loaded(NamedTuple):
    """Tell that the group is loaded, and how long that took; `info` as in `Ready`."""

    group: str
    seconds: float
    info: Mapping[str, Any]


class NotLoaded(NamedTuple):
    """Tell that the group cannot be loaded now."""

    group: str
    status: int
    detail: str


class Unloaded(NamedTuple):
    """Tell that the group is not loaded any more; `info` as in `Ready`."""

    group: str
    info: Mapping[str, Any]


class Update(NamedTuple):
    """Tell of a part of a job's result that is there."""

    uid: int
    data: Any


class Done(NamedTuple):
    """Tell a job's result, and how much of what it took (`amounts`, for the metrics)."""

    uid: int
    result: Any
    amounts: Mapping[str, int]


class Failed(NamedTuple):
    """Tell that the job will have no result."""

    uid: int
    status: int
    detail: str


ToWorker: TypeAlias = Start | Cancel | Load | Stop
FromWorker: TypeAlias = Devices | Ready | Changed | SetupFailed | Loaded | NotLoaded | Unloaded | Update | Done | Failed
