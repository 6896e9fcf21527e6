"""The official client, real servers of the protocol, and a real service."""

import asyncio
import base64
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest
from mcp import Client, MCPError
from mcp.types import AudioContent, BlobResourceContents, ImageContent, ResourceLink, TextContent, TextResourceContents

from amt.midi.codec import read_notes, read_piece
from amt.midi.instruments import NAMES
from amt.midi.notes import Note
from tests.agents.conftest import MIDI, PROJECT
from tests.agents.connecting import (
    CONNECT,
    CONNECT_AS_BEFORE,
    TOKEN,
    count_of,
    fields_of,
    free_port,
    over_stdio,
    serving,
    text_of,
)

pytestmark = pytest.mark.agents

CHARACTERS_PER_TOKEN = 3
"""Fewer than of prose, about 4, because much of it is numbers and names of notes."""

MAX_DEFINITIONS_TOKENS = 3_500
BASS = 32

TOOLS = {"compose", "continue_piece", "accompany", "infill", "vary", "describe", "render", "similar"}


TRANSCRIPT = re.compile(r"^```text\n(> .*?)^```", flags=re.MULTILINE | re.DOTALL)
"""The block of docs/agents.md that shows a session."""


def shape(transcript: str) -> list[str]:
    """What of a transcript is the same on every machine: the calls, and what each line of an answer is about."""
    lines = [line for line in transcript.splitlines() if line]
    return [line if line.startswith(">") else re.sub(r"\d+", "N", line.partition(":")[0]) for line in lines]


def tokens(*parts: Any) -> int:
    """About how many tokens they are as JSON."""
    return sum(len(json.dumps(part, ensure_ascii=False)) for part in parts) // CHARACTERS_PER_TOKEN


@pytest.mark.parametrize("connect", CONNECT.values(), ids=CONNECT)
def test_tools_say_what_they_take_answer_and_do(connect: Any, music_service: str, tmp_path: Path) -> None:
    async def session() -> None:
        async with connect(music_service, tmp_path) as client:
            tools = {tool.name: tool for tool in (await client.list_tools()).tools}
            assert tools.keys() == TOOLS
            for tool in tools.values():
                assert tool.description
                assert tool.output_schema
                assert tool.annotations
                assert tool.annotations.destructive_hint is not True
                assert tool.input_schema["additionalProperties"] is False
                assert all("description" in each for each in tool.input_schema["properties"].values())
            assert [name for name, tool in tools.items() if tool.annotations.read_only_hint] == ["describe"]
            told = [(tool.name, tool.description, tool.input_schema) for tool in tools.values()]
            assert tokens(told) < MAX_DEFINITIONS_TOKENS

    asyncio.run(session())


@pytest.mark.parametrize("connect", CONNECT.values(), ids=CONNECT)
def test_eight_bars_are_composed_varied_and_accompanied_in_few_tokens(
    connect: Any, music_service: str, tmp_path: Path
) -> None:
    returned: list[Any] = []
    transcript: list[str] = []

    async def session() -> None:
        async with connect(music_service, tmp_path) as client:

            async def call(name: str, **arguments: Any) -> dict[str, Any]:
                result = await client.call_tool(name, arguments)
                fields = fields_of(result)
                said = [f"{key}={json.dumps(value)}" for key, value in arguments.items()]
                transcript.append(f"> {name} {' '.join(said)}\n{text_of(result)}\n")
                returned.append((fields, [block.model_dump(exclude_none=True) for block in result.content]))
                return fields

            wishes = {"key": "C minor", "chords": "Cm | Ab | Fm | G7", "grid": "1/8"}
            composed = await call("compose", length_bars=8, bpm=100, instruments=["piano"], **wishes, seed=8)
            assert (composed["bpm"], composed["seed"]) == (100, 8)
            assert 1 <= composed["bars"] <= 8  # which bar the music ends in may differ between CPUs
            varied = await call("vary", midi=composed["midi"], similarity=0.6, **wishes, seed=9)
            accompanied = await call("accompany", midi=varied["midi"], instruments=["Acoustic Bass"], **wishes, seed=10)
            assert any(text.startswith("Acoustic Bass: ") for text in accompanied["instruments"])
            assert accompanied["page"] == (tmp_path / "accompany-3.html").as_uri()
            rendered = await call("render", midi=accompanied["midi"], format="mp3")
            sound = Path(rendered["file"]).read_bytes()
            assert sound[:3] == b"ID3" or sound[0] == 0xFF
            resources = (await client.list_resources()).resources
            returned.append([each.model_dump(exclude_none=True) for each in resources])
            listed = [resource.name for resource in resources]
            assert listed == ["instruments", "accompany-3.mp3", "accompany-3.mid", "vary-2.mid", "compose-1.mid"]

    asyncio.run(session())
    first, second, third = (read_notes((tmp_path / f"{name}.mid").read_bytes()) for name in MADE)
    assert len({note[:4] for note in first} & {note[:4] for note in second}) > len(first) / 3
    assert [note for note in third if note.instrument != BASS] == second
    assert tokens(*returned) < 2_000
    shown = TRANSCRIPT.search((PROJECT / "docs" / "agents.md").read_text())
    session_text = "\n".join(transcript).replace(f"{tmp_path}", "/home/you/music").replace(music_service, SHOWN_URL)
    assert shown
    assert shape(shown[1]) == shape(session_text), session_text


