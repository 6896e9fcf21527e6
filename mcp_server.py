# /// script
# requires-python = ">=3.11"
# dependencies = [
#     "httpx>=0.28,<1",
#     "mcp>=2.3,<3",
#     "mido>=1.3.3,<2",
#     "numpy>=2.1,<3",
#     "platformdirs>=4.3,<5",
#     "pychord>=1.4,<2",
#     "pydantic>=2.12,<3",
# ]
#
# [tool.uv]
# exclude-newer = "2026-11-23T00:00:00Z"
# ///
"""Serve the Model Context Protocol: `uv run mcp_server.py`, in an environment of its own that the lines above name."""

import argparse
import hmac
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import Any, Final

from mcp.server.auth.provider import AccessToken
from mcp.server.auth.settings import AuthSettings
from platformdirs import user_data_path

from agents.errors import AgentError
from agents.files import Files
from agents.server import MusicServer
from agents.service import Service
from agents.tools import Tools
from client import DEFAULT_URL

TOKEN_VARIABLE: Final = "ANTICIPATORY_MCP_TOKEN"
MIN_TOKEN_LENGTH: Final = 16
LOOPBACK: Final = ("127.0.0.1", "localhost", "::1")
"""Where the SDK itself refuses other `Host` and `Origin` headers, so that no web page reaches the server."""


class OneToken:
    """Let in whoever shows the one token."""

    def __init__(self, token: str) -> None:
        self._token = token.encode()

    async def verify_token(self, token: str) -> AccessToken | None:
        """Return an access for the right token; it takes the same time for all wrong ones."""
        if not hmac.compare_digest(token.encode(), self._token):
            return None
        return AccessToken(token=token, client_id="agent", scopes=[])


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the settings, then serve until the client goes away or the process is stopped."""
    parser = make_parser()
    settings = parser.parse_args(arguments)
    try:
        access = _access(settings.http, settings.host, os.environ.get(TOKEN_VARIABLE, ""))
        files = Files(settings.files.expanduser(), [root.expanduser() for root in settings.root])
        service = Service(settings.url, start=settings.start)
    except (AgentError, ValueError) as error:
        parser.error(str(error))
    server = MusicServer(Tools(files, service), **access)
    for each in (signal.SIGTERM, signal.SIGINT):
        signal.signal(each, _stop)
    try:
        with service.running():
            if settings.http is None:
                server.run("stdio")
            else:
                sys.stderr.write(f"MCP is served at http://{settings.host}:{settings.http}/mcp\n")
                server.run("streamable-http", host=settings.host, port=settings.http)
    except _Stopped:
        os._exit(0)  # a thread of the SDK may still wait for stdin, and would be waited for


class _Stopped(SystemExit):
    """Report that the process is to stop; a service that was started here ends first."""


def _stop(signum: int, frame: FrameType | None) -> None:
    raise _Stopped


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(prog="mcp_server.py", description="Give agents the service as tools.")
    parser.add_argument(
        "--url",
        default=os.environ.get("ANTICIPATORY_URL") or DEFAULT_URL,
        help=f"where the service is (default: ANTICIPATORY_URL, or {DEFAULT_URL})",
    )
    parser.add_argument(
        "--start", action="store_true", help="start the service, if none answers, and end it at the end"
    )
    parser.add_argument(
        "--files",
        type=Path,
        default=user_data_path("anticipatory", appauthor=False),
        metavar="FOLDER",
        help="where results are kept (default: %(default)s)",
    )
    parser.add_argument(
        "--root",
        type=Path,
        action="append",
        default=[],
        metavar="FOLDER",
        help="another folder from which MIDI files may be read; may be given several times",
    )
    parser.add_argument("--http", type=_port, metavar="PORT", help="serve streamable HTTP at /mcp (default: stdio)")
    token_help = f"address to listen on with --http; other than loopback only with a token in {TOKEN_VARIABLE}"
    parser.add_argument("--host", default=LOOPBACK[0], help=f"{token_help} (default: %(default)s)")
    return parser


def _port(text: str) -> int:
    if not (text.isdecimal() and 1 <= int(text) <= 65_535):
        raise argparse.ArgumentTypeError(f"{text!r} is no port: 1 to 65535 are")
    return int(text)


def _access(port: int | None, host: str, token: str) -> dict[str, Any]:
    """Return what the server must know of the token. Raise ValueError where one is needed and missing."""
    if port is None:
        return {}
    if not token:
        if host not in LOOPBACK:
            raise ValueError(f"--host {host} lets other machines in: set {TOKEN_VARIABLE}, which they then must show")
        return {}
    if len(token) < MIN_TOKEN_LENGTH:
        raise ValueError(f"{TOKEN_VARIABLE} must have {MIN_TOKEN_LENGTH} characters at least, got {len(token)}")
    nobody: Any = f"http://localhost:{port}"  # issues tokens: there is one, which the operator sets
    return {"token_verifier": OneToken(token), "auth": AuthSettings(issuer_url=nobody, resource_server_url=None)}


if __name__ == "__main__":
    main()
