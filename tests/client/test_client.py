import asyncio
import base64
import inspect
import os
import pickle
import re
import subprocess
import sys
import time
import weakref
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator, Mapping
from contextlib import aclosing
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from amt.midi import codec
from client import (
    LONGEST_WAIT_SECONDS,
    AnticipatoryClient,
    AnticipatoryError,
    AsyncAnticipatoryClient,
    Busy,
    ConnectionFailed,
    ConnectionLost,
    EmbedOptions,
    Event,
    Fields,
    InvalidRequest,
    MusicOptions,
    RequestTimeout,
    ServerFault,
    ServiceError,
    Unauthorized,
    Unavailable,
    UnexpectedAnswer,
    retry_wait_seconds,
)
from tests.client.scripted import (
    BREAK,
    DROP,
    EMBEDDING,
    METADATA,
    MIDI,
    NOTE,
    NOW,
    PROGRESS,
    SILENCE,
    Answer,
    Handler,
    Scripted,
    music,
    streamed,
)
from tests.conftest import GOLDEN, PROJECT, Service, reserved_port

Ask = Callable[..., Any]


def ask_sync(url: str, method: str, *arguments: Any, options: Mapping[str, Any] = {}, **fields: Any) -> Any:
    with AnticipatoryClient(url, **options) as each:
        return getattr(each, method)(*arguments, **fields)


def ask_async(url: str, method: str, *arguments: Any, options: Mapping[str, Any] = {}, **fields: Any) -> Any:
    async def run() -> Any:
        async with AsyncAnticipatoryClient(url, **options) as each:
            return await getattr(each, method)(*arguments, **fields)

    return asyncio.run(run())


def with_client(url: str, run: Callable[[AsyncAnticipatoryClient], Coroutine[Any, Any, None]]) -> None:
    async def main() -> None:
        async with AsyncAnticipatoryClient(url) as each:
            await run(each)

    asyncio.run(main())


@pytest.fixture(params=[ask_sync, ask_async], ids=["sync", "async"])
def ask(request: pytest.FixtureRequest) -> Ask:
    """Call a method of one of the two clients."""
    chosen: Ask = request.param
    return chosen


def observe_sync(
    url: str, *arguments: Any, collected: list[Event] | None = None, options: Mapping[str, Any] = {}, **fields: Any
) -> list[Event]:
    events = [] if collected is None else collected
    with AnticipatoryClient(url, **options) as each:
        for event in each.stream(*arguments, **fields):
            events.append(event)
    return events


def observe_async(
    url: str, *arguments: Any, collected: list[Event] | None = None, options: Mapping[str, Any] = {}, **fields: Any
) -> list[Event]:
    events = [] if collected is None else collected

    async def run() -> None:
        async with AsyncAnticipatoryClient(url, **options) as each:
            async for event in each.stream(*arguments, **fields):
                events.append(event)

    asyncio.run(run())
    return events


@pytest.fixture(params=[observe_sync, observe_async], ids=["sync", "async"])
def observe(request: pytest.FixtureRequest) -> Ask:
    """Return all events of a stream of one of the two clients; `collected` has them even after an error."""
    chosen: Ask = request.param
    return chosen


def nobody() -> str:
    """Return an address where nothing listens."""
    return f"http://127.0.0.1:{reserved_port()}"


# What is sent


def test_generate_sends_the_request_of_the_contract(scripted: Scripted, ask: Ask) -> None:
    scripted.script = [music(3)]
    ask(scripted.url, "generate", length_seconds=10)
    [sent] = scripted.received
    assert sent.path == "/predict"
    assert sent.body == {"task": "generate", "length_seconds": 10}


def test_continue_sends_the_request_of_the_contract(scripted: Scripted, ask: Ask) -> None:
    scripted.script = [music(3, task="continue")]
    fields = {"top_p": 0.9, "model_size": "small", "num_variations": 2, "client_job_id": "job"}
    ask(scripted.url, "continue_midi", MIDI, 7.0, 9.0, **fields)
    midi_input = base64.b64encode(MIDI).decode()
    own = {"task": "continue", "midi_input": midi_input, "prime_seconds": 7.0, "length_seconds": 9.0}
    assert scripted.bodies == [{**own, **fields}]


@pytest.mark.parametrize(
    ("method", "arguments", "fields", "sent"),
    [
        ("continue_midi", (7,), {"prime_from": "end"}, {"prime_seconds": 7}),
        ("accompany", (), {"melody_instruments": ["Flute", 40], "melody_tracks": [1], "length_seconds": 9}, {}),
        ("accompany", (), {"prime_seconds": 2.5}, {}),
        ("infill", (5, 10), {"instruments": ["drums"]}, {"start_seconds": 5, "end_seconds": 10}),
        ("infill", (5, 10), {"locked": [0, 2], "avoid_copy": True}, {"start_seconds": 5, "end_seconds": 10}),
        ("embed", (-1,), {"pooling": "max", "windows": "all", "normalize": True}, {"embed_layer": -1}),
    ],
)
def test_each_task_has_a_method(
    scripted: Scripted, ask: Ask, method: str, arguments: Any, fields: Mapping[str, Any], sent: Mapping[str, Any]
) -> None:
    scripted.script = [EMBEDDING]
    ask(scripted.url, method, b"hi", *arguments, **fields)
    task = method.removesuffix("_midi")
    assert scripted.bodies == [{"task": task, "midi_input": "aGk=", **sent, **fields}]


