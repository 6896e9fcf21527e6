"""What the service says of itself: traces, metrics and log lines, as the real parsers read them."""

import base64
import time
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.conftest import GOLDEN, Service

CHORALE = base64.b64encode((GOLDEN / "midi/chorale_001.mid").read_bytes()).decode()
CALLER = "b7ad6b7169203331"


def post(service: Service, trace_id: str = "", **body: Any) -> httpx.Response:
    headers = {"traceparent": f"00-{trace_id}-{CALLER}-01"} if trace_id else {}
    return httpx.post(f"{service.url}/predict", json=body, headers=headers, timeout=120)


def attributes(span: Any) -> dict[str, Any]:
    return {each.key: each.value.string_value or each.value.int_value for each in span.attributes}


def test_one_trace_covers_both_processes_with_the_callers_span_as_parent(service: Service, collector: Any) -> None:
    trace_id = "0af7651916cd43dd8448eb211c80319c"
    response = post(service, trace_id, task="continue", midi_input=CHORALE, length_seconds=1)
    metadata = response.json()["metadata"]
    assert metadata["trace_id"] == trace_id
    spans = {span.name: span for span in collector.of_trace(trace_id, 4)}
    assert set(spans) == {"predict continue", "decode", "generate", "encode"}
    root = spans.pop("predict continue")
    assert (root.parent_span_id.hex(), root.span_id.hex()) == (CALLER, metadata["span_id"])
    assert {span.parent_span_id for span in spans.values()} == {root.span_id}
    assert attributes(root)["anticipatory.size"] == "tiny"


def test_loading_a_model_is_part_of_the_trace_that_needs_it(service: Service, collector: Any) -> None:
    trace_id = "2af7651916cd43dd8448eb211c80319e"
    post(service, trace_id, model_size="medium")
    assert {span.name for span in collector.of_trace(trace_id, 3)} >= {"predict generate", "load model"}


def test_a_clients_mistake_does_not_count_as_a_failure_of_the_service(service: Service, collector: Any) -> None:
    trace_id = "1af7651916cd43dd8448eb211c80319d"
    post(service, trace_id, task="embed", midi_input=base64.b64encode(b"hello").decode())
    (root,) = [span for span in collector.of_trace(trace_id, 2) if span.name == "predict embed"]
    assert attributes(root)["http.response.status_code"] == 422
    assert root.status.code == root.status.STATUS_CODE_UNSET


def test_the_log_names_the_trace_and_the_job(service: Service) -> None:
    response = post(service, task="embed", midi_input=CHORALE, client_job_id="job:7")
    assert f"embed, job job:7, trace {response.json()['metadata']['trace_id']}" in service.output()


@pytest.mark.parametrize(
    ("body", "name"),
    [
        ({"task": "embed", "midi_input": CHORALE}, "anticipatory_requests_total{size=tiny,status=200,task=embed}"),
        ({"task": "embed", "midi_input": "AAAA"}, "anticipatory_requests_total{size=-,status=422,task=embed}"),
        ({"task": "compose"}, "anticipatory_requests_total{size=-,status=422,task=-}"),
        ({"length_seconds": 1, "seed": 1}, "anticipatory_events_total"),
        ({"length_seconds": 1, "seed": 1}, "anticipatory_queue_duration_seconds_count{size=tiny,task=generate}"),
        ({"length_seconds": 1, "seed": 1}, "anticipatory_compute_duration_seconds_count{size=tiny,task=generate}"),
    ],
)
def test_every_request_is_counted(body: dict[str, Any], name: str, service: Service) -> None:
    before = service.metrics().get(name, 0)
    post(service, **body)
    assert service.metrics()[name] > before


@pytest.mark.slow
def test_loading_has_a_field_of_its_own_and_is_no_part_of_queueing(start: Callable[..., Service]) -> None:
    own = start("--default-model", "tiny", "--model-small", str(GOLDEN / "model"))
    own.wait_until_ready()
    began = time.monotonic()
    first, second = (post(own, length_seconds=1, model_size="small").json()["metadata"] for _ in range(2))
    wall_seconds = time.monotonic() - began
    assert first["load_seconds"] > 0
    assert second["load_seconds"] == 0
    fields = ("queue_seconds", "load_seconds", "compute_seconds")
    assert sum(each[field] for each in (first, second) for field in fields) <= wall_seconds
    metrics, labels = own.metrics(), "{size=small,task=generate}"
    for each in ("queue", "compute"):
        total = first[f"{each}_seconds"] + second[f"{each}_seconds"]
        assert metrics[f"anticipatory_{each}_duration_seconds_sum{labels}"] == pytest.approx(total)
    assert metrics["anticipatory_load_duration_seconds_count{size=small}"] == 1
    assert metrics["anticipatory_load_duration_seconds_sum{size=small}"] <= first["load_seconds"]
    assert own.stop() == 0


def test_an_event_is_three_tokens(service: Service) -> None:
    post(service, length_seconds=1)
    metrics = service.metrics()
    assert metrics["anticipatory_tokens_total"] == 3 * metrics["anticipatory_events_total"] > 0


def test_prometheus_reads_the_state_of_the_service(service: Service) -> None:
    response = httpx.get(f"{service.url}/metrics")
    assert response.headers["content-type"].startswith("text/plain")
    families = {family.name: family.type for family in text_string_to_metric_families(response.text)}
    assert families["anticipatory_queue_depth"] == "gauge"
    assert families["anticipatory_batch_rows"] == "gauge"
    assert families["anticipatory_worker_starts"] == "counter"


def test_metrics_are_pushed_where_the_standard_variables_say(service: Service, collector: Any) -> None:
    post(service, length_seconds=1)
    metric = collector.metric("anticipatory.compute.duration")
    assert metric.unit == "s"
    assert metric.histogram.data_points[0].count > 0
