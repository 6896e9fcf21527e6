"""Make the answers of tools: fields, the same in words, a link to the file, and on request what it holds."""

import base64
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from mcp.types import AudioContent, CallToolResult, ContentBlock, ImageContent, ResourceLink, TextContent
from pydantic import BaseModel, Field

from agents.files import MIME_TYPES
from agents.summary import Description, Summary

FILE_URI: Final = "music://files/"

MAX_INLINE_BYTES: Final = 2**20
"""A minute of MP3, or so. More would fill any agent's context."""


class MadePiece(Summary):
    """Hold what is said of a piece that was made."""

    midi: str = Field(description="handle for other tools")
    file: str
    seed: int
    shown: dict[str, str] = Field(description="first and last bar; beat: pitches (length in beats)")
    page: str = Field(description="where a person hears it")
    notices: list[str] | None = None


class Rendering(BaseModel):
    """Hold what is said of sound or of a picture."""

    file: str
    bytes: int
    format: str


class Neighbour(BaseModel):
    """Hold a piece that is similar."""

    midi: str
    similarity: float


class Similar(BaseModel):
    """Hold the pieces of a folder that are nearest, the nearest first."""

    nearest: list[Neighbour]
    compared: int
    skipped: int


class Listing(BaseModel):
    """Hold the newest results."""

    files: list[str]
    more: int


class Described(BaseModel):
    """Hold what describe says: of a piece, or which files there are."""

    piece: Description | None = None
    listing: Listing | None = None


def answer(data: BaseModel, lines: list[str], *blocks: ContentBlock) -> CallToolResult:
    """Return the answer of a tool: in words, as fields, and what else belongs to it."""
    return CallToolResult(
        content=[TextContent(type="text", text="\n".join(lines)), *blocks],
        structured_content=data.model_dump(mode="json", exclude_none=True),
    )


def link_to(path: Path) -> ResourceLink:
    """Return a link to a result, which the protocol reads."""
    return ResourceLink(**describe_file(path))


def describe_file(path: Path) -> dict[str, Any]:
    """Return what the protocol says of a result."""
    return {
        "name": path.name,
        "uri": f"{FILE_URI}{quote(path.name)}",
        "mime_type": MIME_TYPES[path.suffix],
        "size": path.stat().st_size,
    }


def contents_of(data: bytes, suffix: str) -> AudioContent | ImageContent:
    """Return sound or a picture as the protocol carries it to an agent."""
    encoded, kind = base64.b64encode(data).decode(), MIME_TYPES[suffix]
    if kind.startswith("image/"):
        return ImageContent(type="image", data=encoded, mime_type=kind)
    return AudioContent(type="audio", data=encoded, mime_type=kind)
