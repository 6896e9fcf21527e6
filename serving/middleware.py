"""Stand between uvicorn and the app: keys, refusals that are counted, pages of other origins."""

import hmac
from collections.abc import Callable, Sequence
from typing import Any, Final

from fastapi import FastAPI
from fastapi.responses import JSONResponse
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.record import COUNTED
from serving.telemetry import TRACE_HEADERS

CORS_METHODS: Final = ("GET", "HEAD", "POST")
CORS_HEADERS: Final = ("Content-Type", "X-API-Key", *TRACE_HEADERS)


class KeyRequired:
    """Answer 401 to what comes without the right `X-API-Key`, but for some paths."""

    def __init__(self, app: ASGIApp, key: str, open_paths: frozenset[str]) -> None:
        self._app, self._key, self._open_paths = app, key.encode(), open_paths

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or refuse it."""
        if scope["type"] == "http" and scope["path"] not in self._open_paths:
            sent = dict(scope["headers"]).get(b"x-api-key", b"")
            if not hmac.compare_digest(sent, self._key):
                refusal = JSONResponse({"detail": "send the service's key in the header X-API-Key"}, status_code=401)
                await refusal(scope, receive, send)
                return
        await self._app(scope, receive, send)


class RefusalCounter:
    """Count the requests that are refused before the handler, which counts its own, has seen them.

    These are all with a status from 400 to 499, and those that end in an exception, which is a 500. A probe that is
    told 503 is no request refused.
    """

    def __init__(self, app: ASGIApp, count: Callable[[int], None]) -> None:
        self._app, self._count = app, count

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, and look at the status of its response."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        state: dict[str, Any] = scope.setdefault("state", {})

        def count(status: int) -> None:
            if not state.get(COUNTED):
                state[COUNTED] = True
                self._count(status)

        async def send_and_count(message: Message) -> None:
            if message["type"] == "http.response.start" and 400 <= message["status"] < 500:
                count(message["status"])
            await send(message)

        try:
            await self._app(scope, receive, send_and_count)
        except Exception:
            count(500)
            raise


def allow_origins(app: FastAPI, origins: Sequence[str]) -> None:
    """Let web pages of these origins call every route and read every response, errors included.

    Preflights are answered without a key: browsers send none with them. A page may also be on the internet and the
    service in a private network, for which some browsers ask leave.
    """
    app.add_middleware(
        CORSMiddleware,
        allow_origins=origins,
        allow_methods=CORS_METHODS,
        allow_headers=CORS_HEADERS,
        expose_headers=("Retry-After",),
        allow_private_network=True,
    )