def test_a_variation_asks_for_its_similarity(scripted: Scripted, ask: Ask) -> None:
    scripted.script = [music(3, task="variation")]
    ask(scripted.url, "vary", b"hi", 0.3, end_bar=5, avoid_copy=False)
    sent = {"similarity": 0.3, "end_bar": 5, "avoid_copy": False}
    assert scripted.bodies == [{"task": "variation", "midi_input": "aGk=", **sent}]


@pytest.mark.parametrize("method", ["generate", "continue_midi", "accompany", "infill", "vary"])
def test_musical_options_go_with_every_musical_task(scripted: Scripted, method: str) -> None:
    scripted.script = [EMBEDDING]
    options: MusicOptions = {
        "temperature": {"onset": 0.9, "note": 1.1},
        "instruments": ["Acoustic Bass", 128],
        "pitch_range": {"Acoustic Bass": (28, 55)},
        "seed": None,
    }
    given = {"generate": (10,), "continue_midi": (MIDI,), "accompany": (MIDI,), "infill": (MIDI, 1, 2), "vary": (MIDI,)}
    ask_sync(scripted.url, method, *given[method], **options)
    [body] = scripted.bodies
    sent = {"temperature": {"onset": 0.9, "note": 1.1}, "instruments": ["Acoustic Bass", 128]}
    sent |= {"pitch_range": {"Acoustic Bass": [28, 55]}}
    assert {name: body[name] for name in options if name in body} == sent


NOTES = [{"onset": 0.0, "duration": 0.5, "pitch": 60}]


@pytest.mark.parametrize("method", ["continue_midi", "continue_notes", "accompany", "infill", "vary"])
def test_notes_may_go_wherever_a_file_goes_and_notes_come_back(scripted: Scripted, ask: Ask, method: str) -> None:
    scripted.script = [music(3)]
    ask(scripted.url, method, tuple(NOTES), **({"start_bar": 1, "end_bar": 2} if method == "infill" else {}))
    [body] = scripted.bodies
    assert (body["notes"], body["include"]) == (NOTES, ["notes"])
    assert "midi_input" not in body


def test_whoever_sends_notes_gets_what_else_is_asked_for(scripted: Scripted, ask: Ask) -> None:
    scripted.script = [music(3), EMBEDDING]
    ask(scripted.url, "continue_notes", NOTES, include=["midi"])
    ask(scripted.url, "embed", NOTES)
    assert [body.get("include") for body in scripted.bodies] == [["midi"], None]


def test_a_variation_without_midi_has_no_bytes(scripted: Scripted, ask: Ask) -> None:
    answer = {"task": "generate", "variations": [{"notes": NOTES}]}
    scripted.script = [Answer(answer)]
    assert ask(scripted.url, "generate", include=["notes"]) == answer


def test_off_is_null_where_null_switches_off(scripted: Scripted, ask: Ask) -> None:
    scripted.script = [music(3)]
    ask(scripted.url, "accompany", b"hi", chords="off", variety="off", client_job_id="off", key=None)
    [body] = scripted.bodies
    assert (body["chords"], body["variety"], body["client_job_id"], "key" in body) == (None, None, "off", False)


def test_embed_sends_the_request_of_the_contract(scripted: Scripted, ask: Ask) -> None:
    scripted.script = [EMBEDDING]
    ask(scripted.url, "embed", MIDI)
    midi_input = base64.b64encode(MIDI).decode()
    assert scripted.bodies == [{"task": "embed", "midi_input": midi_input, "embed_layer": -3}]


def test_a_midi_file_is_given_as_bytes_or_as_a_path(scripted: Scripted, tmp_path: Path) -> None:
    path = tmp_path / "in.mid"
    path.write_bytes(MIDI)
    scripted.script = [EMBEDDING] * 5
    with AnticipatoryClient(scripted.url) as each:
        for midi in (MIDI, bytearray(MIDI), memoryview(MIDI), path, str(path)):
            each.embed(midi)
    assert {body["midi_input"] for body in scripted.bodies} == {base64.b64encode(MIDI).decode()}


def test_headers_are_passed_through(scripted: Scripted, ask: Ask) -> None:
    scripted.script = [music(1)]
    ask(scripted.url, "generate", headers={"traceparent": "00-1-2-01"})
    assert scripted.received[0].headers["traceparent"] == "00-1-2-01"


@pytest.mark.parametrize(
    ("options", "environment", "sent"),
    [
        ({"api_key": "mine"}, "theirs", "mine"),
        ({"api_key": " line\n"}, "theirs", "line"),
        ({}, "theirs", "theirs"),
        ({"api_key": ""}, "theirs", None),
        ({}, "", None),
    ],
)
def test_the_key_is_the_argument_or_else_the_environment_variable(
    scripted: Scripted, monkeypatch: pytest.MonkeyPatch, options: Any, environment: str, sent: str | None
) -> None:
    monkeypatch.setenv("LIT_SERVER_API_KEY", environment)
    scripted.script = [music(1)]
    ask_sync(scripted.url, "generate", options=options)
    assert scripted.received[0].headers.get("X-API-Key") == sent


def test_the_key_is_sent_with_every_request(scripted: Scripted, ask: Ask, observe: Ask) -> None:
    scripted.script = [EMBEDDING, streamed(EMBEDDING), Answer("ok")]
    options = {"api_key": "mine"}
    ask(scripted.url, "embed", MIDI, options=options)
    observe(scripted.url, "embed", MIDI, options=options)
    ask(scripted.url, "health", options=options)
    assert [each.headers["X-API-Key"] for each in scripted.received] == ["mine"] * 3


