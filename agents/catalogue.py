"""List the tools: what each takes and answers, in schemas that are as short as they can be."""

from collections.abc import Mapping
from inspect import Parameter, Signature
from typing import Annotated, Any, Final, NamedTuple

from mcp.server.mcpserver import Context
from mcp.server.mcpserver.tools import Tool
from mcp.types import CallToolResult, ToolAnnotations
from pydantic import BaseModel, ConfigDict

from agents.answers import Described, MadePiece, Rendering, Similar
from agents.tools import MAX_NEIGHBOURS, Tools
from agents.wishes import MORE_TEXT, described_parameter, parameter
from client import RenderFormat

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
SPAN: Final = (
    parameter("start_bar", text="first bar, counted from 1"),
    parameter("end_bar", text="the bar behind the last one"),
)
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
SILENT: Final = (("default", None), ("additionalProperties", True))
"""Parts of schemas that say nothing to an agent: whatever their value is, and those with this value."""


class Spec(NamedTuple):
    """Hold what is said of a tool.

    Attributes:
        name: of the tool, and of the method of `Tools` that does it.
        text: what it does.
        parameters: what it takes.
        output: what its fields are.
        annotations: hints for whoever asks people whether it may be called.
    """

    name: str
    text: str
    parameters: tuple[Parameter, ...]
    output: type[BaseModel] = MadePiece
    annotations: ToolAnnotations = ADDS


SPECS: Final = (
    Spec("compose", "Make a piece from nothing", (LENGTH, BPM, *NEW_NOTES)),
    Spec(
        "continue_piece",
        "Go on from a piece with new music",
        (
            *PIECE,
            LENGTH,
            parameter("prime_from", "end", "go on from the end of the piece, or from its first prime_seconds (5)"),
            BPM,
            *NEW_NOTES,
        ),
    ),
    Spec(
        "accompany",
        "Keep a piece, or what its melody_instruments play, and write new parts around it",
        (*PIECE, parameter("melody_instruments"), LENGTH, BPM, *NEW_NOTES),
    ),
    Spec(
        "infill",
        "Write bars of a piece again so that they fit what is before and after; with instruments only theirs",
        (*PIECE, *SPAN, BPM, *NEW_NOTES),
    ),
    Spec(
        "vary",
        "Keep a share of the notes of a piece, or of some bars, and write the others again",
        (*PIECE, parameter("similarity", text="share that stays, 0 to 1 (0.5)"), *SPAN, BPM, *NEW_NOTES),
    ),
    Spec(
        "describe",
        "Say what is in a piece: bars, tempo, key, chords, who plays when, a small piano roll, the notes of 8 bars at "
        "most. Without a piece: list the results",
        (*PIECE, BPM, *SPAN),
        Described,
        READS,
    ),
    Spec(
        "render",
        "Make sound (mp3, wav, flac, ogg) or a picture (svg) of a piece, as a file",
        (
            *PIECE,
            BPM,
            described_parameter("format", RenderFormat, "what to make", "mp3"),
            described_parameter("inline", bool, "send it to you too: that takes many tokens", False),
        ),
        Rendering,
    ),
    Spec(
        "similar",
        "Find the MIDI files of a folder that are most similar to a piece",
        (
            *PIECE,
            BPM,
            described_parameter("folder", str | None, "path (default: the results)"),
            described_parameter("count", int, f"how many, 1 to {MAX_NEIGHBOURS}", 5),
        ),
        Similar,
    ),
)


def make_tools(tools: Tools) -> list[Tool]:
    """Return the tools as the SDK takes them."""
    return [_tool(tools, spec) for spec in SPECS]


def _tool(tools: Tools, spec: Spec) -> Tool:
    """Return a tool that takes the arguments that are listed, and no others."""
    method = getattr(tools, spec.name)

    async def call(ctx: Context[Any, Any], **arguments: Any) -> CallToolResult:
        result: CallToolResult = await method(ctx, **arguments)
        return result

    context = Parameter("ctx", Parameter.KEYWORD_ONLY, annotation=Context[Any, Any])
    answer_type = Annotated[CallToolResult, spec.output]
    signature = Signature([context, *spec.parameters], return_annotation=answer_type)
    call.__signature__ = signature  # type: ignore[attr-defined]
    tool = Tool.from_function(call, spec.name, description=spec.text, annotations=spec.annotations)
    metadata = tool.fn_metadata
    metadata.arg_model = type(spec.name, (metadata.arg_model,), {"model_config": ConfigDict(extra="forbid")})
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
        if name not in HIDDEN and (name, value) not in SILENT
    }
    if kinds := [kind for kind in slim.get("anyOf", []) if kind != {"type": "null"}]:
        del slim["anyOf"]
        slim |= kinds[0] if len(kinds) == 1 else {"anyOf": kinds}
    return slim
