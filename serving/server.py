"""Serve with LitServe in another arrangement of processes: the API in this one, each worker at the end of a pipe.

Stock LitServe talks to its workers through a manager process, lets clients wait for ever when one of them dies, runs
jobs that nobody waits for, and takes any number of requests. Here the death of a worker closes a pipe, and one place
knows what waits and what runs: see `fleet.py`, `supervisor.py` and `scheduler.py`. LitServe's app, routes and limits
stay.
"""

import asyncio
import contextlib
import logging
import sys
from collections.abc import AsyncIterator, Sequence
from functools import partial
from pathlib import Path
from socket import socket
from types import FrameType
from typing import Annotated, Any, Literal

import uvicorn
from fastapi import FastAPI, Query, Request
from fastapi.responses import JSONResponse, PlainTextResponse, Response
from litserve import LitServer
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from serving import telemetry
from serving.batching import BatchingAPI
from serving.conversion import Conversion, ConversionHandler
from serving.converter import Converter
from serving.documentation import Documentation, add_pages
from serving.encoders import Encoders
from serving.fleet import Fleet
from serving.handler import Handler
from serving.json_body import JSONBodyRoute, explain_invalid_requests
from serving.limits import Limits
from serving.middleware import KeyRequired, RefusalCounter, allow_origins
from serving.playground import add_playground
from serving.process import collect_seldom
from serving.record import Recorder
from serving.scheduler import Scheduler
from serving.sse import EventStream
from serving.telemetry import Metrics, start_tracing

logger = logging.getLogger("anticipatory")

LOOPBACK = "127.0.0.1"