def test_the_base_url_may_have_a_path(scripted: Scripted, ask: Ask) -> None:
    scripted.script = [music(1)]
    ask(f"{scripted.url}/amt/", "generate")
    assert scripted.received[0].path == "/amt/predict"


def test_both_clients_have_the_defaults_of_the_contract() -> None:
    for kind in (AnticipatoryClient, AsyncAnticipatoryClient):
        parameters = inspect.signature(kind).parameters
        defaults = {name: parameters[name].default for name in ("base_url", "timeout", "max_retries")}
        assert defaults == {"base_url": "http://localhost:2011", "timeout": 330.0, "max_retries": 3}


@pytest.mark.parametrize("url", ["localhost:2011", "ftp://host", "http://", "http://host:port", ""])
def test_a_base_url_that_is_no_address_raises_value_error(url: str) -> None:
    with pytest.raises(ValueError, match="is not an address"):
        AnticipatoryClient(url)


# What comes back


def test_a_result_is_the_answer_with_the_midi_decoded(scripted: Scripted, ask: Ask) -> None:
    scripted.script = [music(3, 4)]
    result = ask(scripted.url, "generate", num_variations=2)
    assert [variation.pop("midi_bytes") for variation in result["variations"]] == [MIDI, MIDI]
    assert result == music(3, 4).body


def test_an_embedding_comes_back_as_sent(scripted: Scripted, ask: Ask) -> None:
    scripted.script = [EMBEDDING]
    assert ask(scripted.url, "embed", MIDI) == EMBEDDING.body


def test_the_code_in_the_contract_works(scripted: Scripted, tmp_path: Path) -> None:
    (tmp_path / "input.mid").write_bytes(MIDI)
    scripted.script = [music(3), music(3, task="continue"), EMBEDDING]
    contract = f"""if True:
        from client import AnticipatoryClient

        client = AnticipatoryClient("{scripted.url}")

        # Generate music
        result = client.generate(length_seconds=10)
        midi_bytes = result["variations"][0]["midi_bytes"]

        with open("output.mid", "wb") as f:
            f.write(midi_bytes)

        # Continue from MIDI
        with open("input.mid", "rb") as f:
            result = client.continue_midi(f.read(), prime_seconds=5)

        # Get embedding
        result = client.embed(midi_bytes)
        embedding = result["embedding"]  # 768-dim vector
        print(embedding)
    """
    command = [sys.executable, "-W", "error", "-c", contract]
    environment = {**os.environ, "PYTHONPATH": str(PROJECT)}
    run = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
    assert (run.stdout, run.stderr) == ("[0.5, -1.0]\n", "")
    assert (tmp_path / "output.mid").read_bytes() == MIDI
    assert [body["task"] for body in scripted.bodies] == ["generate", "continue", "embed"]


def test_a_garbage_collected_client_closes_its_connections(scripted: Scripted) -> None:
    scripted.script = [music(1)]
    forgotten = AnticipatoryClient(scripted.url)
    forgotten.generate()
    http, gone = forgotten._http, weakref.ref(forgotten)
    del forgotten
    assert gone() is None
    assert http.is_closed


@pytest.mark.parametrize(
    ("answer", "healthy"),
    [
        (Answer("ok"), True),
        (Answer("not ready", 503), False),
        (Answer("<html>another server</html>"), False),
        (Answer("", 500), False),
        (DROP, False),
    ],
)
def test_health_is_true_only_for_a_plain_ok(scripted: Scripted, ask: Ask, answer: Answer, healthy: bool) -> None:
    scripted.script = [answer]
    assert ask(scripted.url, "health") is healthy
    assert [each.path for each in scripted.received] == ["/health"]


def test_health_is_false_when_nothing_answers(ask: Ask) -> None:
    assert ask(nobody(), "health") is False


# Many files


def embedding(number: float) -> dict[str, Any]:
    """Return the answer of the service about a file."""
    return {name: value for name, value in EMBEDDING.body.items() if name not in ("task", "metadata")} | {
        "embedding": [number]
    }


def embeddings(*numbers: float) -> Answer:
    files = [embedding(number) for number in numbers]
    return Answer({"task": "embed", "files": files, "metadata": METADATA})


def embed_many_sync(url: str, *arguments: Any, done: list[Any] | None = None, **options: Any) -> list[Any]:
    results = [] if done is None else done
    with AnticipatoryClient(url) as each:
        for result in each.embed_many(*arguments, **options):
            results.append(result)
    return results


def embed_many_async(url: str, *arguments: Any, done: list[Any] | None = None, **options: Any) -> list[Any]:
    results = [] if done is None else done

    async def run(each: AsyncAnticipatoryClient) -> None:
        async for result in each.embed_many(*arguments, **options):
            results.append(result)

    with_client(url, run)
    return results


@pytest.fixture(params=[embed_many_sync, embed_many_async], ids=["sync", "async"])
def embed_many(request: pytest.FixtureRequest) -> Ask:
    """Return all results of one of the two clients; `done` has them even after an error."""
    chosen: Ask = request.param
    return chosen


