"""The processes that encode: what they make is what the service itself would make, and one that dies is replaced."""

import base64
import json
import os
import signal
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import httpx
import numpy as np
import psutil
import pytest

from amt.tokens.vocab import DURATION, NOTE, ONSET
from api import AnticipatoryAPI
from serving.batching import Report
from serving.encoders import Encoders
from tasks.body import read_body
from tasks.responses import PredictResponse
from tests.conftest import GOLDEN, Service, descendants, still_running
from worker.jobs import GeneratedVariation


class TellingAPI(AnticipatoryAPI):
    """Say in which process a result was encoded, as the span of its trace."""

    def encode_response(self, request: Any, job: Any, result: Any, info: Any, report: Report) -> PredictResponse:
        return super().encode_response(request, job, result, info, replace(report, span_id=str(os.getpid())))


API = TellingAPI({"tiny": "weights/tiny"}, "tiny", "cpu", 1, "auto")
INFO = {"device": "cpu", "default_size": "tiny", "sizes": {"tiny": {"checkpoint": "weights/tiny", "controls": True}}}
REPORT = Report("0" * 32, "0" * 16, 0.0, 0.0, 0.0)
NOTES = [{"onset": 0, "duration": 1, "pitch": 60}]
CHORALE = base64.b64encode((GOLDEN / "midi/chorale_001.mid").read_bytes()).decode()
EVENTS = np.array([[ONSET.offset + 10 * i, DURATION.offset + 8, NOTE.offset + 60 + i] for i in range(20)])


def result_of(seed: int, **body: Any) -> tuple[Any, ...]:
    """Return what there is to encode: the request of a body, its job, and what a worker might have decoded."""
    request = read_body({"seed": seed, **body})
    job = API.decode_request(request, INFO, {}, streams=False)  # type: ignore[arg-type]
    return request, job, [GeneratedVariation(EVENTS, seed, 1, None)] * len(job.sequences), INFO, REPORT


@pytest.fixture(scope="module")
def there() -> Iterator[Encoders]:
    """Return encoders with one process, which is ready."""
    encoders = Encoders(API, 1)
    encoders.start()
    by_another(encoders, *result_of(0))
    yield encoders
    encoders.close()
    assert not pids()


def by_another(encoders: Encoders, *result: Any) -> tuple[dict[str, Any], int]:
    """Return the response that another process makes, once there is one that is ready, and its id."""
    deadline = time.monotonic() + 30
    while (answer := encoded(encoders, *result))[1] == os.getpid():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return answer


def encoded(encoders: Encoders, *result: Any) -> tuple[dict[str, Any], int]:
    """Return the response, and which process made it."""
    response = json.loads(encoders.encode(*result))
    return response, int(response["metadata"].pop("span_id"))


def pids() -> set[int]:
    return {each.pid for each in psutil.Process().children() if "spawn_main" in " ".join(each.cmdline())}


BODIES: list[dict[str, Any]] = [
    {"length_seconds": 5, "chords": "C F", "bpm": 100},
    {"task": "continue", "notes": NOTES, "start_seconds": 3, "include": ["notes", "midi"], "time_unit": "beats"},
    {"task": "infill", "midi_input": CHORALE, "start_seconds": 2, "end_seconds": 4},
    {"task": "variation", "midi_input": CHORALE, "num_variations": 2, "include": ["notes"]},
]


def test_other_processes_encode_what_this_one_would(there: Encoders) -> None:
    here, (child,) = Encoders(API, 0), pids()
    for seed, body in enumerate(BODIES):
        result = result_of(seed, **body)
        expected, own = encoded(here, *result)
        assert encoded(there, *result) == (expected, child)
        assert own == os.getpid()
    request = read_body({"task": "embed", "midi_input": CHORALE, "pooling": "none"})
    job = API.decode_request(request, INFO, {}, streams=False)  # type: ignore[arg-type]
    result = request, job, [np.ones((window.num_tokens, 4)) for window in job.windows], INFO, REPORT
    assert encoded(there, *result) == (encoded(here, *result)[0], child)


def test_an_error_is_met_here_and_costs_no_process(there: Encoders) -> None:
    (request, job, result, *_), (child,) = result_of(1), pids()
    with pytest.raises(KeyError):
        there.encode(request, job, result, {}, REPORT)
    assert encoded(there, request, job, result, INFO, REPORT)[1] == child


def test_what_takes_longer_to_tell_than_to_do_is_done_here(there: Encoders) -> None:
    notes = [{"onset": index / 4, "duration": 0.2, "pitch": 60} for index in range(300)]
    start = result_of(1, task="continue", notes=notes, prime_from="start", prime_seconds=2, length_seconds=5)
    end = result_of(1, task="continue", notes=notes, prime_from="end", length_seconds=5)
    assert [encoded(there, *each)[1] == os.getpid() for each in (start, end)] == [True, False]


def test_where_no_process_can_be_started_all_is_done_here() -> None:
    class WithoutRoom(TellingAPI):
        def __getstate__(self) -> Any:
            raise OSError("no room")  # as the system does when there are too many processes

    encoders = Encoders(WithoutRoom({"tiny": "weights/tiny"}, "tiny", "cpu", 1, "auto"), 2)
    encoders.start()
    for seed in range(3):
        assert encoded(encoders, *result_of(seed))[1] == os.getpid()
    encoders.close()


def test_a_process_that_has_died_is_replaced_and_nothing_is_lost(there: Encoders) -> None:
    result = result_of(3)
    expected, first = encoded(there, *result)
    os.kill(first, signal.SIGKILL)
    assert encoded(there, *result) == (expected, os.getpid())
    again, second = by_another(there, *result)
    assert again == expected
    assert pids() == {second} != {first}


@pytest.mark.slow
def test_a_service_answers_the_same_when_what_encodes_has_died() -> None:
    service = Service("--default-model", "tiny", "--encoders", "1")
    service.wait_until_ready()

    def variations() -> Any:
        body = {"length_seconds": 5, "seed": 4}
        return httpx.post(f"{service.url}/predict", json=body, timeout=60).raise_for_status().json()["variations"]

    expected = variations()
    os.kill(service.worker, signal.SIGKILL)  # the process that was started first: not yet one that decodes
    assert variations() == expected
    assert variations() == expected
    processes = descendants(service.process.pid)
    assert service.stop() == 0
    assert "a process that encodes has died (exit status -9)" in service.output()
    assert not still_running(processes)
