"""What must hold with several workers: real services with two of them, real signals."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from tests.conftest import GOLDEN, Service, descendants, still_running

Start = Callable[..., Service]

pytestmark = pytest.mark.slow  # each starts a service with two workers

FULL = {"length_seconds": 120, "num_variations": 5}
"""Takes all places of one worker, and long."""

PIECE = {"length_seconds": 30, "seed": 7}

TWO = ("--default-model", "tiny", "--workers-per-device", "2", "--max-batch", "5")
RANDOM = ("--model-small", str(GOLDEN / "model"), "--model-medium", str(GOLDEN / "model"))

DEATHS, EVENTS, ROWS = "anticipatory_worker_deaths_total", "anticipatory_events_total", "anticipatory_batch_rows"


def of_worker(metric: str, index: int) -> str:
    return f"{metric}{{worker={index}}}"


def workers(service: Service) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = httpx.get(f"{service.url}/info").json()["workers"]
    return found


def wait_for_both(service: Service) -> None:
    service.wait_until_ready()
    deadline = time.monotonic() + 60
    while not (len(found := workers(service)) == 2 and all(each["ready"] for each in found)):
        assert time.monotonic() < deadline, found
        time.sleep(0.05)


def post(service: Service, **body: Any) -> httpx.Response:
    return httpx.post(f"{service.url}/predict", json=body, timeout=180)


@pytest.fixture(scope="module")
def shared() -> Iterator[Service]:
    """Run a service with two workers of five places each."""
    running = Service(*TWO, *RANDOM)
    yield running
    assert running.stop() == 0


@pytest.fixture
def both(shared: Service) -> Service:
    """Return it when both workers are ready and idle."""
    wait_for_both(shared)
    shared.wait_for(ROWS, 0)
    return shared


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(8) as pool:
        yield pool


def fill_first(service: Service, threads: ThreadPoolExecutor) -> Future[httpx.Response]:
    """Give the first worker all that it can run; return the request."""
    running = threads.submit(post, service, **FULL)
    service.wait_for(of_worker(ROWS, 0), 5)
    return running


def test_each_worker_is_described(both: Service) -> None:
    info = httpx.get(f"{both.url}/info").json()
    for worker in info["workers"]:
        assert (worker["device"], worker["ready"], worker["rows"]) == ("cpu", True, 0)
        assert "tiny" in worker["loaded"]
        assert worker["capacity"]["tiny"] > 0
    assert info["capacity"]["tiny"] == sum(worker["capacity"]["tiny"] for worker in info["workers"])


def test_a_worker_that_dies_takes_no_other_requests_with_it(both: Service, threads: ThreadPoolExecutor) -> None:
    """The same request gives the same music on either worker, also when the other one dies meanwhile."""
    undisturbed = post(both, **PIECE).json()["variations"]  # on the first, as both have as much room
    lost = fill_first(both, threads)
    before = both.metrics()
    kept = threads.submit(post, both, **PIECE)
    both.wait_for(of_worker(ROWS, 1), 1)
    os.kill(both.worker, signal.SIGKILL)
    refused = lost.result(timeout=20)
    assert (refused.status_code, "the worker died" in refused.text) == (503, True)
    assert int(refused.headers["Retry-After"]) > 0
    assert httpx.get(f"{both.url}/health").text == "ok"
    assert [each["ready"] for each in workers(both)] == [False, True]
    assert kept.result().json()["variations"] == undisturbed
    after = both.metrics()
    assert after[of_worker(EVENTS, 1)] > before.get(of_worker(EVENTS, 1), 0)
    assert after[of_worker(DEATHS, 0)] == before.get(of_worker(DEATHS, 0), 0) + 1
    assert after.get(of_worker(DEATHS, 1), 0) == before.get(of_worker(DEATHS, 1), 0)


def test_models_are_spread_over_the_workers(both: Service, threads: ThreadPoolExecutor) -> None:
    for size in ("small", "medium"):
        assert post(both, model_size=size, length_seconds=1).status_code == 200
    assert sorted(each["loaded"] for each in workers(both)) == [["tiny", "medium"], ["tiny", "small"]]
    sizes = httpx.get(f"{both.url}/info").json()["sizes"]
    assert [name for name, size in sizes.items() if size["loaded"]] == ["tiny", "small", "medium"]
    bodies = [{"model_size": size, "length_seconds": 2, "seed": 3} for size in ("tiny", "small", "medium")] * 4
    responses = list(threads.map(lambda body: post(both, **body), bodies))
    assert not [response.text for response in responses if response.status_code != 200]
    answers = [response.json() for response in responses]
    for body, answer in zip(bodies, answers, strict=True):
        assert answer["metadata"]["model_size"] == body["model_size"]
        assert answer["variations"] == answers[bodies.index(body)]["variations"]


def test_a_worker_that_hangs_is_replaced_while_the_other_goes_on(start: Start, threads: ThreadPoolExecutor) -> None:
    own = start(*TWO, "--step-timeout", "5")
    wait_for_both(own)
    lost = fill_first(own, threads)
    os.kill(own.worker, signal.SIGSTOP)
    n_answered = 0
    while not lost.done():
        assert post(own, length_seconds=1).status_code == 200
        assert httpx.get(f"{own.url}/health").text == "ok"
        n_answered += 1
    assert n_answered
    assert (lost.result().status_code, "was stuck in one step for 5 s" in lost.result().text) == (503, True)
    wait_for_both(own)
    assert own.stop() == 0


def test_stopping_finishes_what_runs_on_either_worker(start: Start, threads: ThreadPoolExecutor) -> None:
    own = start(*TWO)
    wait_for_both(own)
    processes = descendants(own.process.pid)
    requests = [threads.submit(post, own, length_seconds=10, num_variations=5) for _ in range(2)]
    for index in range(2):
        own.wait_for(of_worker(ROWS, index), 5)
    assert own.stop() == 0
    assert [request.result().status_code for request in requests] == [200, 200]
    assert not still_running(processes)