def test_embed_many_sends_several_files_in_a_request(scripted: Scripted, embed_many: Ask) -> None:
    scripted.script = [embeddings(*range(16)), embeddings(*range(16, 32)), embeddings(32, 33)]
    midis = [bytes([number]) for number in range(34)]
    results = embed_many(scripted.url, iter(midis), -1, pooling="max")
    assert results == [{"task": "embed", **embedding(number), "metadata": METADATA} for number in range(34)]
    sent = [base64.b64decode(text) for body in scripted.bodies for text in body.pop("midi_inputs")]
    assert (sent, scripted.bodies) == (midis, [{"task": "embed", "embed_layer": -1, "pooling": "max"}] * 3)


def test_a_single_file_is_sent_as_midi_input(scripted: Scripted, embed_many: Ask) -> None:
    scripted.script = [EMBEDDING]
    assert embed_many(scripted.url, [b"hi"]) == [EMBEDDING.body]
    assert scripted.bodies == [{"task": "embed", "midi_input": "aGk=", "embed_layer": -3}]


def test_embed_many_of_nothing_sends_nothing(scripted: Scripted, embed_many: Ask) -> None:
    assert (embed_many(scripted.url, []), scripted.received) == ([], [])


def test_token_embeddings_are_requested_one_file_at_a_time(scripted: Scripted, embed_many: Ask) -> None:
    scripted.script = [EMBEDDING, EMBEDDING]
    assert embed_many(scripted.url, [b"hi", b"hi"], pooling="none") == [EMBEDDING.body] * 2
    assert [body["midi_input"] for body in scripted.bodies] == ["aGk="] * 2


def test_no_request_is_larger_than_the_service_allows(scripted: Scripted) -> None:
    scripted.script = [embeddings(0, 1), EMBEDDING, EMBEDDING]
    embed_many_sync(scripted.url, [bytes(1_400_000), bytes(1_400_000), bytes(1_400_000), bytes(5_000_000)])
    assert [len(body.get("midi_inputs", "1")) for body in scripted.bodies] == [2, 1, 1]


def test_files_are_read_only_when_they_are_sent(scripted: Scripted) -> None:
    taken: list[int] = []

    def midis() -> Iterator[bytes]:
        for number in range(100):
            taken.append(number)
            yield b"hi"

    scripted.script = [embeddings(*range(16))]
    with AnticipatoryClient(scripted.url) as each:
        results = each.embed_many(midis())
        assert (taken, scripted.received) == ([], [])
        next(results)
    assert len(taken) == 17


@pytest.mark.parametrize(
    ("count", "status", "detail", "text"),
    [
        (18, 422, "midi_inputs[1]: no notes", "midis[17]: no notes"),
        (17, 422, "no notes", "midis[16]: no notes"),
        (17, 413, "too large", "midis[16]: too large"),
        (18, 422, [{"loc": ["embed_layer"], "msg": "no"}], "embed_layer: no"),
        (17, 401, "no key", "no key"),
    ],
)
def test_an_error_names_the_refused_file(
    scripted: Scripted, embed_many: Ask, count: int, status: int, detail: Any, text: str
) -> None:
    scripted.script = [embeddings(*range(16)), Answer({"detail": detail}, status)]
    done: list[Any] = []
    with pytest.raises(InvalidRequest) as caught:
        embed_many(scripted.url, [b"hi"] * count, done=done)
    assert str(caught.value).startswith(f"{text} (HTTP {status})")
    assert len(done) == 16


def test_an_error_names_the_path_of_the_refused_file(scripted: Scripted, tmp_path: Path) -> None:
    paths = [tmp_path / "a.mid", tmp_path / "b.mid"]
    for path in paths:
        path.write_bytes(MIDI)
    scripted.script = [Answer({"detail": "midi_inputs[1]: no notes"}, 422)]
    with pytest.raises(InvalidRequest, match=f"^{re.escape(str(paths[1]))}: no notes "):
        embed_many_sync(scripted.url, paths)


# Streams


@pytest.mark.parametrize(
    ("arguments", "fields", "body"),
    [
        ((), {"length_seconds": 10}, {"task": "generate", "length_seconds": 10}),
        (("generate",), {"top_p": 0.9, "model_size": None}, {"task": "generate", "top_p": 0.9}),
        (("continue", b"hi"), {"prime_seconds": 3}, {"task": "continue", "midi_input": "aGk=", "prime_seconds": 3}),
        (("embed", b"hi"), {"embed_layer": -1}, {"task": "embed", "midi_input": "aGk=", "embed_layer": -1}),
        (
            ("infill", b"hi"),
            {"start_seconds": 1, "end_seconds": 2},
            {"task": "infill", "midi_input": "aGk=", "start_seconds": 1, "end_seconds": 2},
        ),
    ],
)
def test_stream_sends_the_request_of_any_task(
    scripted: Scripted, observe: Ask, arguments: Any, fields: Mapping[str, Any], body: Any
) -> None:
    scripted.script = [streamed(EMBEDDING)]
    observe(scripted.url, *arguments, headers={"traceparent": "00-1-2-01"}, **fields)
    [sent] = scripted.received
    assert (sent.path, sent.body, sent.headers["traceparent"]) == ("/predict/stream", body, "00-1-2-01")


