"""Put the tools, resources and prompts together as a server of the Model Context Protocol."""

from collections.abc import Callable, Mapping
from inspect import Parameter, Signature
from typing import Annotated, Any, Final

from mcp.server.mcpserver import Context, MCPServer
from mcp.server.mcpserver.exceptions import ResourceNotFoundError, ToolError
from mcp.server.mcpserver.tools import Tool
from mcp.types import CallToolResult, Resource, ToolAnnotations
from pydantic import BaseModel, ConfigDict, ValidationError

from agents.answers import FILE_URI, Described, MadePiece, Rendering, Similar, describe_file
from agents.errors import AgentError, FileRefused
from agents.prompts import add_prompts
from agents.tools import MAX_NEIGHBOURS, Tools
from agents.wishes import MORE_TEXT, described_parameter, parameter
from amt.errors import AMTError
from amt.midi.instruments import NAMES
from client import AnticipatoryError, RenderFormat

INSTRUCTIONS: Final = (
    "Makes music as MIDI files. Every result has a handle (compose-1) that other tools take as midi. Bars count from "
    "1; end_bar is the bar behind the last. A variation or another seed is cheap: make several, describe them, choose."
)

PIECE: Final = (
    described_parameter("midi", str | None, "handle of an earlier result, or path of a MIDI file"),
    described_parameter(
        "notes",
        list[dict[str, Any]] | None,
        "or a short list of notes: onset and duration in beats (quarter notes), pitch (60: C4), instrument",
    ),
)
MORE: Final = described_parameter("more", dict[str, Any] | None, MORE_TEXT)
LENGTH: Final = parameter("length_bars", text="bars of new music")
START: Final = parameter("start_bar", text="first bar, counted from 1")
END: Final = parameter("end_bar", text="the bar behind the last one")
NEW_NOTES: Final = (
    described_parameter("instruments", list[int | str] | None, "who plays new notes: General MIDI names or families"),
    parameter("key", text="such as C minor, D dorian"),
    described_parameter("chords", str | None, "a bar each: Cm | Fm | G7 | Cm"),
    parameter("density", text="new notes a second, 0.1 to 50"),
    parameter("grid", text="where new notes begin"),
    parameter("seed", text="for the same music again"),
    MORE,
)
BPM: Final = parameter("bpm", text="tempo, 20 to 300")

ADDS: Final = ToolAnnotations(
    read_only_hint=False, destructive_hint=False, idempotent_hint=False, open_world_hint=False
)
READS: Final = ToolAnnotations(read_only_hint=True, open_world_hint=False)

HIDDEN: Final = frozenset({"title"})
DEFAULTS: Final = (("default", None), ("additionalProperties", True))
"""Parts of schemas that say nothing to an agent."""


class MusicServer(MCPServer[Any]):
    """Serve tools whose errors are sentences, and files as resources."""

    def __init__(self, tools: Tools, **options: Any) -> None:
        super().__init__("anticipatory", instructions=INSTRUCTIONS, tools=_tools(tools), log_level="WARNING", **options)
        self._files = tools.files
        text = "General MIDI instruments with their numbers"
        self.resource("music://instruments", name="instruments", description=text)(_instruments)
        self.resource(f"{FILE_URI}{{name}}", name="file", description="a result")(self._read_file)
        add_prompts(self)

    async def call_tool(self, name: str, arguments: dict[str, Any], context: Context[Any, Any] | None = None) -> Any:
        """Call a tool; what is wrong with a call is said in the sentence of whoever found it."""
        try:
            return await super().call_tool(name, arguments, context)
        except ToolError as error:
            cause = error.__cause__
            if isinstance(cause, ValidationError):
                raise ToolError(_sentence(cause)) from cause
            if isinstance(cause, AnticipatoryError | AMTError | AgentError):
                raise ToolError(str(cause)) from cause
            raise

    async def list_resources(self) -> list[Resource]:
        """List the resources that are always there, then the results, the newest first."""
        results = [Resource(**describe_file(path)) for path in self._files.results()]
        return [*await super().list_resources(), *results]

    def _read_file(self, name: str) -> bytes:
        try:
            return self._files.read_result(name)
        except FileRefused as error:
            raise ResourceNotFoundError(str(error)) from error


def _instruments() -> str:
    """Return the names of all instruments with their numbers."""
    return "\n".join(f"{number} {name}" for number, name in enumerate(NAMES))