SHOWN_URL = "http://localhost:2011"
MADE = ("compose-1", "vary-2", "accompany-3")


def is_among(note: Note, notes: Sequence[Note]) -> bool:
    """Tell whether a note is there; what lies between two ticks of 10 ms may be read as either."""
    same = [each for each in notes if (each.pitch, each.instrument) == (note.pitch, note.instrument)]
    return any(abs(each.onset - note.onset) <= 1 and abs(each.duration - note.duration) <= 1 for each in same)


def test_a_piece_is_gone_on_filled_in_and_drawn(music_service: str, tmp_path: Path) -> None:
    async def session() -> None:
        async with over_stdio(music_service, tmp_path) as client:

            async def call(name: str, **arguments: Any) -> Any:
                return fields_of(await client.call_tool(name, arguments))

            longer = await call("continue_piece", midi="chorale_001.mid", length_bars=2, more={"top_p": 0.9})
            data = (MIDI / "chorale_001.mid").read_bytes()
            kept, notes = read_notes(data), read_notes((tmp_path / "continue-1.mid").read_bytes())
            assert all(is_among(note, notes) for note in kept)
            assert longer["bars"] == 15
            await call("infill", midi=longer["midi"], start_bar=3, end_bar=5)
            filled = read_notes((tmp_path / "infill-2.mid").read_bytes())
            bar = 200
            assert all(is_among(note, filled) for note in notes if not 2 * bar <= note.onset < 4 * bar)
            melody = [{"onset": beat, "duration": 1, "pitch": 60 + beat, "instrument": "Flute"} for beat in range(8)]
            with_notes = await call("accompany", notes=melody, bpm=90, instruments=["strings"])
            assert with_notes["bpm"] == 90
            assert any(text.startswith("Flute: 8 notes") for text in with_notes["instruments"])
            said = await client.call_tool("describe", {"midi": "infill-2", "start_bar": 2, "end_bar": 4})
            piece = fields_of(said)["piece"]
            assert list(piece["shown"]) == ["2", "3"]
            assert piece["roll"] in text_of(said)
            picture = await client.call_tool("render", {"midi": "infill-2", "format": "svg", "inline": True})
            image = next(block for block in picture.content if isinstance(block, ImageContent))
            assert base64.b64decode(image.data) == (tmp_path / "infill-2.svg").read_bytes()
            sound = await client.call_tool("render", {"notes": melody, "format": "ogg", "inline": True})
            audio = next(block for block in sound.content if isinstance(block, AudioContent))
            assert base64.b64decode(audio.data)[:4] == b"OggS"

    asyncio.run(session())


def test_similar_pieces_are_found_and_their_vectors_are_kept(music_service: str, tmp_path: Path) -> None:
    async def session() -> None:
        async with over_stdio(music_service, tmp_path) as client:
            arguments = {"midi": "chorale_001.mid", "folder": str(MIDI), "count": 3}
            first = fields_of(await client.call_tool("similar", arguments))
            embedded = count_of(music_service, "200")
            again = fields_of(await client.call_tool("similar", arguments))
            assert first == again
            assert count_of(music_service, "200") == embedded + 1  # of the piece alone
            assert "chorale_001.mid" not in [near["midi"] for near in first["nearest"]]
            assert len(first["nearest"]) == 3
            values = [near["similarity"] for near in first["nearest"]]
            assert values == sorted(values, reverse=True)

    asyncio.run(session())
    assert len(list((tmp_path / ".embeddings").rglob("*.npy"))) > 10


