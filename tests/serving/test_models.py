"""Models of one's own over HTTP: real services with named checkpoints, adapters and a limit on what stays loaded."""

import json
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from benchmarks.checkpoints import random_small
from tests.conftest import GOLDEN, Service
from tests.lora import write_adapter
from tests.tasks.results import golden

MODEL = str(GOLDEN / "model")

CONTROLLED = ("accompany", "infill", "variation")

pytestmark = pytest.mark.slow  # each needs a service of its own


def changed(folder: Path, **fields: Any) -> str:
    """Write the golden model with another configuration; return its folder."""
    shutil.copytree(MODEL, folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | fields))
    return str(folder)


@pytest.fixture(scope="module")
def offering(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Run a service with models of many kinds, of which two stay loaded."""
    folder = tmp_path_factory.mktemp("models")
    sources = {
        "golden": MODEL,
        "adapted": str(write_adapter(folder / "adapter", "golden")),
        "plain": changed(folder / "plain", anticipation=False),
        "foreign": changed(folder / "foreign", vocab_size=50_257),
        "far": "stanford-crfm/music-small-ar-100k",
    }
    flags = [word for name, source in sources.items() for word in ("--model", f"{name}={source}")]
    running = Service("--default-model", "golden", "--max-loaded", "2", *flags)
    running.wait_until_ready()
    yield running
    assert running.stop() == 0


def post(service: Service, **body: Any) -> httpx.Response:
    return httpx.post(f"{service.url}/predict", json={"length_seconds": 1, "seed": 1, **body}, timeout=180)


def info(service: Service) -> Any:
    return httpx.get(f"{service.url}/info").json()


def body_of(task: str) -> dict[str, Any]:
    given = {} if task == "generate" else {"midi_input": golden("chorale_001")}
    span = {"start_seconds": 1, "end_seconds": 3} if task == "infill" else {}
    return {"task": task, **given, **span}


def test_a_name_leads_to_its_model_and_an_adapter_changes_its_vectors(offering: Service) -> None:
    body = {**body_of("embed"), "embed_layer": -1}
    answers = {name: post(offering, model_size=name, **body).json() for name in ("golden", "adapted")}
    assert all(answer["metadata"]["model_size"] == name for name, answer in answers.items())
    assert answers["golden"]["embedding"] != answers["adapted"]["embedding"]
    assert post(offering, **body).json()["embedding"] == answers["golden"]["embedding"]


def test_a_name_that_is_not_on_offer_is_told_those_that_are(offering: Service) -> None:
    refused = post(offering, model_size="medum")
    expected = "Input should be 'tiny', 'small', 'medium', 'large', 'golden', 'adapted', 'plain', 'foreign' or 'far'"
    assert (refused.status_code, refused.json()["detail"][0]["msg"]) == (422, expected)
    described = httpx.get(f"{offering.url}/openapi.json").json()["components"]["schemas"]["GenerateRequest"]
    choices = described["properties"]["model_size"]["anyOf"][0]["enum"]
    assert choices == list(info(offering)["sizes"])


@pytest.mark.parametrize("name", ["plain", "far"])
@pytest.mark.parametrize("task", CONTROLLED)
def test_a_model_without_controls_refuses_what_needs_them(task: str, name: str, offering: Service) -> None:
    refused = post(offering, model_size=name, **body_of(task))
    assert refused.status_code == 422
    assert f"model {name} cannot do task {task}" in refused.json()["detail"]
    assert info(offering)["sizes"][name]["tasks"] == ["generate", "continue", "embed"]


@pytest.mark.parametrize("task", ["generate", "continue", "embed"])
def test_a_model_without_controls_does_all_else(task: str, offering: Service) -> None:
    assert post(offering, model_size="plain", **body_of(task)).status_code == 200


def test_another_vocabulary_is_refused_by_name(offering: Service) -> None:
    refused = post(offering, model_size="foreign")
    assert refused.status_code == 503
    assert "model foreign cannot be loaded" in refused.json()["detail"]
    assert "its vocabulary has 50257 tokens and not 55028" in refused.json()["detail"]


def test_no_more_stay_loaded_than_may(offering: Service) -> None:
    for name in ("tiny", "golden", "adapted", "plain", "tiny", "golden"):
        assert post(offering, model_size=name).status_code == 200
        said = info(offering)
        loaded = [name for name, size in said["sizes"].items() if size["loaded"]]
        assert name in loaded
        assert len(loaded) <= 2
        assert set(said["capacity"]) == set(said["workers"][0]["loaded"]) == set(loaded)
        assert {name for name, size in said["sizes"].items() if size["bytes"]} == set(loaded)
    metrics = offering.metrics()
    assert metrics["anticipatory_models_loaded"] == 2
    assert metrics["anticipatory_unloads_total{size=tiny}"] >= 1


def test_a_model_that_cannot_be_had_drives_none_out(offering: Service) -> None:
    assert post(offering, model_size="golden").status_code == 200
    before = info(offering)["workers"][0]["loaded"]
    assert post(offering, model_size="medium").status_code == 503
    assert info(offering)["workers"][0]["loaded"] == before


def test_more_models_than_stay_loaded_answer_at_once(offering: Service) -> None:
    names = ["golden", "adapted", "plain", "tiny"] * 3
    with ThreadPoolExecutor(len(names)) as threads:
        answers = list(threads.map(lambda name: post(offering, model_size=name), names))
    assert [answer.status_code for answer in answers] == [200] * len(names)
    assert [answer.json()["metadata"]["model_size"] for answer in answers] == names


def test_memory_is_given_back(start: Callable[..., Service], tmp_path: Path) -> None:
    own = start("--default-model", "tiny", "--max-loaded", "1", "--model", f"big={random_small(tmp_path)}")
    own.wait_until_ready()

    def megabytes_after(name: str) -> float:
        assert post(own, model_size=name).status_code == 200
        return float(psutil.Process(own.worker).memory_full_info().pss / 1e6)

    first, big, again, big_again = map(megabytes_after, ("tiny", "big", "tiny", "big"))
    assert big > first + 100
    assert again < first + 40
    assert big_again < big + 40
    assert own.stop() == 0
