"""What must hold when many clients, deadlines and faults come together: real services, real signals."""

import base64
import json
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from pathlib import Path
from resource import RLIMIT_AS, prlimit
from typing import Any

import httpx
import pytest

from tests.conftest import GOLDEN, PROJECT, Service, descendants, still_running

CHORALE = base64.b64encode((GOLDEN / "midi/chorale_001.mid").read_bytes()).decode()
LONG = {"length_seconds": 120, "num_variations": 5, "seed": 1}
Start = Callable[..., Service]

ROWS, WAITING = "anticipatory_batch_rows", "anticipatory_queue_depth"


@pytest.fixture(scope="module")
def small() -> Iterator[Service]:
    """Run a service with room for five sequences and one request that waits, and replace a worker stuck for 5 s."""
    running = Service("--default-model", "tiny", "--max-batch", "5", "--max-waiting", "1", "--step-timeout", "5")
    running.wait_until_ready()
    yield running
    assert running.stop() == 0


@pytest.fixture(scope="module")
def hasty() -> Iterator[Service]:
    """Run a service that gives a request two seconds, and has room for five sequences."""
    running = Service("--default-model", "tiny", "--max-batch", "5", "--timeout", "2")
    running.wait_until_ready()
    yield running
    assert running.stop() == 0


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(8) as pool:
        yield pool


def post(service: Service, **body: Any) -> httpx.Response:
    return httpx.post(f"{service.url}/predict", json=body, timeout=120)


def detail(response: httpx.Response) -> str:
    return str(response.json()["detail"])


class Abandoned:
    """Send a request whose client can go away."""

    def __init__(self, service: Service, **body: Any) -> None:
        self._connection = HTTPConnection(service.url.removeprefix("http://"), timeout=60)
        self._connection.request(
            "POST", "/predict", body=json.dumps(body), headers={"content-type": "application/json"}
        )

    def status(self) -> int:
        """Wait for the response and return its status."""
        with self._connection.getresponse() as response:
            return response.status

    def leave(self) -> None:
        self._connection.close()


def test_a_short_request_overtakes_a_long_one(service: Service) -> None:
    long = Abandoned(service, length_seconds=120)
    service.wait_for(ROWS, 1)
    assert post(service, length_seconds=1).status_code == 200
    assert service.metrics()[ROWS] == 1
    long.leave()
    service.wait_for(ROWS, 0)


def test_sizes_take_turns(service: Service) -> None:
    long = Abandoned(service, length_seconds=120, model_size="tiny")
    service.wait_for(ROWS, 1)
    answer = post(service, length_seconds=120, model_size="small", num_variations=2)
    assert answer.json()["metadata"]["model_size"] == "small"
    assert service.metrics()[ROWS] == 1
    long.leave()
    service.wait_for(ROWS, 0)


def test_an_error_reaches_its_own_client_alone(service: Service, threads: ThreadPoolExecutor) -> None:
    bodies = [
        {"length_seconds": 2},
        {"task": "embed", "midi_input": CHORALE, "embed_layer": 99},
        {"task": "embed", "midi_input": base64.b64encode(b"hello").decode()},
        {"task": "embed", "midi_input": CHORALE},
        {"model_size": "medium"},
        {"task": "continue", "midi_input": CHORALE, "length_seconds": 1},
    ]
    answers = threads.map(lambda body: post(service, **body), bodies)
    assert [answer.status_code for answer in answers] == [200, 422, 422, 200, 503, 200]


@pytest.mark.slow
def test_what_is_past_its_deadline_is_stopped_whether_it_runs_or_waits(
    hasty: Service, threads: ThreadPoolExecutor
) -> None:
    requests = [threads.submit(post, hasty, **LONG) for _ in range(2)]  # there is room for one
    for answer in [request.result() for request in requests]:
        assert (answer.status_code, detail(answer)) == (504, "the request took longer than 2 s and was stopped")
    hasty.wait_for(ROWS, 0)
    assert any(post(hasty, task="embed", midi_input=CHORALE).status_code == 200 for _ in range(10))


@pytest.mark.slow
def test_a_stream_that_nobody_reads_is_stopped_at_its_deadline_too(hasty: Service) -> None:
    with httpx.stream("POST", f"{hasty.url}/predict/stream", json=LONG, timeout=60):
        hasty.wait_for(ROWS, 0)