def test_resources_and_prompts_are_there(music_service: str, tmp_path: Path) -> None:
    async def session() -> None:
        async with over_stdio(music_service, tmp_path) as client:
            (tmp_path / "my song é.mid").write_bytes((MIDI / "scale_type0.mid").read_bytes())
            result = await client.call_tool("render", {"midi": "my song é", "format": "svg"})
            link = next(block for block in result.content if isinstance(block, ResourceLink))
            (drawn,) = (await client.read_resource(link.uri)).contents
            assert isinstance(drawn, BlobResourceContents)
            assert base64.b64decode(drawn.blob) == (tmp_path / "my song é.svg").read_bytes()
            (names,) = (await client.read_resource("music://instruments")).contents
            assert isinstance(names, TextResourceContents)
            assert [line.split(" ", 1)[1] for line in names.text.splitlines()] == list(NAMES)
            for uri in (
                "music://files/nothing.mid",
                "music://files/..%2F..%2Fsecret.mid",
                "music://files/%2Fetc%2Fpasswd",
            ):
                with pytest.raises(MCPError):
                    await client.read_resource(uri)
            prompts = {prompt.name for prompt in (await client.list_prompts()).prompts}
            assert prompts == {"arrange", "bridge"}
            asked = await client.get_prompt("arrange", {"midi": "compose-1", "instruments": "brass"})
            assert isinstance(asked.messages[0].content, TextContent)
            assert "Arrange compose-1 for brass." in asked.messages[0].content.text

    asyncio.run(session())


ALL_WAYS = CONNECT | CONNECT_AS_BEFORE


@pytest.mark.parametrize("connect", ALL_WAYS.values(), ids=ALL_WAYS)
def test_long_work_tells_how_far_it_is_and_is_given_up(connect: Any, music_service: str, tmp_path: Path) -> None:
    told: list[tuple[float, float | None, str | None]] = []
    given_up = count_of(music_service, "499")

    async def session() -> None:
        async with connect(music_service, tmp_path) as client:
            with anyio.CancelScope() as scope:

                async def listen(done: float, total: float | None, text: str | None) -> None:
                    told.append((done, total, text))
                    scope.cancel()

                await client.call_tool("compose", {"more": {"length_seconds": 120}}, progress_callback=listen)
            assert scope.cancelled_caught
            with anyio.fail_after(30):
                while count_of(music_service, "499") == given_up:
                    await anyio.sleep(0.05)
            assert not fields_of(await client.call_tool("describe", {}))["listing"]["files"]

    asyncio.run(session())
    done, total, text = told[0]
    assert 0 < done < 60
    assert total == 120
    assert text == f"{done:.0f} of 120 s of music"


@pytest.mark.parametrize(
    ("tool", "arguments", "problem"),
    [
        ("compose", {"bpm": 9_000}, "bpm must be in range 20.0..300.0, got 9000"),
        ("compose", {"tempo": 90}, "there is no argument tempo"),
        ("compose", {"density": "much"}, "density: Input should be a valid number"),
        ("compose", {"more": {"pitch_rage": [1, 2]}}, "did you mean pitch_range"),
        ("compose", {"key": "H dur"}, "there is no key 'H dur'"),
        ("compose", {"instruments": ["Violine"]}, "did you mean 'violin'"),
        ("vary", {"midi": "compose-9"}, "'compose-9' is no file within the folders"),
        ("vary", {}, "one of the two"),
        ("infill", {"midi": "chorale_001.mid"}, "start_seconds is required"),
        ("infill", {"midi": "chorale_001.mid", "start_bar": 900, "end_bar": 901}, "bar"),
        ("accompany", {"notes": [{"onset": 0}]}, "notes[0]: duration: Field required"),
        ("describe", {"midi": "/etc/passwd"}, "is no file within the folders that may be read"),
        ("describe", {"midi": "../../../../etc/passwd"}, "is no file within the folders that may be read"),
        ("describe", {"midi": "chorale_001.mid", "start_bar": 99}, "start_bar must be in range 1..13"),
        ("render", {"midi": "chorale_001.mid", "format": "exe"}, "format: Input should be 'wav'"),
        ("similar", {"midi": "chorale_001.mid", "folder": "/etc"}, "is no folder within those that may be read"),
        ("similar", {"midi": "chorale_001.mid", "count": 0}, "count must be in range 1..20"),
        ("delete", {}, "Unknown tool"),
    ],
    ids=str,
)
def test_what_is_wrong_is_said_in_a_sentence(
    tool: str, arguments: dict[str, Any], problem: str, shared: "Shared"
) -> None:
    result = shared.call(tool, arguments)
    assert result.is_error
    assert problem in text_of(result)
    assert "Traceback" not in text_of(result)
    assert tokens(text_of(result)) < 250


