"""A request's way through the API process: a place, its job, what comes of it, and its trace, metrics and log line."""

import asyncio
import json
import logging
import time
from collections.abc import AsyncGenerator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing, contextmanager
from functools import partial
from typing import Any, Final, Protocol, TypeVar

from fastapi import HTTPException, Request
from fastapi.responses import Response, StreamingResponse
from fastapi.sse import format_sse_event
from opentelemetry import trace
from opentelemetry.trace import Span, SpanKind, StatusCode, Tracer
from starlette.types import Receive, Scope, Send

from serving.batching import BatchingAPI, Report, UpdateEncoder
from serving.messages import Done
from serving.scheduler import Scheduler, Ticket
from serving.telemetry import TRACE_HEADERS, Metrics, caller_context, span_ids, trace_headers

logger = logging.getLogger("anticipatory")

T = TypeVar("T")

CLIENT_GONE: Final = 499
"""The status in logs and metrics of a request that nobody waits for; as nginx counts it."""


class EventStream(StreamingResponse):
    """Server-sent events. What makes them ends with the response, and not when garbage is next collected."""

    media_type = "text/event-stream"

    def __init__(self, events: AsyncGenerator[bytes]) -> None:
        super().__init__(events, headers={"Cache-Control": "no-cache"})
        self._events = events

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the events."""
        async with aclosing(self._events):
            await super().__call__(scope, receive, send)


class Body(Protocol):
    """A request's body, once it has been validated."""

    task: str
    client_job_id: str | None


class Call:
    """One request, as its trace, the metrics and the log see it."""

    def __init__(self, body: Body, span: Span) -> None:
        self.body, self.span = body, span
        self.received = time.monotonic()
        self.labels = {"task": body.task, "size": "-"}
        self.trace_id, self.span_id = span_ids(span)

    @property
    def seconds(self) -> float:
        """Since the request arrived."""
        return time.monotonic() - self.received

    def __str__(self) -> str:
        return f"{self.body.task}, job {self.body.client_job_id or '-'}, trace {self.trace_id}"