def test_the_last_event_is_what_generate_returns(scripted: Scripted, ask: Ask, observe: Ask) -> None:
    scripted.script = [streamed(NOTE, PROGRESS, music(3, 4)), music(3, 4)]
    events = observe(scripted.url)
    assert events == [NOTE, PROGRESS, Event("result", ask(scripted.url, "generate"))]
    assert events[-1].data["variations"][0]["midi_bytes"] == MIDI


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_streams_may_have_comments_any_line_ends_and_unknown_events(
    scripted: Scripted, observe: Ask, newline: str
) -> None:
    text = ': hello\n\nid: 1\nevent:note\n: still here\ndata:{"pitch": 1}\n\n\nevent: news\ndata: {}\n\n'
    scripted.script = [streamed(text.replace("\n", newline), EMBEDDING)]
    expected = [Event("note", {"pitch": 1}), Event("news", {}), Event("result", EMBEDDING.body)]
    assert observe(scripted.url) == expected


def test_events_are_yielded_before_the_stream_ends(scripted: Scripted) -> None:
    scripted.script = [streamed(NOTE, Handler.pause, PROGRESS, EMBEDDING)]
    with AnticipatoryClient(scripted.url) as each:
        events = each.stream()
        assert next(events) == NOTE
        scripted.may_go_on.set()
        assert next(events) == PROGRESS


def test_events_are_yielded_before_the_stream_ends_async(scripted: Scripted) -> None:
    async def run(each: AsyncAnticipatoryClient) -> None:
        events = each.stream()
        assert await anext(events) == NOTE
        scripted.may_go_on.set()
        assert [event.name async for event in events] == ["progress", "result"]

    scripted.script = [streamed(NOTE, Handler.pause, PROGRESS, EMBEDDING)]
    with_client(scripted.url, run)


def test_leaving_the_loop_closes_the_connection(scripted: Scripted) -> None:
    scripted.script = [streamed(NOTE, Handler.listen)]
    with AnticipatoryClient(scripted.url) as each:
        for _ in each.stream():
            break
        assert scripted.hung_up.wait(20)


def test_leaving_the_loop_closes_the_connection_async(scripted: Scripted) -> None:
    async def run(each: AsyncAnticipatoryClient) -> None:
        async for _ in each.stream():
            break
        assert await asyncio.to_thread(scripted.hung_up.wait, 20)

    scripted.script = [streamed(NOTE, Handler.listen)]
    with_client(scripted.url, run)


def test_closing_a_stream_closes_the_connection(scripted: Scripted) -> None:
    async def run(each: AsyncAnticipatoryClient) -> None:
        async with aclosing(each.stream()) as events:
            assert await anext(events) == NOTE
        assert await asyncio.to_thread(scripted.hung_up.wait, 20)

    scripted.script = [streamed(NOTE, Handler.listen)]
    with_client(scripted.url, run)


def test_a_stream_that_is_not_read_sends_nothing(scripted: Scripted) -> None:
    with AnticipatoryClient(scripted.url) as each:
        each.stream()
    assert not scripted.received


@pytest.mark.parametrize(
    ("status", "kind"),
    [(422, InvalidRequest), (429, Busy), (500, ServerFault), (503, Unavailable), (504, ServerFault)],
)
def test_an_error_event_is_raised_without_a_retry(
    scripted: Scripted, observe: Ask, status: int, kind: type[ServiceError]
) -> None:
    scripted.script = [streamed(NOTE, Event("error", {"status": status, "detail": "because"})), streamed(EMBEDDING)]
    collected: list[Event] = []
    with pytest.raises(kind) as caught:
        observe(scripted.url, collected=collected)
    assert type(caught.value) is kind
    assert str(caught.value) == f"because (HTTP {status})"
    assert (collected, len(scripted.received)) == ([NOTE], 1)


@pytest.mark.parametrize("headers", [{}, {"Content-Length": "1000"}], ids=["at an end", "anywhere"])
def test_a_stream_that_ends_without_a_result_raises_connection_lost(
    scripted: Scripted, observe: Ask, headers: Mapping[str, str]
) -> None:
    scripted.script = [streamed(NOTE, "event: no", **headers), streamed(EMBEDDING)]
    collected: list[Event] = []
    with pytest.raises(ConnectionLost, match=f"^the connection to {scripted.url} broke: "):
        observe(scripted.url, collected=collected)
    assert (collected, len(scripted.received)) == ([NOTE], 1)


def test_a_stream_that_stays_silent_raises_request_timeout(scripted: Scripted, observe: Ask) -> None:
    scripted.script = [streamed(NOTE, Handler.listen), streamed(EMBEDDING)]
    with pytest.raises(RequestTimeout, match=f"^no answer from {scripted.url} within 0.2 s$"):
        observe(scripted.url, options={"timeout": 0.2})
    assert scripted.hung_up.wait(20)
    assert len(scripted.received) == 1


@pytest.mark.parametrize(
    "answer",
    [
        Answer("<html>"),
        music(3),
        streamed("event: note\ndata: {\n\n"),
        streamed(Event("result", {"task": "generate"})),
        streamed(Event("error", {})),
        streamed(Event("error", {"status": "high", "detail": ""})),
        Answer("moved", 302, {"Location": "/elsewhere"}),
    ],
)
def test_a_stream_of_another_service_raises_unexpected_answer(scripted: Scripted, answer: Answer) -> None:
    scripted.script = [answer]
    with pytest.raises(UnexpectedAnswer):
        observe_sync(scripted.url)


def test_a_busy_service_is_asked_for_the_stream_again(scripted: Scripted, observe: Ask) -> None:
    scripted.script = [Answer("later", 429, NOW), Answer("later", 503, NOW), streamed(NOTE, EMBEDDING)]
    assert observe(scripted.url) == [NOTE, Event("result", EMBEDDING.body)]
    assert len(scripted.received) == 3


