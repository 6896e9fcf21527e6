"""What LitServe's app does not do by itself: errors that people can read, keys for every route, documentation."""

import hmac
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from starlette.types import ASGIApp, Receive, Scope, Send

MAX_PROBLEMS: Final = 20
"""Named in one answer: a request can have as many as it has bytes."""


@dataclass(frozen=True)
class Documentation:
    """What /docs and /openapi.json say.

    Attributes:
        title: of the service.
        version: of the service.
        description: of the route, in Markdown.
        stream_description: of the route that streams.
        errors: what each status other than 200 means.
        error_model: the body of those.
        examples: request bodies by name, for /docs to choose from.
    """

    title: str
    version: str
    description: str
    stream_description: str
    errors: Mapping[int, str]
    error_model: type[BaseModel]
    examples: Mapping[str, Any]

    def route(self) -> dict[str, Any]:
        """Arguments for FastAPI's `add_api_route`."""
        errors = {status: {"model": self.error_model, "description": text} for status, text in self.errors.items()}
        return self._request("Answer when everything is done", self.description) | {"responses": errors}

    def streaming_route(self) -> dict[str, Any]:
        """Likewise; FastAPI would say of the errors that they are streamed too."""
        error = {"application/json": {"schema": {"$ref": f"#/components/schemas/{self.error_model.__name__}"}}}
        event = {"type": "object", "properties": {"event": {"type": "string"}, "data": {"type": "string"}}}
        responses: dict[int, Any] = {
            status: {"content": error, "description": text} for status, text in self.errors.items()
        }
        responses[200] = {"content": {"text/event-stream": {"schema": event}}, "description": "Server-sent events"}
        return self._request("The same, answered while it is made", self.stream_description) | {"responses": responses}

    def _request(self, summary: str, description: str) -> dict[str, Any]:
        named = {name: {"value": example} for name, example in self.examples.items()}
        return {
            "methods": ["POST"],
            "summary": summary,
            "description": description,
            "openapi_extra": {"requestBody": {"content": {"application/json": {"examples": named}}}},
        }


def explain_invalid_requests(app: FastAPI, refused: Callable[[int], None]) -> None:
    """Answer 422 with where and what, without sending the whole input back; `refused` is told the status."""

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        detail = [
            {
                "loc": [part for part in problem["loc"] if part != "body"],
                "msg": problem["msg"],
                "type": problem["type"],
            }
            for problem in islice(error.errors(), MAX_PROBLEMS)
        ]
        refused(422)
        return JSONResponse({"detail": detail}, status_code=422)


class KeyRequired:
    """ASGI middleware: 401 without the right `X-API-Key`, but for some paths."""

    def __init__(self, app: ASGIApp, key: str, open_paths: frozenset[str]) -> None:
        self._app, self._key, self._open_paths = app, key.encode(), open_paths

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or refuse it."""
        if scope["type"] == "http" and scope["path"] not in self._open_paths:
            given = dict(scope["headers"]).get(b"x-api-key", b"")
            if not hmac.compare_digest(given, self._key):
                refusal = JSONResponse({"detail": "send the service's key in the header X-API-Key"}, status_code=401)
                await refusal(scope, receive, send)
                return
        await self._app(scope, receive, send)