class Server(LitServer):  # type: ignore[misc]
    """Serve one `BatchingAPI` at its path and at its path with /stream, beside /health, /info, /metrics and /docs.

    At / is the page, which plays with the sounds of a SoundFont, if there is one. A conversion has a route of its own.
    """

    def __init__(
        self,
        api: BatchingAPI,
        limits: Limits,
        documentation: Documentation,
        conversion: Conversion,
        api_key: str | None,
        sound_font: Path | None = None,
    ) -> None:
        self._limits, self._documentation = limits, documentation
        self._metrics = Metrics("anticipatory")
        self._scheduler = Scheduler(limits.max_batch, limits.max_waiting, self._metrics, limits.max_loaded)
        self._fleet = Fleet(api, limits.step_timeout_seconds, self._scheduler)
        self._api = api
        recorder = Recorder(start_tracing("anticipatory"), self._metrics, api.explain)
        self._encoders = Encoders(api, limits.encoders)
        self._handler = Handler(api, self._scheduler, recorder, self._encoders, limits.timeout_seconds)
        self._converter = Converter(conversion.convert, api.explain)
        self._failure: str | None = None
        super().__init__(
            api,
            accelerator="cpu",  # only says how many workers LitServe would start: see `Fleet`
            devices=1,
            max_payload_size=limits.max_payload_bytes,
        )
        self.app.title, self.app.version = documentation.title, documentation.version
        explain_invalid_requests(self.app)
        add_pages(self.app)
        self._add_conversion(
            conversion, ConversionHandler(conversion, self._converter, recorder, limits.timeout_seconds)
        )
        self._add_middleware(api_key, add_playground(self.app, sound_font))

    def _add_middleware(self, api_key: str | None, page: frozenset[str]) -> None:
        """Wrap the app in middleware; what is added last is outermost."""
        if api_key:
            open_paths = page | {"/health"} | ({"/metrics"} if self._limits.public_metrics else set())
            self.app.add_middleware(KeyRequired, key=api_key, open_paths=open_paths)
        elif self._limits.host != LOOPBACK:
            logger.warning(
                "anybody who reaches port %d may use the service: set LIT_SERVER_API_KEY, or --host %s",
                self._limits.port,
                LOOPBACK,
            )
        self.app.add_middleware(RefusalCounter, count=self._metrics.count_request)
        if self._limits.cors_origins:
            allow_origins(self.app, self._limits.cors_origins)

    def _register_internal_endpoints(self) -> None:
        text = {"content": {"text/plain": {"schema": {"type": "string"}}}}
        not_ready = {503: text | {"description": "not ready: starting or restarting"}}
        add = self.app.add_api_route
        add("/health", self._health, response_class=PlainTextResponse, responses=not_ready, summary="ok, if it is")
        add("/health", self._health, methods=["HEAD"], include_in_schema=False)  # load balancers ask so
        add("/info", self._info, summary="Sizes, workers, limits and version")
        add("/metrics", self._prometheus, response_class=PlainTextResponse, summary="Metrics for Prometheus")

    def _register_api_endpoints(self, lit_api: BatchingAPI, request_type: Any, response_type: Any) -> None:
        body_type: Any = lit_api.request_type  # LitServe's is that of an annotation, which knows no settings

        async def predict(request: Request, body: body_type) -> Response:
            return await self._handler.predict(request, body)

        async def stream(request: Request, body: body_type) -> Response:
            return await self._handler.stream(request, body)

        path, texts = lit_api.api_path, self._documentation
        add = partial(self.app.router.add_api_route, route_class_override=JSONBodyRoute)
        add(path, predict, response_model=response_type, **texts.route())
        add(f"{path}/stream", stream, response_class=EventStream, status_code=200, **texts.streaming_route())

    def _add_conversion(self, conversion: Conversion, handler: ConversionHandler) -> None:
        names = Literal[*conversion.formats]  # type: ignore[valid-type]
        wanted = Annotated[names | None, Query(description="Of the answer; without it, Accept says which.")]

        async def convert(request: Request, format: wanted = None) -> Response:
            return await handler.answer(request, format)

        self.app.add_api_route(conversion.path, convert, **self._documentation.conversion_route(conversion))

    async def _health(self) -> PlainTextResponse:
        return PlainTextResponse("ok") if self._scheduler.is_ready else PlainTextResponse("not ready", 503)

    async def _info(self) -> JSONResponse:
        names = ("max_batch", "max_waiting", "max_loaded", "timeout_seconds", "max_payload_bytes")
        limits = {name: getattr(self._limits, name) for name in names}
        ready = {"version": self._documentation.version, "ready": self._scheduler.is_ready}
        infos, workers = self._scheduler.infos, [worker.describe() for worker in self._scheduler.workers]
        offered = self._api.describe(infos) if infos else {}
        return JSONResponse({**ready, **offered, "limits": limits, "workers": workers})

    async def _prometheus(self) -> Response:
        return Response(generate_latest(), headers={"Content-Type": CONTENT_TYPE_LATEST})

    @contextlib.asynccontextmanager
    async def lifespan(self, app: FastAPI) -> AsyncIterator[None]:
        """Keep the workers alive as long as the app, and what encodes."""
        collect_seldom()
        self._encoders.start()
        supervision = asyncio.create_task(self._supervise())
        try:
            yield
        finally:
            supervision.cancel()
            self._converter.close()
            self._encoders.close()
            await asyncio.gather(self._fleet.stop(), asyncio.to_thread(telemetry.finish))

    async def _supervise(self) -> None:
        try:
            self._failure = await self._fleet.run()
        except Exception as error:
            logger.exception("the workers cannot be kept running")
            self._failure = str(error)
        self._uvicorn.should_exit = True

    def run(self) -> None:
        """Serve until SIGTERM or Ctrl-C, then let what runs finish.

        Raises:
            SystemExit: with a message if a worker cannot be set up as it is configured, or the port is taken.
        """
        limits = self._limits
        config = uvicorn.Config(
            self.app,
            host=limits.host,
            port=limits.port,
            log_config=None,
            access_log=False,
            log_level="warning",
            timeout_graceful_shutdown=round(limits.drain_seconds) + 2,
        )
        self._uvicorn = _Uvicorn(config, [self._scheduler, self._converter], limits.drain_seconds)
        sockets = [config.bind_socket()]
        logger.info("listening on http://%s:%d: the page is there, documentation at /docs", limits.host, limits.port)
        self._uvicorn.run(sockets)
        if self._failure is not None:
            sys.exit(f"the service could not start: {self._failure}")
        logger.info("stopped")


class _Uvicorn(uvicorn.Server):
    """Run uvicorn so that requests finish however often it is told to stop; those that cannot are answered 503."""

    def __init__(self, config: uvicorn.Config, queues: Sequence[Scheduler | Converter], drain_seconds: float) -> None:
        super().__init__(config)
        self._queues, self._drain_seconds = queues, drain_seconds

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Stop; the signal must not end the process afterwards."""
        self.should_exit = True

    async def shutdown(self, sockets: list[socket] | None = None) -> None:
        """Take no more requests, finish those that are there; after the drain time they get 503."""
        logger.info("stopping: what runs has %g s to finish", self._drain_seconds)
        text = "the service has been stopped before this was finished: try again later"
        for queue in self._queues:
            queue.stop()
            asyncio.get_running_loop().call_later(self._drain_seconds, queue.abort_all, 503, text)
        await super().shutdown(sockets)