def test_a_refused_stream_raises_the_reason(scripted: Scripted, observe: Ask) -> None:
    scripted.script = [Answer({"detail": "later"}, 429, NOW)] * 2
    with pytest.raises(Busy, match=r"^later "):
        observe(scripted.url, options={"max_retries": 1})


def test_a_stream_raises_connection_failed_when_nothing_answers(observe: Ask) -> None:
    with pytest.raises(ConnectionFailed):
        observe(nobody())


# Streams of the real service


def test_the_service_streams_every_note_of_its_result(service: Service, observe: Ask) -> None:
    events = observe(service.url, length_seconds=3, num_variations=2, seed=1)
    *others, (last, result) = events
    notes = Counter(event.data["variation"] for event in others if event.name == "note")
    assert ({event.name for event in others}, last) == ({"note", "progress"}, "result")
    assert [notes[number] for number in (0, 1)] == [each["num_events"] for each in result["variations"]]
    seconds = [event.data["seconds"] for event in others if event.name == "progress"]
    assert seconds == sorted(seconds)
    assert seconds[-1] == 3


def test_the_service_streams_what_comes_after_the_prime(service: Service, observe: Ask) -> None:
    path = GOLDEN / "midi/freedoom_e1m2.mid"
    *others, (_, result) = observe(service.url, "continue", path, prime_seconds=2, length_seconds=2, seed=1)
    new = [event.data["onset"] for event in others if event.name == "note"]
    all_notes = sorted(note.onset / 100 for note in codec.read_notes(result["variations"][0]["midi_bytes"]))
    assert all_notes[len(all_notes) - len(new) :] == new


def test_the_service_streams_an_embedding_as_its_result(service: Service, ask: Ask, observe: Ask) -> None:
    path = GOLDEN / "midi/chorale_001.mid"
    [(name, result)] = observe(service.url, "embed", path)
    assert name == "result"
    assert result["embedding"] == pytest.approx(ask(service.url, "embed", path)["embedding"], rel=1e-4, abs=1e-5)


def test_the_service_refuses_a_stream_with_a_status(service: Service, observe: Ask) -> None:
    with pytest.raises(InvalidRequest, match=r"^length_seconds must be in range 1.0..120.0, got 3000 \(HTTP 422\)$"):
        observe(service.url, length_seconds=3000)


def test_leaving_the_loop_frees_the_place_in_the_service(service: Service) -> None:
    with AnticipatoryClient(service.url) as each:
        for _ in each.stream(length_seconds=120, num_variations=5):
            break
        service.wait_for("anticipatory_batch_rows", 0)


# Every task of the real service

DOOM = GOLDEN / "midi/freedoom_e1m2.mid"


def notes_in(result: Mapping[str, Any]) -> Counter[Any]:
    return Counter(codec.read_notes(result["variations"][0]["midi_bytes"]))


def test_the_service_obeys_the_options(service: Service, ask: Ask) -> None:
    options: MusicOptions = {
        "top_p": {"note": 0.9},
        "temperature": 1.1,
        "top_k": {"onset": 40},
        "min_p": 0.01,
        "instruments": ["Acoustic Bass", "drums", 0],
        "exclude_instruments": (40, "Organ"),
        "instrument_balance": 2,
        "pitch_range": {"Acoustic Bass": (28, 55)},
        "max_polyphony": 4,
        "density": 8,
        "velocity": 99,
        "bpm": 90,
        "num_variations": 1,
        "seed": 4,
        "on_degenerate": "keep",
        "model_size": "tiny",
        "client_job_id": "job",
    }
    result = ask(service.url, "generate", 3, **options)
    notes = notes_in(result)
    assert {note.instrument for note in notes} <= {0, 32, 128}
    assert {note.velocity for note in notes} == {99}
    assert all(28 <= note.pitch <= 55 for note in notes if note.instrument == 32)
    assert (result["metadata"]["client_job_id"], result["variations"][0]["seed"]) == ("job", 4)
    assert ask(service.url, "generate", 3, **options)["variations"] == result["variations"]


def test_the_service_continues_from_the_end(service: Service, ask: Ask) -> None:
    result = ask(service.url, "continue_midi", DOOM, 3, 2, prime_from="end", seed=1)
    assert notes_in(result) > Counter(codec.read_notes(DOOM.read_bytes()))


def test_the_service_accompanies(service: Service, ask: Ask) -> None:
    result = ask(service.url, "accompany", DOOM, melody_tracks=[1], length_seconds=2, velocity=1, seed=1)
    assert result["task"] == "accompany"
    assert {note.onset < 200 for note in notes_in(result) if note.velocity == 1} == {True}


def test_the_service_varies(service: Service, ask: Ask) -> None:
    result = ask(service.url, "vary", DOOM, 0.5, start_seconds=5, end_seconds=7, seed=1)
    assert (result["task"], result["similarity"]) == ("variation", 0.5)


def test_the_service_infills(service: Service, ask: Ask) -> None:
    result = ask(service.url, "infill", DOOM, 5, 7, velocity=1, seed=1)
    fixed = Counter(note for note in codec.read_notes(DOOM.read_bytes()) if not 500 <= note.onset < 700)
    new = notes_in(result) - fixed
    assert notes_in(result) >= fixed
    assert {(500 <= note.onset < 700, note.velocity) for note in new} == {(True, 1)}


