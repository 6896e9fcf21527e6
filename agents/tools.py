"""Do what the tools say: ask the service, keep its music as files, and say in few words what it is."""

import asyncio
import secrets
from collections.abc import Mapping
from contextlib import aclosing
from pathlib import Path
from typing import Any, Final

from mcp.server.mcpserver import Context
from mcp.types import CallToolResult

from agents import answers
from agents.answers import answer, contents_of, link_to
from agents.errors import PieceRefused
from agents.files import Files
from agents.link import page_link, page_opener
from agents.pieces import GivenPiece, take_piece
from agents.service import Report, Service
from agents.similar import Index
from agents.summary import Analysis, Summary, say_description, say_summary
from agents.wishes import gather
from amt.midi.codec import read_piece
from client import Event, RenderFormat, Result, Task

MAX_DRAWN_SEED: Final = 1_000_000
"""Seeds that are drawn here are short to say."""

MAX_LISTED: Final = 20
MAX_NEIGHBOURS: Final = 20
PROGRESS_STEPS: Final = 20
"""How often the progress of a piece is told."""


class Tools:
    """Hold what all tools share: the files and the service. Each method is a tool."""

    def __init__(self, files: Files, service: Service) -> None:
        self.files = files
        self.service = service
        self._index = Index(files, service.client)

    async def compose(self, ctx: Context[Any, Any], **wishes: Any) -> CallToolResult:
        """Make a piece from nothing."""
        fields = _with_seed(gather(*_apart(wishes)))
        return await self._make(ctx, "generate", "compose", None, fields)

    async def continue_piece(self, ctx: Context[Any, Any], **wishes: Any) -> CallToolResult:
        """Go on from a piece."""
        return await self._edit(ctx, "continue", "continue", wishes)

    async def accompany(self, ctx: Context[Any, Any], **wishes: Any) -> CallToolResult:
        """Write parts around a piece."""
        return await self._edit(ctx, "accompany", "accompany", wishes)

    async def infill(self, ctx: Context[Any, Any], **wishes: Any) -> CallToolResult:
        """Write a span of a piece again."""
        return await self._edit(ctx, "infill", "infill", wishes)

    async def vary(self, ctx: Context[Any, Any], **wishes: Any) -> CallToolResult:
        """Write a share of a piece's notes again."""
        return await self._edit(ctx, "variation", "vary", wishes)

    async def describe(
        self,
        ctx: Context[Any, Any],
        midi: str | None = None,
        notes: list[Mapping[str, Any]] | None = None,
        bpm: float | None = None,
        start_bar: int | None = None,
        end_bar: int | None = None,
    ) -> CallToolResult:
        """Say what is in a piece; without one, which results there are."""
        if midi is None and notes is None:
            return self._list()
        piece = take_piece(self.files, midi, notes, bpm)
        if start_bar is not None and end_bar is not None and end_bar <= start_bar:
            raise PieceRefused(f"end_bar must be after start_bar {start_bar}, got {end_bar}")
        analysis = Analysis(await asyncio.to_thread(piece.read))
        if start_bar is not None and start_bar > analysis.n_bars:
            raise PieceRefused(f"start_bar must be in range 1..{analysis.n_bars}, got {start_bar}")
        description = await asyncio.to_thread(analysis.describe, start_bar, end_bar)
        return answer(answers.Described(piece=description), say_description(piece.name, description))

    def _list(self) -> CallToolResult:
        paths = self.files.results()
        listing = answers.Listing(files=[path.name for path in paths[:MAX_LISTED]], more=len(paths[MAX_LISTED:]))
        more = [f"and {listing.more} older ones"] if listing.more else []
        lines = [f"in {self.files.folder}:", *(listing.files or ["nothing yet"]), *more]
        return answer(answers.Described(listing=listing), lines)

    async def render(
        self,
        ctx: Context[Any, Any],
        midi: str | None = None,
        notes: list[Mapping[str, Any]] | None = None,
        bpm: float | None = None,
        format: RenderFormat = "mp3",
        inline: bool = False,
    ) -> CallToolResult:
        """Make sound or a picture of a piece."""
        piece = take_piece(self.files, midi, notes, bpm)
        await self.service.ready(_reporter(ctx))
        data = await self.service.client.render(piece.data, format=format)
        path = self.files.create(Path(piece.name).stem, f".{format}", data)
        lines = [f"{path.name}: {len(data) / 1_000:.0f} kB", f"file: {path}"]
        blocks: list[Any] = [link_to(path)]
        if inline and len(data) <= answers.MAX_INLINE_BYTES:
            blocks.append(contents_of(data, path.suffix))
        elif inline:
            lines.append(f"it is too large to be sent here: at most {answers.MAX_INLINE_BYTES // 1_000} kB are")
        return answer(answers.Rendering(file=str(path), bytes=len(data), format=format), lines, *blocks)

    async def similar(
        self,
        ctx: Context[Any, Any],
        midi: str | None = None,
        notes: list[Mapping[str, Any]] | None = None,
        bpm: float | None = None,
        folder: str | None = None,
        count: int = 5,
    ) -> CallToolResult:
        """Find the pieces of a folder that are nearest to one."""
        if not 1 <= count <= MAX_NEIGHBOURS:
            raise PieceRefused(f"count must be in range 1..{MAX_NEIGHBOURS}, got {count}")
        piece, where = take_piece(self.files, midi, notes, bpm), self.files.find_folder(folder)
        report = _reporter(ctx)
        await self.service.ready(report)
        found = await self._index.nearest(piece, where, count, report)
        nearest = [
            answers.Neighbour(midi=str(near.path.relative_to(where)), similarity=near.similarity)
            for near in found.nearest
        ]
        skipped = f", {found.skipped} left out" if found.skipped else ""
        lines = [f"nearest to {piece.name} of {found.compared} files in {where}{skipped}:"]
        lines += [f"{each.similarity:+.2f} {each.midi}" for each in nearest]
        return answer(answers.Similar(nearest=nearest, compared=found.compared, skipped=found.skipped), lines)

    async def _edit(self, ctx: Context[Any, Any], task: Task, word: str, wishes: dict[str, Any]) -> CallToolResult:
        """Make a piece of another one."""
        midi, notes = wishes.pop("midi"), wishes.pop("notes")
        fields = _with_seed(gather(*_apart(wishes)))
        piece = take_piece(self.files, midi, notes, fields.get("bpm"), fields.get("time_signature"))
        return await self._make(ctx, task, word, piece, fields)

    async def _make(
        self, ctx: Context[Any, Any], task: Task, word: str, piece: GivenPiece | None, fields: dict[str, Any]
    ) -> CallToolResult:
        """Ask for music, tell how far it is meanwhile, and keep it."""
        report = _reporter(ctx)
        await self.service.ready(report)
        result = await self._stream(task, piece, fields, report)
        variation = result["variations"][0]
        path = self.files.create(word, ".mid", variation["midi_bytes"])
        made_again = fields | {"seed": variation["seed"]} if piece is None else None
        summary, shown = await asyncio.to_thread(_sum_up, variation["midi_bytes"])
        made = answers.MadePiece(
            **summary.model_dump(),
            midi=path.stem,
            file=str(path),
            seed=variation["seed"],
            shown=shown,
            page=self._page(made_again, path, variation["midi_bytes"]),
            notices=_notices(result, variation) or None,
        )
        return answer(made, _say(made), link_to(path))

    def _page(self, made_again: Mapping[str, Any] | None, path: Path, data: bytes) -> str:
        """Return what opens the page with a new piece: the request that makes it again, or a file beside its own."""
        link = page_link(self.service.url, made_again) if made_again else None
        if link:
            return link
        opener = page_opener(self.service.url, path.name, data)
        if opener is None:
            return f"{self.service.url}/ and there Open MIDI"
        return self.files.create(path.stem, ".html", opener).as_uri()

    async def _stream(self, task: Task, piece: GivenPiece | None, fields: dict[str, Any], report: Report) -> Result:
        """Return the result of a request. Where the caller is cancelled the stream is closed, and the service stops."""
        stream = self.service.client.stream(task, piece.data if piece else None, include=["midi"], **fields)
        told = 0
        event: Event | None = None
        async with aclosing(stream):
            async for event in stream:
                if event.name != "progress":
                    continue
                done, total = event.data["seconds"], event.data["total_seconds"]
                if int(PROGRESS_STEPS * done / total) > told:
                    told = int(PROGRESS_STEPS * done / total)
                    await report(done, total, f"{done:.0f} of {total:.0f} s of music")
        assert event is not None  # the client raises where a stream ends without its result
        return event.data