@pytest.mark.slow
def test_loading_holds_up_nothing_and_dies_with_the_worker(
    start: Start, threads: ThreadPoolExecutor, tmp_path: Path
) -> None:
    shutil.copy(PROJECT / "weights/tiny/config.json", tmp_path)
    os.mkfifo(tmp_path / "pytorch_model.bin")  # whoever reads it waits
    own = start("--default-model", "tiny", "--model-small", str(tmp_path))
    own.wait_until_ready()
    loading = threads.submit(post, own, model_size="small")
    own.wait_for(WAITING, 1)
    assert post(own, length_seconds=1).status_code == 200
    os.kill(own.worker, signal.SIGKILL)
    answer = loading.result(timeout=20)
    assert (answer.status_code, "Retry-After" in answer.headers) == (503, True)
    own.wait_until_ready()
    assert own.stop() == 0


def test_a_full_service_refuses_at_once_and_says_when_to_come_back(small: Service) -> None:
    running = Abandoned(small, **LONG)
    small.wait_for(ROWS, 5)
    waiting = Abandoned(small, **LONG)
    small.wait_for(WAITING, 1)
    refused = post(small)
    assert refused.status_code == 429
    assert int(refused.headers["Retry-After"]) > 0
    assert "1 requests wait already" in detail(refused)
    waiting.leave()
    small.wait_for(WAITING, 0)
    running.leave()
    small.wait_for(ROWS, 0)


def test_a_client_that_goes_away_frees_its_place(small: Service) -> None:
    running = Abandoned(small, **LONG)
    small.wait_for(ROWS, 5)
    running.leave()
    small.wait_for(ROWS, 0)
    assert post(small, length_seconds=1).status_code == 200


def test_a_reader_of_a_stream_who_goes_away_frees_its_place(small: Service) -> None:
    with httpx.stream("POST", f"{small.url}/predict/stream", json=LONG, timeout=60) as answer:
        assert next(answer.iter_lines()) == "event: note"
    small.wait_for(ROWS, 0)


def test_what_waits_runs_when_there_is_room(small: Service, threads: ThreadPoolExecutor) -> None:
    running = Abandoned(small, **LONG)
    small.wait_for(ROWS, 5)
    waiting = threads.submit(post, small, length_seconds=1, num_variations=5)
    small.wait_for(WAITING, 1)
    running.leave()
    assert waiting.result().status_code == 200


@pytest.mark.slow
@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGSEGV])
def test_the_death_of_a_busy_worker_is_answered_at_once_and_what_waits_survives(
    end: signal.Signals, small: Service, threads: ThreadPoolExecutor
) -> None:
    running = threads.submit(post, small, **LONG)
    small.wait_for(ROWS, 5)
    waiting = threads.submit(post, small, length_seconds=1)
    small.wait_for(WAITING, 1)
    os.kill(small.worker, end)
    answer = running.result(timeout=20)
    assert answer.status_code == 503
    assert int(answer.headers["Retry-After"]) > 0
    assert "the worker died" in detail(answer)
    assert httpx.get(f"{small.url}/health").status_code == 503
    assert waiting.result().status_code == 200
    assert httpx.get(f"{small.url}/health").text == "ok"
    assert f"the worker died (signal {end.value})" in small.output()


@pytest.mark.slow
def test_the_death_of_an_idle_worker_loses_nothing(small: Service) -> None:
    deaths = small.metrics().get("anticipatory_worker_deaths_total", 0)
    os.kill(small.worker, signal.SIGKILL)
    small.wait_for("anticipatory_worker_deaths_total", deaths + 1)
    refused = post(small, length_seconds=1)
    assert refused.status_code == 503
    assert int(refused.headers["Retry-After"]) > 0
    small.wait_until_ready()
    assert post(small, length_seconds=1).status_code == 200


def test_the_death_of_a_worker_in_a_stream_is_its_last_event(small: Service) -> None:
    with httpx.stream("POST", f"{small.url}/predict/stream", json=LONG, timeout=60) as answer:
        lines = answer.iter_lines()
        assert next(lines) == "event: note"
        os.kill(small.worker, signal.SIGKILL)
        rest = list(lines)
    name, data = rest[-3:-1]
    assert name == "event: error"
    assert json.loads(data.removeprefix("data: "))["status"] == 503
    small.wait_until_ready()


@pytest.mark.slow
def test_a_worker_killed_while_it_starts_is_replaced(start: Start) -> None:
    own = start("--default-model", "tiny")
    os.kill(own.worker, signal.SIGKILL)
    own.wait_until_ready()
    assert own.stop() == 0


