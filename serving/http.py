"""What LitServe's app does not do by itself: errors that people can read, and documentation of its route."""

from collections.abc import Mapping
from itertools import islice
from typing import Any, Final

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.routing import APIRoute
from pydantic import BaseModel

MAX_PROBLEMS: Final = 20
"""Named in one answer: a request can have as many as it has bytes."""


def explain_invalid_requests(app: FastAPI) -> None:
    """Answer 422 with where and what, without sending the whole input back."""

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


def document(
    app: FastAPI,
    path: str,
    summary: str,
    description: str,
    errors: Mapping[int, str],
    error_model: type[BaseModel],
    examples: Mapping[str, Any],
) -> None:
    """Register a route that LitServe made once more, with what /docs and /openapi.json should say of it.

    Args:
        app: LitServe's.
        path: of the route.
        summary: its title.
        description: its text, in Markdown.
        errors: what each status other than 200 means.
        error_model: the body of those.
        examples: request bodies by name, for /docs to choose from.
    """
    route = next(route for route in app.routes if isinstance(route, APIRoute) and route.path == path)
    app.router.routes.remove(route)
    named = {name: {"value": example} for name, example in examples.items()}
    app.add_api_route(
        path,
        route.endpoint,
        methods=["POST"],
        dependencies=route.dependencies,
        response_model=route.response_model,
        summary=summary,
        description=description,
        responses={status: {"model": error_model, "description": text} for status, text in errors.items()},
        openapi_extra={"requestBody": {"content": {"application/json": {"examples": named}}}},
    )
