"""Hand out the page at /, its scripts, and the sounds that it plays with."""

from pathlib import Path
from typing import Final

from fastapi import FastAPI, HTTPException, Request
from fastapi.responses import Response
from starlette.staticfiles import StaticFiles

FOLDER: Final = Path(__file__).parent.parent / "playground"
ASSETS: Final = "/playground"
SOUND_FONT: Final = "/soundfont"

MEDIA_TYPES: Final = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".sf2": "audio/x-soundfont",
    ".svg": "image/svg+xml",
}
"""Not left to the machine: some believe that scripts are plain text, and browsers refuse those."""

HEADERS: Final = {
    # Browsers ask each time whether a file has changed, and are told 304: a new version is there at once.
    "Cache-Control": "no-cache",
    "Content-Security-Policy": "default-src 'self'; object-src 'none'; base-uri 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}

NO_SOUND_FONT: Final = "this service has no SoundFont: install pretty-midi, or start it with --soundfont FILE"


def add_playground(app: FastAPI, sound_font: Path | None) -> frozenset[str]:
    """Add the page, each of its files and the SoundFont; return their paths, which need no key."""
    routes = {f"{ASSETS}/{file.name}": file for file in FOLDER.iterdir() if file.suffix in MEDIA_TYPES}
    routes["/"] = FOLDER / "index.html"
    for path, file in routes.items():
        _add_file(app, path, file)
    _add_file(app, SOUND_FONT, sound_font)
    return frozenset({*routes, SOUND_FONT})


def _add_file(app: FastAPI, path: str, file: Path | None) -> None:
    async def send(request: Request) -> Response:
        if file is None:
            raise HTTPException(404, NO_SOUND_FONT)
        # It answers 304 to those who have the file: ETags are of its size and its time.
        response = await StaticFiles(directory=file.parent).get_response(file.name, request.scope)
        response.headers.update(HEADERS)
        if response.status_code == 200:
            response.headers["Content-Type"] = MEDIA_TYPES[file.suffix]
        return response

    app.add_api_route(path, send, methods=["GET", "HEAD"], include_in_schema=False)