class Handler:
    """Answers requests with what the worker makes of them."""

    def __init__(
        self, api: BatchingAPI, scheduler: Scheduler, tracer: Tracer, metrics: Metrics, timeout_seconds: float
    ) -> None:
        self._api, self._scheduler, self._timeout = api, scheduler, timeout_seconds
        self._tracer, self._metrics = tracer, metrics
        # Few, for they share the interpreter with the event loop; of their own, for a large file takes seconds.
        self._threads = ThreadPoolExecutor(2, "codec")

    async def predict(self, request: Request, body: Any) -> Response:
        """Answer when everything is done."""
        async with aclosing(self._events(request, body, streams=False)) as events:
            async for event in events:
                _, answer = event
        return Response(answer, media_type="application/json")

    async def stream(self, request: Request, body: Any) -> Response:
        """Answer with server-sent events from the first one on; what fails before that has a status of its own."""
        events = self._events(request, body, streams=True)
        first = await anext(events)
        return EventStream(_formatted(first, events))

    async def _events(self, request: Request, body: Any, *, streams: bool) -> AsyncGenerator[tuple[str, str]]:
        """(name, JSON) of what happens; the last is the result. Leaving it early frees the place.

        Raises:
            HTTPException: there is no result, and why.
        """
        with self._call(request, body) as call, self._scheduler.place(self._api.rows(body)) as ticket:
            late = partial(
                self._scheduler.abort, ticket, 504, f"the request took longer than {self._timeout:g} s and was stopped"
            )
            timer = asyncio.get_running_loop().call_later(self._timeout, late)
            watcher = asyncio.create_task(self._watch(request, ticket))
            try:
                async with aclosing(self._outcome(call, ticket, streams=streams)) as events:
                    async for event in events:
                        yield event
            finally:
                timer.cancel()
                watcher.cancel()

    async def _outcome(self, call: Call, ticket: Ticket, *, streams: bool) -> AsyncGenerator[tuple[str, str]]:
        body, headers = call.body, trace_headers(call.span)
        with self._span("decode", call):
            job = await ticket.unless_aborted(
                self._in_thread(self._api.decode_request, body, self._scheduler.info, headers, streams=streams)
            )
        call.labels["size"] = job.group
        self._scheduler.submit(ticket, job)
        encode_update: UpdateEncoder | None = None
        async for item in ticket.outcome():
            if isinstance(item, Done):
                break
            if encode_update is None:
                encode_update = await self._in_thread(self._api.update_encoder, body, job)
            for name, data in encode_update(item.data):
                yield name, json.dumps(data)
        assert isinstance(item, Done)
        assert ticket.started
        queue_seconds = ticket.started - call.received
        report = Report(call.trace_id, call.span_id, queue_seconds, call.seconds - queue_seconds)
        self._metrics.ran(report.queue_seconds, report.compute_seconds, call.labels)
        with self._span("encode", call):
            answer = await self._in_thread(self._encode, body, job, item.result, report)
        yield "result", answer

    async def _in_thread(self, function: Callable[..., T], *args: Any, **named: Any) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, partial(function, *args, **named))

    async def _watch(self, request: Request, ticket: Ticket) -> None:
        """Abort the ticket when its client goes away."""
        while (await request.receive())["type"] != "http.disconnect":
            pass
        self._scheduler.abort(ticket, CLIENT_GONE, "the client went away")

    def _encode(self, body: Any, job: Any, result: Any, report: Report) -> str:
        return self._api.encode_response(body, job, result, self._scheduler.info, report).model_dump_json()

    @contextmanager
    def _call(self, request: Request, body: Any) -> Iterator[Call]:
        headers = {name: request.headers[name] for name in TRACE_HEADERS if name in request.headers}
        span = self._tracer.start_span(
            f"{request.url.path.strip('/')} {body.task}", caller_context(headers), SpanKind.SERVER
        )
        call = Call(body, span)
        status, reason = 200, ""
        try:
            yield call
        except (asyncio.CancelledError, GeneratorExit):
            status, reason = CLIENT_GONE, "the client went away"
            raise
        except HTTPException as error:
            status, reason = error.status_code, str(error.detail)
            raise
        except Exception as error:
            status, reason = self._api.explain(error)
            if status == 500:
                logger.exception("an error that nobody expected, %s", call)
            raise HTTPException(status, reason) from error
        finally:
            self._conclude(call, status, reason)

    def _conclude(self, call: Call, status: int, reason: str) -> None:
        """Only failures of ours mark the span as failed."""
        call.span.set_attribute("http.response.status_code", status)
        for name, value in call.labels.items():
            call.span.set_attribute(f"anticipatory.{name}", value)
        if status >= 500:
            call.span.set_status(StatusCode.ERROR, reason)
        call.span.end()
        self._metrics.answered(status, call.labels)
        level = logging.INFO if status < 400 else logging.WARNING
        logger.log(level, "%d after %.2f s%s: %s", status, call.seconds, f" ({reason})" if reason else "", call)

    @contextmanager
    def _span(self, name: str, call: Call) -> Iterator[None]:
        span = self._tracer.start_span(name, trace.set_span_in_context(call.span))
        try:
            yield
        finally:
            span.end()


async def _formatted(first: tuple[str, str], events: AsyncGenerator[tuple[str, str]]) -> AsyncGenerator[bytes]:
    """Server-sent events; an error becomes the last of them."""
    async with aclosing(events):
        yield _format(first)
        try:
            async for event in events:
                yield _format(event)
        except HTTPException as error:
            yield _format(("error", json.dumps({"status": error.status_code, "detail": error.detail})))


def _format(event: tuple[str, str]) -> bytes:
    name, data = event
    return format_sse_event(event=name, data_str=data)
