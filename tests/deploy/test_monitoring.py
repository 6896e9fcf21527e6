"""Prometheus itself scrapes the real service, and answers what the dashboard and the rules ask."""

import base64
import json
import math
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from tests.conftest import GOLDEN, Service, reserved_port
from tests.deploy.conftest import DEPLOY, run

pytestmark = pytest.mark.deploy

KEY = {"X-API-Key": "k"}
CHORALE = base64.b64encode((GOLDEN / "midi/chorale_001.mid").read_bytes()).decode()
BODIES = [
    {"length_seconds": 1},
    {"length_seconds": 1, "model_size": "small"},
    {"task": "embed", "midi_input": CHORALE},
    {"task": "compose"},
]
TIMEOUT_SECONDS = 90.0

PANELS = json.loads((DEPLOY / "grafana/dashboards/anticipatory.json").read_text())["panels"]
QUERIES = [target["expr"] for panel in PANELS for target in panel["targets"]]
VARIABLES = {"$__rate_interval": "30s", "$__range": "5m", "$instance": ".*"}
"""What Grafana puts in their place."""


class Prometheus:
    """Prometheus with our configuration, but for the service's address and its pace."""

    def __init__(self, program: str, folder: Path, target: str) -> None:
        configuration = yaml.safe_load((DEPLOY / "prometheus/prometheus.yml").read_text())
        configuration["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
        configuration["scrape_configs"][0]["static_configs"] = [{"targets": [target]}]
        (folder / "prometheus.yml").write_text(yaml.dump(configuration))
        (folder / "rules.yml").write_bytes((DEPLOY / "prometheus/rules.yml").read_bytes())
        address = f"127.0.0.1:{reserved_port()}"
        self._url = f"http://{address}/api/v1"
        self._log = (folder / "prometheus.log").open("w")
        self.process = subprocess.Popen(
            [
                program,
                f"--config.file={folder}/prometheus.yml",
                f"--storage.tsdb.path={folder}/data",
                f"--web.listen-address={address}",
            ],
            stdout=self._log,
            stderr=subprocess.STDOUT,
        )

    def get(self, path: str, **parameters: str) -> Any:
        """What its API says."""
        deadline = time.monotonic() + TIMEOUT_SECONDS
        while True:
            try:
                answer = httpx.get(f"{self._url}/{path}", params=parameters)
                break
            except httpx.TransportError:  # it has not begun to listen
                assert time.monotonic() < deadline
                assert self.process.poll() is None, Path(self._log.name).read_text()
                time.sleep(0.1)
        assert answer.json()["status"] == "success", answer.text
        return answer.json()["data"]

    def numbers(self, query: str) -> list[float]:
        """The values of a query now, without those that are not numbers."""
        for variable, value in VARIABLES.items():
            query = query.replace(variable, value)
        values = [float(sample["value"][1]) for sample in self.get("query", query=query)["result"]]
        return [value for value in values if not math.isnan(value)]

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(timeout=20)
        self._log.close()


@pytest.fixture(scope="module")
def busy(tool: Callable[[str], str]) -> Iterator[Service]:
    """A service with a key and public metrics."""
    tool("prometheus")
    flags = ("--default-model", "tiny", "--model-small", str(GOLDEN / "model"), "--public-metrics")
    service = Service(*flags, LIT_SERVER_API_KEY=KEY["X-API-Key"])
    try:
        service.wait_until_ready()
        yield service
    finally:
        service.stop()


@pytest.fixture(scope="module")
def prometheus(
    tool: Callable[[str], str], busy: Service, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Prometheus]:
    """Prometheus that scrapes the service."""
    running = Prometheus(tool("prometheus"), tmp_path_factory.mktemp("prometheus"), busy.url.removeprefix("http://"))
    try:
        yield running
    finally:
        running.stop()


def send(service: Service) -> None:
    """One request of each kind."""
    for body in BODIES:
        httpx.post(f"{service.url}/predict", json=body, headers=KEY, timeout=60)


def test_every_query_of_the_dashboard_has_numbers(prometheus: Prometheus, busy: Service) -> None:
    missing = set(QUERIES)
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while missing:
        send(busy)  # rates are of what happens between scrapes
        missing = {query for query in missing if not prometheus.numbers(query)}
        assert time.monotonic() < deadline, missing


def test_a_first_death_is_an_increase(prometheus: Prometheus, busy: Service) -> None:
    query = 'sum(increase(anticipatory_worker_deaths_total{instance=~"$instance"}[$__range]))'
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while prometheus.numbers(query) != [0.0]:
        assert time.monotonic() < deadline
        time.sleep(0.2)
    os.kill(busy.worker, signal.SIGKILL)
    while max(prometheus.numbers(query), default=0.0) < 1:
        assert time.monotonic() < deadline
        time.sleep(0.2)


def test_no_rule_fails(prometheus: Prometheus, busy: Service) -> None:
    send(busy)
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while not prometheus.numbers("instance:anticipatory_requests:rate5m"):
        assert time.monotonic() < deadline
        time.sleep(0.2)
    rules = [rule for group in prometheus.get("rules")["groups"] for rule in group["rules"]]
    assert len(rules) > 10
    assert not [rule for rule in rules if rule["health"] != "ok"]


def test_promtool_finds_nothing_in_the_metrics(tool: Callable[[str], str], busy: Service) -> None:
    send(busy)
    run(tool("promtool"), "check", "metrics", input=httpx.get(f"{busy.url}/metrics").text)
