"""Offer prompts: what people ask of music, in words that lead to the right tools."""

from typing import Any

from mcp.server.mcpserver import MCPServer


def add_prompts(server: MCPServer[Any]) -> None:
    """Add the prompts to a server."""
    server.prompt(description="Arrange a piece for other instruments")(arrange)
    server.prompt(description="Write a bridge between two bars of a piece")(bridge)


def arrange(midi: str, instruments: str = "strings") -> str:
    """Ask for an arrangement."""
    return (
        f"Arrange {midi} for {instruments}. First describe it, and find who has the melody. Then accompany it with "
        f"melody_instruments set to that instrument and instruments set to {instruments}, in its key, with three "
        "seeds. Describe the results, choose the one whose parts are clearest, render it, and say why you chose it."
    )


def bridge(midi: str, first_bar: str, last_bar: str) -> str:
    """Ask for a bridge; the two bars stay as they are."""
    return (
        f"Write a bridge in {midi} that leads from bar {first_bar} to bar {last_bar}; both stay as they are. Describe "
        f"these bars. Then infill with start_bar one more than {first_bar} and end_bar {last_bar}, with chords that "
        "lead from the one harmony to the other. Compare three seeds by describe, choose one, render it, and say what "
        "it does."
    )
