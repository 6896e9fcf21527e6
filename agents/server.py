"""Put the tools, resources and prompts together as a server of the Model Context Protocol."""

from typing import Any, Final

from mcp.server.mcpserver import Context, MCPServer
from mcp.server.mcpserver.exceptions import ResourceNotFoundError, ToolError
from mcp.types import Resource
from pydantic import ValidationError

from agents.answers import FILE_URI, describe_file
from agents.catalogue import make_tools
from agents.errors import AgentError, FileRefused
from agents.prompts import add_prompts
from agents.tools import Tools
from amt.errors import AMTError
from amt.midi.instruments import NAMES
from client import AnticipatoryError

INSTRUCTIONS: Final = (
    "Makes music as MIDI files. Every result has a handle (compose-1) that other tools take as midi. Bars count from "
    "1; end_bar is the bar behind the last. A variation or another seed is cheap: make several, describe them, choose."
)

MAX_PROBLEMS: Final = 5


class MusicServer(MCPServer[Any]):
    """Serve tools whose errors are sentences, and files as resources."""

    def __init__(self, tools: Tools, **options: Any) -> None:
        super().__init__(
            "anticipatory", instructions=INSTRUCTIONS, tools=make_tools(tools), log_level="WARNING", **options
        )
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


def _sentence(error: ValidationError) -> str:
    """Return what is wrong with the arguments of a tool."""
    problems = []
    for each in error.errors():
        name = ".".join(map(str, each["loc"]))
        if each["type"] == "extra_forbidden":
            problems.append(f"there is no argument {name}: fields of the HTTP API that are not listed go into more")
        else:
            problems.append(f"{name}: {each['msg']}")
    return "; ".join(problems[:MAX_PROBLEMS])
