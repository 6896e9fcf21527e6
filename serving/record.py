"""Record what becomes of one request: its span, its labels in the metrics, its line in the log."""

import asyncio
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final, Protocol

from fastapi import HTTPException, Request
from opentelemetry.trace import Span, SpanKind, StatusCode, Tracer

from serving.telemetry import TRACE_HEADERS, UNKNOWN_LABELS, Metrics, caller_context, span_ids

logger = logging.getLogger("anticipatory")

CLIENT_GONE: Final = 499
"""The status in logs and metrics of a request that nobody waits for; as nginx counts it."""

COUNTED: Final = "is_counted"
"""The name in a request's `state` of whether the metrics have counted it."""


class RequestBody(Protocol):
    """Hold a request's fields, validated."""

    task: str
    client_job_id: str | None


class RequestRecord:
    """Hold what traces, metrics and the log say of one request."""

    def __init__(self, body: RequestBody, span: Span) -> None:
        self.body, self.span = body, span
        self.received = time.monotonic()
        self.labels = {**UNKNOWN_LABELS, "task": body.task}
        self.trace_id, self.span_id = span_ids(span)

    @property
    def seconds(self) -> float:
        """Return how long ago the request arrived."""
        return time.monotonic() - self.received

    def conclude(self, status: int, reason: str, metrics: Metrics) -> None:
        """End the span, count the request and log it. Only failures of ours mark the span as failed."""
        self.span.set_attribute("http.response.status_code", status)
        for name, value in self.labels.items():
            self.span.set_attribute(f"anticipatory.{name}", value)
        if status >= 500:
            self.span.set_status(StatusCode.ERROR, reason)
        self.span.end()
        metrics.count_request(status, self.labels)
        level = logging.INFO if status < 400 else logging.WARNING
        logger.log(level, "%d after %.2f s%s: %s", status, self.seconds, f" ({reason})" if reason else "", self)

    def __str__(self) -> str:
        return f"{self.body.task}, job {self.body.client_job_id or '-'}, trace {self.trace_id}"


@dataclass(frozen=True)
class Recorder:
    """Record requests.

    Attributes:
        tracer: of this process.
        metrics: that count them.
        explain: returns (status, detail) of an error.
    """

    tracer: Tracer
    metrics: Metrics
    explain: Callable[[Exception], tuple[int, str]]

    @contextmanager
    def record(self, request: Request, body: RequestBody, name: str) -> Iterator[RequestRecord]:
        """Record what becomes of a request in a span of this name, and turn every error into an HTTPException."""
        setattr(request.state, COUNTED, True)
        headers = {name: request.headers[name] for name in TRACE_HEADERS if name in request.headers}
        record = RequestRecord(body, self.tracer.start_span(name, caller_context(headers), SpanKind.SERVER))
        status, reason = 200, ""
        try:
            yield record
        except (asyncio.CancelledError, GeneratorExit):
            status, reason = CLIENT_GONE, "the client went away"
            raise
        except HTTPException as error:
            status, reason = error.status_code, str(error.detail)
            raise
        except Exception as error:
            status, reason = self.explain(error)
            if status == 500:
                logger.exception("an error that nobody expected, %s", record)
            raise HTTPException(status, reason) from error
        finally:
            record.conclude(status, reason, self.metrics)
