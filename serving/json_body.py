"""Read request bodies that are JSON objects, and say in one sentence what is wrong with any other."""

import json
from collections.abc import Callable, Coroutine
from email.message import Message
from itertools import islice
from typing import Any, Final

from fastapi import FastAPI, HTTPException, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from fastapi.routing import APIRoute
from starlette.requests import ClientDisconnect

from serving.record import CLIENT_GONE

MAX_PROBLEMS: Final = 20
"""Named in one response: a request can have as many as it has bytes."""

_KINDS: Final = {list: "an array", str: "a string", bool: "a boolean", type(None): "null"}


class JSONBodyRoute(APIRoute):
    """Route requests whose body must be a JSON object; FastAPI alone has several answers to what cannot be read."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return FastAPI's handler with these errors before its own.

        400: the body is empty, or not JSON that can be read. 413: it is too large. 415: its content type is not JSON.
        422: it is JSON, but no object.
        """
        handle = super().get_route_handler()

        async def handle_json(request: Request) -> Response:
            body = await receive_body(request)
            if not body:
                raise HTTPException(400, "the body is empty: send a JSON object; {} stands for all defaults")
            _check_content_type(request.headers.get("content-type"))
            return await handle(_JSONRequest(request, body))

        return handle_json


class _JSONRequest(Request):
    """A request whose body has been received; FastAPI asks it for the JSON."""

    def __init__(self, request: Request, body: bytes) -> None:
        super().__init__(request.scope, request.receive)
        self._content = body

    async def body(self) -> bytes:
        """Return the bytes received."""
        return self._content

    async def json(self) -> Any:
        """Return the object."""
        return parse_object(self._content)


async def receive_body(request: Request) -> bytes:
    """Return the bytes of a body. Raise an HTTPException if the client goes away meanwhile."""
    try:
        return await request.body()
    except ClientDisconnect as error:
        raise HTTPException(CLIENT_GONE, "the client went away") from error


def parse_object(body: bytes) -> dict[str, Any]:
    """Return the JSON object that a body holds, in UTF-8 as RFC 8259 has it.

    Raises:
        HTTPException: 400 when it cannot be read, 422 when it is no object.
    """
    try:
        value = json.loads(body.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise _unreadable(f"byte {error.start} is not UTF-8") from error
    except json.JSONDecodeError as error:
        raise _unreadable(str(error)) from error
    except RecursionError as error:
        raise _unreadable("it is nested too deeply") from error
    except ValueError as error:  # Python bounds the digits of an integer
        raise _unreadable("a number has too many digits") from error
    if not isinstance(value, dict):
        kind = _KINDS.get(type(value), "a number")
        raise HTTPException(422, f"the body must be a JSON object, in braces, and is {kind}")
    return value


def _unreadable(reason: str) -> HTTPException:
    return HTTPException(400, f"the body is not JSON that can be read: {reason}")


def _check_content_type(sent: str | None) -> None:
    """Raise an HTTPException with status 415 unless it is application/json, or application/*+json."""
    message = Message()
    message["content-type"] = sent or ""
    is_json = message.get_content_subtype() == "json" or message.get_content_subtype().endswith("+json")
    if not (sent and message.get_content_maintype() == "application" and is_json):
        what = f"has the content type {sent}" if sent else "has no content type"
        raise HTTPException(415, f"the body {what}: send JSON with the header Content-Type: application/json")


def explain_invalid_requests(app: FastAPI) -> None:
    """Make the app answer 422 with the place and the reason of each problem, without sending the input back."""

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
        return JSONResponse({"detail": detail}, status_code=422)
