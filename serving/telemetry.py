"""Keep traces and metrics by OpenTelemetry, and export them over OTLP when the standard variables say where to."""

import os
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Final

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.metrics import CallbackOptions, Counter, Histogram, Observation
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import MetricReader, PeriodicExportingMetricReader
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

FINISH_SECONDS: Final = 2.0
"""The last exports may take so long: a collector that is down must not keep the service from stopping."""

TRACE_HEADERS: Final = ("traceparent", "tracestate")
"""W3C Trace Context."""

UNKNOWN_LABELS: Final = {"task": "-", "size": "-"}
"""The labels of a request that was refused before its body was read."""

_providers: list[TracerProvider | MeterProvider] = []

_BUCKETS_SECONDS: Final = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 25, 50, 100, 250)


def _is_exported(signal: str) -> bool:
    names = ("OTEL_EXPORTER_OTLP_ENDPOINT", f"OTEL_EXPORTER_OTLP_{signal}_ENDPOINT")
    return any(os.environ.get(name) for name in names) and os.environ.get(f"OTEL_{signal}_EXPORTER") != "none"


def _resource(service_name: str) -> Resource:
    return Resource.create({SERVICE_NAME: os.environ.get("OTEL_SERVICE_NAME", service_name)})


def start_tracing(service_name: str) -> trace.Tracer:
    """Return a tracer for this process. `OTEL_SERVICE_NAME` and the other standard variables are honoured."""
    provider = TracerProvider(resource=_resource(service_name), shutdown_on_exit=False)
    _providers.append(provider)
    if _is_exported("TRACES"):
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # slow to import

        provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return provider.get_tracer(service_name)


def finish() -> None:
    """Export what this process has not exported yet, if that can be done soon."""
    threads = [threading.Thread(target=provider.shutdown, daemon=True) for provider in _providers]
    deadline = time.monotonic() + FINISH_SECONDS
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(deadline - time.monotonic(), 0))


def caller_context(headers: Mapping[str, str]) -> Context:
    """Return the trace that the headers name; an empty context when they name none."""
    return TraceContextTextMapPropagator().extract(headers, context=Context())


def trace_headers(span: trace.Span) -> dict[str, str]:
    """Return the headers by which others continue the span's trace."""
    headers: dict[str, str] = {}
    TraceContextTextMapPropagator().inject(headers, context=trace.set_span_in_context(span, Context()))
    return headers


def span_ids(span: trace.Span) -> tuple[str, str]:
    """Return (trace id, span id) in 32 and 16 hexadecimal digits."""
    context = span.get_span_context()
    if not context.is_valid:  # OTEL_SDK_DISABLED: requests still have names
        ids = RandomIdGenerator()
        return trace.format_trace_id(ids.generate_trace_id()), trace.format_span_id(ids.generate_span_id())
    return trace.format_trace_id(context.trace_id), trace.format_span_id(context.span_id)


class Metrics:
    """Count what the service does: read at /metrics, and pushed over OTLP."""

    def __init__(self, service_name: str) -> None:
        readers: list[MetricReader] = [PrometheusMetricReader(scope_info_enabled=False)]
        if _is_exported("METRICS"):
            from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter

            readers.append(PeriodicExportingMetricReader(OTLPMetricExporter()))
        provider = MeterProvider(readers, _resource(service_name), shutdown_on_exit=False)
        _providers.append(provider)
        self._meter, self._name = provider.get_meter(service_name), service_name
        self._requests = self._meter.create_counter(f"{service_name}.requests", description="Requests answered")
        self._queue = self._seconds(
            "queue", "From a request's arrival to the start of its computation, without the wait for loading"
        )
        self._compute = self._seconds("compute", "From the start of a request's computation to its end")
        self._load = self._seconds("load", "Loading a model, once for each time that one is loaded")
        self._unloads = self._meter.create_counter(
            f"{service_name}.unloads", description="Models unloaded to make room for others"
        )
        self._deaths = self._meter.create_counter(f"{service_name}.worker.deaths", description="Workers that died")
        self._starts = self._meter.create_counter(f"{service_name}.worker.starts", description="Workers that got ready")
        self._amounts: dict[str, Counter] = {}

    def _seconds(self, what: str, description: str) -> Histogram:
        return self._meter.create_histogram(
            f"{self._name}.{what}.duration",
            unit="s",
            description=description,
            explicit_bucket_boundaries_advisory=_BUCKETS_SECONDS,
        )

    def observe(self, name: str, description: str, value: Callable[[], int]) -> None:
        """Report what a function says whenever somebody looks."""
        self._gauge(name, description, lambda options: [Observation(value())])

    def observe_workers(self, name: str, description: str, values: Callable[[], Iterable[int]]) -> None:
        """Report likewise a value of each worker."""
        self._gauge(
            name,
            description,
            lambda options: [Observation(value, _worker(index)) for index, value in enumerate(values())],
        )

    def _gauge(self, name: str, description: str, callback: Callable[[CallbackOptions], Iterable[Observation]]) -> None:
        self._meter.create_observable_gauge(f"{self._name}.{name}", [callback], description=description)

    def count_request(self, status: int, labels: Mapping[str, str] = UNKNOWN_LABELS) -> None:
        """Count a request that has been answered, or refused."""
        self._requests.add(1, {**labels, "status": str(status)})

    def record_durations(self, queue_seconds: float, compute_seconds: float, labels: Mapping[str, str]) -> None:
        """Record how long a request waited, and how long it was computed."""
        self._queue.record(queue_seconds, labels)
        self._compute.record(compute_seconds, labels)

    def count_amounts(self, amounts: Mapping[str, int], worker: int) -> None:
        """Add what a job has decoded, by kind."""
        for kind, amount in amounts.items():
            if kind not in self._amounts:
                self._amounts[kind] = self._meter.create_counter(f"{self._name}.{kind}", description="Decoded so far")
            self._amounts[kind].add(amount, _worker(worker))

    def record_load(self, group: str, seconds: float, worker: int) -> None:
        """Record how long a group took to load."""
        self._load.record(seconds, {"size": group, **_worker(worker)})

    def count_unload(self, group: str, worker: int) -> None:
        """Count a group that has been unloaded to make room for another."""
        self._unloads.add(1, {"size": group, **_worker(worker)})

    def count_worker_start(self, worker: int) -> None:
        """Count a worker that takes jobs."""
        self._starts.add(1, _worker(worker))
        self._deaths.add(0, _worker(worker))  # Prometheus takes no increase from a counter's first value

    def count_worker_death(self, worker: int) -> None:
        """Count a worker that has died or been killed."""
        self._deaths.add(1, _worker(worker))


def _worker(index: int) -> dict[str, str]:
    return {"worker": str(index)}