def test_the_service_announces_discarded_variations(service: Service, observe: Ask) -> None:
    """In a second random weights are silent, however often they are asked."""
    fields: Fields = {"length_seconds": 1, "seed": 5, "model_size": "small"}
    *others, (_, result) = observe(service.url, **fields)
    assert result["variations"][0]["draws"] == 3
    void = [event.data for event in others if event.name == "discard"]
    assert void == [{"variation": 0, "reason": "silent"}] * 3  # after the last draw the first one stays


def test_embed_many_gives_the_same_vectors_as_embed(service: Service, ask: Ask, embed_many: Ask) -> None:
    paths = [GOLDEN / f"midi/{name}.mid" for name in ("chorale_001", "freedoom_map32", "drums_and_bass")]
    options: EmbedOptions = {"windows": "all", "normalize": True, "model_size": "small"}
    for path, result in zip(paths, embed_many(service.url, paths, -1, **options), strict=True):
        alone = ask(service.url, "embed", path, -1, **options)
        assert result.pop("embedding") == pytest.approx(alone.pop("embedding"), abs=1e-5)
        assert {**result, "metadata": None} == {**alone, "metadata": None}


def test_the_service_embeds_each_token(service: Service, embed_many: Ask) -> None:
    [result] = embed_many(service.url, [GOLDEN / "midi/chorale_001.mid"], -1, pooling="none", model_size="small")
    assert len(result["token_embeddings"]) == result["num_tokens"]


def test_the_service_names_the_file_that_it_refuses(service: Service, embed_many: Ask) -> None:
    with pytest.raises(InvalidRequest, match=r"^midis\[1\]: not a MIDI file"):
        embed_many(service.url, [DOOM, b"hello"])
    with pytest.raises(InvalidRequest, match=r"^midis\[0\]: not a MIDI file"):
        embed_many(service.url, [b"hello"])


def test_the_key_opens_a_service_that_asks_for_one(locked: Service) -> None:
    for call in (partial(ask_sync, locked.url, "generate"), partial(observe_sync, locked.url)):
        with pytest.raises(Unauthorized, match="X-API-Key"):
            call(options={"api_key": "wrong"})
        with pytest.raises(InvalidRequest, match="must be in range"):
            call(length_seconds=3000, options={"api_key": "secret"})


# What goes wrong


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, InvalidRequest),
        (413, InvalidRequest),
        (422, InvalidRequest),
        (429, Busy),
        (500, ServerFault),
        (503, Unavailable),
        (504, ServerFault),
        (599, ServerFault),
    ],
)
def test_every_status_has_its_error(scripted: Scripted, status: int, kind: type[ServiceError]) -> None:
    scripted.script = [Answer({"detail": "because"}, status)]
    with pytest.raises(kind) as caught:
        ask_sync(scripted.url, "generate", options={"max_retries": 0})
    assert type(caught.value) is kind
    assert (caught.value.status, caught.value.detail) == (status, "because")
    assert str(caught.value) == f"because (HTTP {status})"


def test_a_wrong_key_raises_unauthorized(scripted: Scripted, ask: Ask, observe: Ask) -> None:
    scripted.script = [Answer({"detail": "no key"}, 401)] * 2
    for call in (partial(ask, scripted.url, "generate"), partial(observe, scripted.url)):
        with pytest.raises(Unauthorized) as caught:
            call(options={"api_key": "wrong"})
        assert isinstance(caught.value, InvalidRequest)
        assert str(caught.value) == "no key (HTTP 401): give api_key, or set LIT_SERVER_API_KEY"


def test_a_list_of_problems_becomes_one_line(scripted: Scripted, ask: Ask) -> None:
    detail = [
        {"loc": ["body", "model_size"], "msg": "should be\n'tiny'", "type": "literal_error"},
        {"loc": ["top_p"], "msg": "top_p must be in range 0.1..1.0, got 2", "type": "out_of_range"},
        {"loc": ["body"], "msg": "Field required", "type": "missing"},
    ]
    scripted.script = [Answer({"detail": detail}, 422)]
    with pytest.raises(InvalidRequest) as caught:
        ask(scripted.url, "generate")
    expected = "model_size: should be 'tiny'; top_p must be in range 0.1..1.0, got 2; Field required (HTTP 422)"
    assert str(caught.value) == expected
    assert caught.value.detail == detail


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ("Internal Server Error", "Internal Server Error"),
        ("", "Internal Server Error"),
        ("<html>\n<p>oh\n", "<html> <p>oh"),
        ({"detail": {"reason": 1}}, '{"reason": 1}'),
        ({"detail": ["odd", {"odd": 1}]}, '"odd"; {"odd": 1}'),
        ({"error": 1}, '{"error": 1}'),
        ("[]", "[]"),
    ],
)
def test_errors_in_another_shape_are_still_one_line(scripted: Scripted, body: Any, text: str) -> None:
    scripted.script = [Answer(body, 500)]
    with pytest.raises(ServerFault) as caught:
        ask_sync(scripted.url, "generate")
    assert str(caught.value) == f"{text} (HTTP 500)"


@pytest.mark.parametrize(
    "answer",
    [
        Answer("ok"),
        Answer([]),
        Answer({}),
        Answer({"task": "generate"}),
        Answer({"task": "generate", "variations": [{"midi_base64": "%"}]}),
        Answer("moved", 302, {"Location": "/elsewhere"}),
    ],
)
def test_an_answer_of_another_service_raises_unexpected_answer(scripted: Scripted, answer: Answer) -> None:
    scripted.script = [answer]
    with pytest.raises(UnexpectedAnswer):
        ask_sync(scripted.url, "generate")


