"""Traces: the caller's continued, exported over OTLP when the standard variables say where to."""

import os
from collections.abc import Mapping

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

_ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
TRACE_HEADERS = ("traceparent", "tracestate")
"""W3C Trace Context."""


def start_tracing(service_name: str) -> trace.Tracer:
    """A tracer for this process. `OTEL_SERVICE_NAME` and the other standard variables are honoured."""
    provider = TracerProvider(
        resource=Resource.create({SERVICE_NAME: os.environ.get("OTEL_SERVICE_NAME", service_name)})
    )
    if any(os.environ.get(name) for name in _ENDPOINTS):
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # slow to import

        provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return provider.get_tracer(service_name)


def caller_context(headers: Mapping[str, str]) -> Context:
    """The trace that the caller's headers name; an empty context when they name none."""
    return TraceContextTextMapPropagator().extract(headers, context=Context())


def span_ids(span: trace.Span) -> tuple[str, str]:
    """(trace id, span id) in 32 and 16 hexadecimal digits."""
    context = span.get_span_context()
    if not context.is_valid:  # OTEL_SDK_DISABLED: requests still have names
        ids = RandomIdGenerator()
        return trace.format_trace_id(ids.generate_trace_id()), trace.format_span_id(ids.generate_span_id())
    return trace.format_trace_id(context.trace_id), trace.format_span_id(context.span_id)
