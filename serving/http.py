"""What LitServe's app does not do by itself: errors that people can read."""

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse


def explain_invalid_requests(app: FastAPI) -> None:
    """Answer 422 with where and what, without sending the whole input back."""

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        detail = [
            {
                "loc": [part for part in problem["loc"] if part != "body"],
                "msg": problem["msg"].removeprefix("Value error, "),
                "type": problem["type"],
            }
            for problem in error.errors()
        ]
        return JSONResponse({"detail": detail}, status_code=422)