def _sum_up(data: bytes) -> tuple[Summary, dict[str, str]]:
    """Return what is said of a piece that was made: a large one takes a while to read."""
    analysis = Analysis(read_piece(data))
    return analysis.summary(), analysis.ends()


def _apart(wishes: dict[str, Any]) -> tuple[dict[str, Any], Mapping[str, Any] | None]:
    """Return the fields that are named by themselves, and the others."""
    more = wishes.pop("more", None)
    return wishes, more


def _with_seed(fields: dict[str, Any]) -> dict[str, Any]:
    """Return the fields with a seed, which is drawn if there is none."""
    return {"seed": secrets.randbelow(MAX_DRAWN_SEED), **fields}


def _notices(result: Result, variation: Result) -> list[str]:
    """Return what the service says of its music, and what is wrong with it."""
    flaw = variation.get("flaw")
    flawed = [f"the music is {flaw}, though it was drawn {variation['draws']} times: try another seed"] if flaw else []
    return [*result["notices"], *flawed]


def _say(made: answers.MadePiece) -> list[str]:
    """Return the lines that say what the fields of a new piece say."""
    return [
        *say_summary(made.midi, made),
        *(f"bar {number}: {said}" for number, said in made.shown.items()),
        f"seed: {made.seed}",
        f"file: {made.file}",
        f"page: {made.page}",
        *(f"notice: {notice}" for notice in made.notices or ()),
    ]


def _reporter(ctx: Context[Any, Any]) -> Report:
    """Return what tells a client how far a tool has come."""

    async def report(done: float, total: float | None, text: str) -> None:
        await ctx.report_progress(done, total, text)

    return report