def _tools(tools: Tools) -> list[Tool]:
    """Return the tools, with what they take and answer."""
    span, melody = (START, END), parameter("melody_instruments")
    begin = parameter("prime_from", "end", "go on from the end of the piece, or from its first prime_seconds (5)")
    return [
        _tool(
            tools.compose,
            "Make a piece from nothing",
            (LENGTH, BPM, *NEW_NOTES),
            MadePiece,
        ),
        _tool(
            tools.continue_piece,
            "Go on from a piece with new music",
            (*PIECE, LENGTH, begin, BPM, *NEW_NOTES),
            MadePiece,
        ),
        _tool(
            tools.accompany,
            "Keep a piece, or the melody_instruments of it, and write new parts around it",
            (*PIECE, melody, LENGTH, BPM, *NEW_NOTES),
            MadePiece,
        ),
        _tool(
            tools.infill,
            "Write bars of a piece again so that they fit what is before and after; with instruments only theirs",
            (*PIECE, *span, BPM, *NEW_NOTES),
            MadePiece,
        ),
        _tool(
            tools.vary,
            "Keep a share of the notes of a piece, or of some bars, and write the others again",
            (*PIECE, parameter("similarity", text="share that stays, 0 to 1 (0.5)"), *span, BPM, *NEW_NOTES),
            MadePiece,
        ),
        _tool(
            tools.describe,
            "Say what is in a piece: bars, tempo, key, chords, who plays when, a small piano roll, the notes of 8 bars "
            "at most. Without a piece: list the results",
            (*PIECE, BPM, *span),
            Described,
            READS,
        ),
        _tool(
            tools.render,
            "Make sound (mp3, wav, flac, ogg) or a picture (svg) of a piece, as a file",
            (
                *PIECE,
                BPM,
                described_parameter("format", RenderFormat, "what to make", "mp3"),
                described_parameter("inline", bool, "send it to you too: that takes many tokens", False),
            ),
            Rendering,
        ),
        _tool(
            tools.similar,
            "Find the MIDI files of a folder that are most similar to a piece",
            (
                *PIECE,
                BPM,
                described_parameter("folder", str | None, "path (default: the results)"),
                described_parameter("count", int, f"how many, 1 to {MAX_NEIGHBOURS}", 5),
            ),
            Similar,
        ),
    ]


def _tool(
    method: Callable[..., Any],
    text: str,
    parameters: tuple[Parameter, ...],
    output: type[BaseModel],
    annotations: ToolAnnotations = ADDS,
) -> Tool:
    """Return a tool that takes no other arguments, with schemas that are as short as they can be."""
    takes_context = "ctx" in Signature.from_callable(method).parameters

    async def call(ctx: Context[Any, Any], **arguments: Any) -> CallToolResult:
        result: CallToolResult = await method(**({"ctx": ctx} if takes_context else {}), **arguments)
        return result

    context = Parameter("ctx", Parameter.KEYWORD_ONLY, annotation=Context[Any, Any])
    answer_type = Annotated[CallToolResult, output]
    call.__signature__ = Signature([context, *parameters], return_annotation=answer_type)  # type: ignore[attr-defined]
    tool = Tool.from_function(call, method.__name__, description=text, annotations=annotations)
    metadata = tool.fn_metadata
    metadata.arg_model = type(method.__name__, (metadata.arg_model,), {"model_config": ConfigDict(extra="forbid")})
    tool.parameters = _slim(metadata.arg_model.model_json_schema(by_alias=True))
    metadata.output_schema = _slim(metadata.output_schema or {})
    return tool


def _slim(schema: Any) -> Any:
    """Return a schema without titles, and without null where a value may be left out."""
    if isinstance(schema, list):
        return [_slim(each) for each in schema]
    if not isinstance(schema, Mapping):
        return schema
    slim = {
        name: {key: _slim(each) for key, each in value.items()} if name == "properties" else _slim(value)
        for name, value in schema.items()
        if name not in HIDDEN and (name, value) not in DEFAULTS
    }
    if kinds := [kind for kind in slim.get("anyOf", []) if kind != {"type": "null"}]:
        del slim["anyOf"]
        slim |= kinds[0] if len(kinds) == 1 else {"anyOf": kinds}
    return slim


def _sentence(error: ValidationError) -> str:
    """Return what is wrong with the arguments of a tool."""
    problems = []
    for each in error.errors():
        name = ".".join(map(str, each["loc"]))
        if each["type"] == "extra_forbidden":
            problems.append(f"there is no argument {name}: fields of the HTTP API that are not listed go into more")
        else:
            problems.append(f"{name}: {each['msg']}")
    return "; ".join(problems[:5])