@pytest.mark.slow
def test_a_worker_that_hangs_is_replaced(small: Service, threads: ThreadPoolExecutor) -> None:
    running = threads.submit(post, small, **LONG)
    small.wait_for(ROWS, 5)
    os.kill(small.worker, signal.SIGSTOP)
    answer = running.result()
    assert (answer.status_code, "was stuck in one step for 5 s" in detail(answer)) == (503, True)
    small.wait_until_ready()


@pytest.mark.slow
def test_a_request_without_memory_for_it_fails_alone(start: Start, threads: ThreadPoolExecutor) -> None:
    own = start("--default-model", "tiny", "--max-batch", "200", OMP_NUM_THREADS="1")
    own.wait_until_ready()
    body = {"task": "continue", "midi_input": CHORALE, "length_seconds": 20, "seed": 5}
    undisturbed = post(own, **body).json()["variations"]
    first = threads.submit(post, own, **body)
    own.wait_for(ROWS, 1)
    pages = int(Path(f"/proc/{own.worker}/statm").read_text().split()[0])
    prlimit(own.worker, RLIMIT_AS, (pages * os.sysconf("SC_PAGE_SIZE") + 96 * 2**20,) * 2)
    answers = list(threads.map(lambda _: post(own, **{**body, "num_variations": 5}), range(8)))
    assert {answer.status_code for answer in answers} <= {200, 503}
    refused = [detail(answer) for answer in answers if answer.status_code == 503]
    assert refused
    assert all("there is not enough memory for this request" in text for text in refused)
    assert first.result().json()["variations"] == undisturbed
    assert own.stop() == 0


def terminate(service: Service) -> None:
    service.process.send_signal(signal.SIGTERM)


def interrupt_group_twice(service: Service) -> None:
    """Signal as Ctrl-C in a terminal does; `uv run` passes the signal on once more."""
    for _ in range(2):
        os.killpg(service.process.pid, signal.SIGINT)


@pytest.mark.slow
@pytest.mark.parametrize("stop", [terminate, interrupt_group_twice])
def test_stopping_finishes_what_runs_and_leaves_nothing_behind(start: Start, stop: Callable[[Service], None]) -> None:
    own = start("--default-model", "tiny")
    own.wait_until_ready()
    processes = descendants(own.process.pid)
    request = Abandoned(own, length_seconds=10)
    own.wait_for(ROWS, 1)
    stop(own)
    assert request.status() == 200
    assert own.process.wait(timeout=40) == 0
    assert not still_running(processes)
    assert "Traceback" not in own.output()


@pytest.mark.slow
def test_what_cannot_finish_within_the_drain_time_is_told_so(start: Start) -> None:
    own = start("--default-model", "tiny", "--drain-timeout", "0.5")
    own.wait_until_ready()
    request = Abandoned(own, **LONG)
    own.wait_for(ROWS, 5)
    assert own.stop() == 0
    assert request.status() == 503


@pytest.mark.slow
def test_stopping_before_the_model_is_loaded_is_quick_and_clean(start: Start) -> None:
    own = start("--default-model", "tiny")
    processes = descendants(own.process.pid) | {own.worker}
    assert own.stop() == 0
    assert "Traceback" not in own.output()
    assert not still_running(processes)


@pytest.mark.slow
def test_the_worker_goes_when_the_service_is_killed(start: Start) -> None:
    own = start("--default-model", "tiny")
    own.wait_until_ready()
    processes = descendants(own.process.pid)
    own.process.kill()
    own.process.wait()
    assert not still_running(processes)


@pytest.mark.slow
def test_a_device_that_is_not_there_stops_the_service_with_one_line(start: Start) -> None:
    own = start("--device", "cuda:99")
    assert own.process.wait(timeout=60) == 1
    assert "the service could not start: device cuda:99 is not available here" in own.output()
    assert "Traceback" not in own.output()


@pytest.mark.slow
def test_health_is_the_truth_while_the_worker_starts(start: Start) -> None:
    own = start("--default-model", "tiny")
    own.wait_until_listening()
    assert httpx.get(f"{own.url}/health").status_code == 503
    probe = httpx.head(f"{own.url}/health")
    assert (probe.status_code, probe.content) == (503, b"")
    refused = post(own)
    assert (refused.status_code, "the service is starting" in detail(refused)) == (503, True)
    own.wait_until_ready()
    assert own.stop() == 0