class Shared:
    """A session that several tests use, in a loop of its own."""

    def __init__(self, client: Client, loop: asyncio.Runner) -> None:
        self._client, self._loop = client, loop

    def call(self, tool: str, arguments: dict[str, Any]) -> Any:
        return self._loop.run(self._client.call_tool(tool, arguments))


@pytest.fixture(scope="module")
def shared(music_service: str, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """One session for all calls that go wrong: entered and left by one task, as the client wants."""
    client = over_stdio(music_service, tmp_path_factory.mktemp("results"))
    with asyncio.Runner() as loop:

        async def keep(ready: asyncio.Future[None], done: asyncio.Event) -> None:
            async with client:
                ready.set_result(None)
                await done.wait()

        async def begin() -> tuple[asyncio.Task[None], asyncio.Event]:
            ready, done = loop.get_loop().create_future(), asyncio.Event()
            task = asyncio.create_task(keep(ready, done))
            await ready
            return task, done

        async def end(task: asyncio.Task[None], done: asyncio.Event) -> None:
            done.set()
            await task

        task, done = loop.run(begin())
        yield Shared(client, loop)
        loop.run(end(task, done))


def test_a_symbolic_link_to_the_outside_is_not_followed(shared: Shared, tmp_path: Path) -> None:
    listing = shared.call("describe", {})
    folder = Path(text_of(listing).splitlines()[0].removeprefix("in ").removesuffix(":"))
    (tmp_path / "secret.mid").write_bytes((MIDI / "scale_type0.mid").read_bytes())
    (folder / "link.mid").symlink_to(tmp_path / "secret.mid")
    for tool in ("describe", "render", "vary"):
        assert "'link.mid' is no file within the folders" in text_of(shared.call(tool, {"midi": "link.mid"}))


def test_what_is_wrong_with_the_service_is_said(music_service: str, tmp_path: Path) -> None:
    async def said(url: str, **variables: str) -> str:
        async with over_stdio(url, tmp_path, **variables) as client:
            result = await client.call_tool("compose", {"length_bars": 1})
            assert result.is_error
            return text_of(result)

    down = asyncio.run(said(f"http://127.0.0.1:{free_port()}"))
    assert "nothing answers at" in down
    assert "start the service with `uv run python server.py`" in down
    assert "(HTTP 401)" in asyncio.run(said(music_service, LIT_SERVER_API_KEY="wrong"))


def test_results_of_requests_at_once_have_names_of_their_own(music_service: str, tmp_path: Path) -> None:
    async def session() -> list[str]:
        async with over_stdio(music_service, tmp_path) as client:
            calls = [client.call_tool("compose", {"length_bars": 1, "seed": seed}) for seed in range(4)]
            return [fields_of(result)["midi"] for result in await asyncio.gather(*calls)]

    assert sorted(asyncio.run(session())) == [f"compose-{number}" for number in range(1, 5)]
    assert read_piece((tmp_path / "compose-4.mid").read_bytes()).notes


def test_over_http_only_the_token_lets_in(music_service: str, tmp_path: Path) -> None:
    async def session() -> None:
        async with serving(music_service, tmp_path, ANTICIPATORY_MCP_TOKEN=TOKEN) as address:
            body = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
            for token in (None, "Bearer wrong", f"Bearer {TOKEN}x", "Bearer é", TOKEN):
                headers = {} if token is None else {"Authorization": token.encode()}
                answer = httpx.post(address, json=body, headers=headers)
                assert answer.status_code == 401

    asyncio.run(session())


def test_over_http_no_page_of_another_host_gets_in(music_service: str, tmp_path: Path) -> None:
    async def session() -> None:
        async with serving(music_service, tmp_path) as address:
            body = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
            accept = {"Accept": "application/json, text/event-stream"}
            assert httpx.post(address, json=body, headers=accept | {"Host": "evil.example"}).status_code == 421
            assert httpx.post(address, json=body, headers=accept | {"Origin": "http://evil.example"}).status_code == 403
            async with Client(address) as client:
                assert len((await client.list_tools()).tools) == len(TOOLS)

    asyncio.run(session())
