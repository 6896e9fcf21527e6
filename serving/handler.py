"""Take a request through the API process: admit it, decode its job, wait for the result, encode the response."""

import asyncio
import json
from collections.abc import AsyncGenerator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing, contextmanager
from functools import partial
from typing import Any, TypeVar

from fastapi import Request
from fastapi.responses import Response
from opentelemetry import trace

from serving.abortable import limited
from serving.batching import BatchingAPI, Report, UpdateEncoder
from serving.encoders import Encoders
from serving.messages import Done
from serving.record import Recorder, RequestBody, RequestRecord
from serving.scheduler import Scheduler
from serving.sse import KEEP_ALIVE_SECONDS, Event, EventStream, encode_events, with_pauses
from serving.telemetry import trace_headers
from serving.ticket import Ticket

T = TypeVar("T")


class Handler:
    """Answer requests with the results of the workers."""

    def __init__(
        self, api: BatchingAPI, scheduler: Scheduler, recorder: Recorder, encoders: Encoders, timeout_seconds: float
    ) -> None:
        self._api, self._scheduler, self._timeout = api, scheduler, timeout_seconds
        self._recorder, self._encoders = recorder, encoders
        # Few, for they share the interpreter with the event loop; of their own, for a large file takes seconds.
        self._threads = ThreadPoolExecutor(2, "codec")
        # Those that wait for other processes must not keep requests from being decoded.
        self._encoding = ThreadPoolExecutor(encoders.count, "encode") if encoders.count else self._threads

    async def predict(self, request: Request, body: RequestBody) -> Response:
        """Answer when everything is done."""
        async with aclosing(self._events(request, body, streams=False)) as events:
            async for event in events:
                _, response = event
        return Response(response, media_type="application/json")

    async def stream(self, request: Request, body: RequestBody) -> Response:
        """Answer with server-sent events from the first one on.

        An error before that has a status of its own, unless the first event takes longer than `KEEP_ALIVE_SECONDS`:
        then the stream begins with a comment, so that no proxy takes it for dead, and an error is its last event.
        """
        events = with_pauses(self._events(request, body, streams=True), KEEP_ALIVE_SECONDS)
        first = await anext(events)
        return EventStream(encode_events(first, events))

    async def _events(self, request: Request, body: RequestBody, *, streams: bool) -> AsyncGenerator[Event]:
        """Yield what happens; the last event is the result. Leaving early gives up the request's place.

        Raises:
            HTTPException: there is no result; it says why.
        """
        name = f"{request.url.path.strip('/')} {body.task}"
        with (
            self._recorder.record(request, body, name) as record,
            self._scheduler.admit(self._api.rows(body)) as ticket,
            limited(request, self._timeout, partial(self._scheduler.abort, ticket)),
        ):
            async with aclosing(self._outcome(record, ticket, streams=streams)) as events:
                async for event in events:
                    yield event

    async def _outcome(self, record: RequestRecord, ticket: Ticket, *, streams: bool) -> AsyncGenerator[Event]:
        """Yield the events of a request that has been admitted."""
        body, headers = record.body, trace_headers(record.span)
        with self._span("decode", record):
            job = await ticket.unless_aborted(
                self._in_thread(self._api.decode_request, body, self._scheduler.info, headers, streams=streams)
            )
        record.labels["size"] = job.group
        self._scheduler.submit(ticket, job)
        encode_update: UpdateEncoder | None = None
        async for message in ticket.outcome():
            if isinstance(message, Done):
                break
            if encode_update is None:
                encode_update = await self._in_thread(self._api.update_encoder, body, job)
            for name, data in encode_update(message.data):
                yield name, json.dumps(data)
        assert isinstance(message, Done)
        report = self._report(record, ticket)
        with self._span("encode", record):
            result = body, ticket.job, message.result, ticket.info, report
            response = await asyncio.get_running_loop().run_in_executor(self._encoding, self._encoders.encode, *result)
        yield "result", response

    def _report(self, record: RequestRecord, ticket: Ticket) -> Report:
        """Return where the time went of a request whose job has just been done, and tell the metrics."""
        assert ticket.started
        wait_seconds = ticket.started - record.received
        report = Report(
            trace_id=record.trace_id,
            span_id=record.span_id,
            queue_seconds=wait_seconds - ticket.load_seconds,
            load_seconds=ticket.load_seconds,
            compute_seconds=record.seconds - wait_seconds,
        )
        self._recorder.metrics.record_durations(report.queue_seconds, report.compute_seconds, record.labels)
        return report

    async def _in_thread(self, function: Callable[..., T], *args: Any, **named: Any) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, partial(function, *args, **named))

    @contextmanager
    def _span(self, name: str, record: RequestRecord) -> Iterator[None]:
        span = self._recorder.tracer.start_span(name, trace.set_span_in_context(record.span))
        try:
            yield
        finally:
            span.end()
