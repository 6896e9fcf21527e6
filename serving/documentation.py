"""Document the service: /openapi.json, and the pages /docs and /redoc, which need no other server."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from fastapi import FastAPI
from fastapi.openapi.docs import get_redoc_html, get_swagger_ui_html
from fastapi.responses import HTMLResponse, Response
from pydantic import BaseModel
from starlette.staticfiles import StaticFiles

from serving.conversion import Conversion

ASSETS: Final = "docs/assets"
"""The path of the scripts and styles, relative so that the pages also work behind a proxy that adds a prefix."""

NO_ICON: Final = "data:,"
"""Without it, browsers ask for the icon of FastAPI's site."""


@dataclass(frozen=True)
class Documentation:
    """Hold what /docs and /openapi.json say.

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
        """Return arguments for FastAPI's `add_api_route`."""
        errors = {status: {"model": self.error_model, "description": text} for status, text in self.errors.items()}
        return self._request("Answer when everything is done", self.description) | {"responses": errors}

    def streaming_route(self) -> dict[str, Any]:
        """Return likewise those of the route that streams; FastAPI would say of errors that they are streamed too."""
        error = {"application/json": {"schema": {"$ref": f"#/components/schemas/{self.error_model.__name__}"}}}
        event = {"type": "object", "properties": {"event": {"type": "string"}, "data": {"type": "string"}}}
        responses: dict[int, Any] = {
            status: {"content": error, "description": text} for status, text in self.errors.items()
        }
        responses[200] = {"content": {"text/event-stream": {"schema": event}}, "description": "Server-sent events"}
        return self._request("The same, answered while it is made", self.stream_description) | {"responses": responses}

    def conversion_route(self, conversion: Conversion) -> dict[str, Any]:
        """Return likewise those of a route that converts."""
        binary = {"schema": {"type": "string", "format": "binary"}}
        responses: dict[int, Any] = {
            status: {"model": self.error_model, "description": text} for status, text in conversion.errors.items()
        }
        types = [each.media_type for each in conversion.formats.values()]
        responses[200] = {"content": dict.fromkeys(types, binary), "description": "The file"}
        body = {"required": True, "content": dict.fromkeys(conversion.body_types, binary)}
        return {
            "methods": ["POST"],
            "response_class": Response,
            "summary": conversion.summary,
            "description": conversion.description,
            "responses": responses,
            "openapi_extra": {"requestBody": body},
        }

    def _request(self, summary: str, description: str) -> dict[str, Any]:
        named = {name: {"value": example} for name, example in self.examples.items()}
        return {
            "methods": ["POST"],
            "summary": summary,
            "description": description,
            "openapi_extra": {"requestBody": {"content": {"application/json": {"examples": named}}}},
        }


def add_pages(app: FastAPI) -> None:
    """Replace FastAPI's own /docs and /redoc, whose scripts come from the network, by pages with scripts from here."""
    replaced = {app.docs_url, app.redoc_url, app.swagger_ui_oauth2_redirect_url}
    app.router.routes[:] = [route for route in app.router.routes if getattr(route, "path", None) not in replaced]
    app.mount(f"/{ASSETS}", StaticFiles(packages=[("fastapi_offline", "static")]))

    @app.get("/docs", include_in_schema=False)
    async def swagger_ui() -> HTMLResponse:
        return get_swagger_ui_html(
            openapi_url="openapi.json",
            title=app.title,
            swagger_js_url=f"{ASSETS}/swagger-ui-bundle.js",
            swagger_css_url=f"{ASSETS}/swagger-ui.css",
            swagger_favicon_url=NO_ICON,
        )

    @app.get("/redoc", include_in_schema=False)
    async def redoc() -> HTMLResponse:
        return get_redoc_html(
            openapi_url="openapi.json",
            title=app.title,
            redoc_js_url=f"{ASSETS}/redoc.standalone.js",
            redoc_favicon_url=NO_ICON,
            with_google_fonts=False,
        )