def test_connection_failed_says_how_to_start_the_service(ask: Ask) -> None:
    url = nobody()
    with pytest.raises(ConnectionFailed) as caught:
        ask(url, "generate")
    assert str(caught.value).startswith(f"nothing answers at {url} (")
    assert "`uv run python server.py`" in str(caught.value)


@pytest.mark.parametrize("answer", [DROP, BREAK], ids=["before", "within"])
def test_a_broken_connection_raises_connection_lost(scripted: Scripted, ask: Ask, answer: Answer) -> None:
    scripted.script = [answer]
    with pytest.raises(ConnectionLost, match=f"^the connection to {scripted.url} broke: "):
        ask(scripted.url, "generate")
    assert len(scripted.received) == 1


def test_a_missing_answer_raises_request_timeout(scripted: Scripted, ask: Ask) -> None:
    scripted.script = [SILENCE]
    with pytest.raises(RequestTimeout, match=f"^no answer from {scripted.url} within 0.1 s$"):
        ask(scripted.url, "generate", options={"timeout": 0.1})


def test_a_password_in_the_address_does_not_reach_the_message() -> None:
    with pytest.raises(ConnectionFailed) as caught:
        ask_sync(nobody().replace("//", "//user:secret@"), "generate")
    assert "secret" not in str(caught.value)


def test_every_error_has_one_base() -> None:
    kinds = (ConnectionFailed, ConnectionLost, RequestTimeout, UnexpectedAnswer, ServiceError)
    assert all(issubclass(kind, AnticipatoryError) for kind in kinds)


def test_an_error_can_be_sent_between_processes() -> None:
    error = pickle.loads(pickle.dumps(InvalidRequest(422, "because")))
    assert (type(error), error.status, error.detail) == (InvalidRequest, 422, "because")


# Trying again


@pytest.mark.parametrize("status", [429, 503])
def test_busy_and_unavailable_are_retried(scripted: Scripted, ask: Ask, status: int) -> None:
    scripted.script = [Answer("later", status, NOW), Answer("later", status, NOW), music(3)]
    assert ask(scripted.url, "generate")["variations"][0]["num_events"] == 3
    assert len(scripted.received) == 3
    assert scripted.bodies[0] == scripted.bodies[2]


def test_waiting_as_long_as_retry_after_says_is_enough(scripted: Scripted, ask: Ask) -> None:
    opens = float("inf")

    def refuse() -> Answer:
        nonlocal opens
        opens = time.monotonic() + 1
        return Answer("later", 429, {"Retry-After": "1"})

    def let_in() -> Answer:
        return music(3) if time.monotonic() >= opens else Answer("too early", 500)

    scripted.script = [refuse, let_in]
    assert ask(scripted.url, "generate", options={"max_retries": 1})["task"] == "generate"


def test_the_error_is_raised_after_the_last_retry(scripted: Scripted, ask: Ask) -> None:
    scripted.script = [Answer("later", 503, NOW) for _ in range(9)]
    with pytest.raises(Unavailable):
        ask(scripted.url, "generate", options={"max_retries": 2})
    assert len(scripted.received) == 3


@pytest.mark.parametrize("status", [422, 500, 504])
def test_other_errors_are_not_retried(scripted: Scripted, status: int) -> None:
    scripted.script = [Answer("no", status, NOW), music(3)]
    with pytest.raises(ServiceError):
        ask_sync(scripted.url, "generate")
    assert len(scripted.received) == 1


@pytest.mark.parametrize("attempt", [0, 1, 2, 5])
def test_waits_double_and_are_jittered(attempt: int) -> None:
    waits = [retry_wait_seconds(attempt) for _ in range(50)]
    assert 0.25 * 2**attempt <= min(waits) < max(waits) <= 0.5 * 2**attempt


def test_retry_after_may_be_seconds() -> None:
    assert retry_wait_seconds(3, "0") == 0
    assert all(7 <= retry_wait_seconds(0, " 7 ") <= 7 * 1.25 for _ in range(50))


def test_retry_after_may_be_a_date() -> None:
    soon = format_datetime(datetime.now(UTC) + timedelta(seconds=20), usegmt=True)
    assert 18 <= retry_wait_seconds(0, soon) <= 25
    assert retry_wait_seconds(0, "Wed, 21 Oct 2015 07:28:00 GMT") == 0
    assert retry_wait_seconds(0, "Wed, 21 Oct 2015 07:28:00 -0000") == 0


@pytest.mark.parametrize(("attempt", "retry_after"), [(20, None), (10**6, None), (0, "3600"), (0, "9" * 400)])
def test_no_wait_is_longer_than_the_limit(attempt: int, retry_after: str | None) -> None:
    assert retry_wait_seconds(attempt, retry_after) == pytest.approx(LONGEST_WAIT_SECONDS)


@pytest.mark.parametrize("retry_after", ["", "soon", "-1", "nan", "1.5e9", "\u00b2"])
def test_an_unreadable_retry_after_is_ignored(retry_after: str) -> None:
    assert 0.25 <= retry_wait_seconds(0, retry_after) <= 0.5


def test_the_client_needs_neither_the_model_nor_the_server() -> None:
    code = "import client, sys; print({'torch', 'litserve', 'amt', 'pydantic', 'schemas'} & set(sys.modules))"
    run = subprocess.run([sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True, check=True)
    assert run.stdout == "set()\n"
