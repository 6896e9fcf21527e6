"""What the client makes of music besides MIDI: sound, images, and what a notebook shows."""

import base64
import copy
import io
import json
import pickle
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs
from xml.etree import ElementTree

import pytest

from client import AnticipatoryClient, InvalidRequest, UnexpectedAnswer, render_format
from commands import MAX_LINKED_BYTES
from tasks.rendering import MEDIA_TYPES
from tests.client.scripted import Answer, Scripted, music, streamed
from tests.client.test_client import Ask, ask
from tests.client.test_commands import run_client
from tests.conftest import GOLDEN, Service

__all__ = ["ask"]  # a fixture

CHORDS = GOLDEN / "midi/chords_same_tick.mid"

needs_audio = pytest.mark.skipif(
    not (find_spec("tinysoundfont") and find_spec("soundfile")),
    reason="the group audio is not installed: uv run --group audio pytest",
)


def n_notes(svg: bytes | str) -> int:
    return len(ElementTree.fromstring(svg).findall("{*}g[@class]/{*}rect"))


def test_a_file_is_written_in_the_format_of_its_name(service: Service, ask: Ask, tmp_path: Path) -> None:
    out = tmp_path / "roll.SVG"
    rendered = ask(service.url, "render", CHORDS, out)
    assert out.read_bytes() == rendered
    assert n_notes(rendered) == 48


@needs_audio
def test_sound_comes_as_bytes(service: Service, ask: Ask) -> None:
    import soundfile

    sound, rate = soundfile.read(io.BytesIO(ask(service.url, "render", CHORDS.read_bytes(), format="flac")))
    assert len(sound) / rate >= 6


def test_the_formats_are_those_of_the_service() -> None:
    assert [render_format(f"song.{name}") for name in MEDIA_TYPES] == list(MEDIA_TYPES)
    for name in ("song.gif", "song", ".svg"):
        with pytest.raises(ValueError, match=r"must end in one of \.wav, \.flac"):
            render_format(name)


def test_a_refusal_says_why(service: Service, ask: Ask, tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match="not a MIDI file"):
        ask(service.url, "render", b"hello", tmp_path / "roll.svg")
    assert not list(tmp_path.iterdir())


def test_another_service_is_told_apart() -> None:
    from tests.client import scripted

    with scripted.running() as server, AnticipatoryClient(server.url) as client:
        server.script = [Answer("<html>", headers={"Content-Type": "text/html"})]
        with pytest.raises(UnexpectedAnswer, match="this is no sound and no image, but text/html"):
            client.render(b"{}")


def test_in_a_notebook_a_result_shows_each_variation(service: Service, ask: Ask) -> None:
    result = ask(service.url, "generate", 2, num_variations=2, seed=1)
    shown = result._repr_html_()
    rolls = [f"<svg{part.partition('</svg>')[0]}</svg>" for part in shown.split("<svg")[1:]]
    assert [n_notes(roll) for roll in rolls] == [variation["num_events"] for variation in result["variations"]]
    assert "seed 1" in shown
    assert "seed 2" in shown
    if find_spec("tinysoundfont") and find_spec("soundfile"):
        assert shown.count('<audio controls src="data:audio/mpeg;base64,') == 2
    else:
        assert "uv run --group audio python server.py" in shown


def test_a_stream_ends_with_a_result_that_shows_itself(service: Service) -> None:
    with AnticipatoryClient(service.url) as client:
        *_, last = client.stream("generate", length_seconds=1, seed=1)
    assert "<svg" in last.data._repr_html_()


def test_without_the_service_a_result_is_shown_as_text(scripted: Scripted, ask: Ask) -> None:
    answer = music(5)
    answer.body["variations"][0]["seed"] = "<7>"
    scripted.script = [answer]
    result = ask(scripted.url, "generate")
    scripted.shutdown()
    scripted.server_close()
    shown = result._repr_html_()
    assert "5 notes, 10.0 s, seed &lt;7&gt;" in shown
    assert "nothing answers at" in shown
    assert "<svg" not in shown


def test_a_result_is_a_dict_in_all_else_and_its_copies_keep_no_key(scripted: Scripted) -> None:
    scripted.script = [music(5)]
    with AnticipatoryClient(scripted.url, api_key="secret") as client:
        result = client.generate()
    plain = dict(result)
    for each in (result, copy.deepcopy(result), pickle.loads(pickle.dumps(result))):
        assert each == plain
    assert b"secret" not in pickle.dumps(result)
    del plain["variations"], result["variations"]
    assert json.loads(json.dumps(result)) == plain


def command(service: Service, tmp_path: Path, *arguments: str) -> Any:
    return run_client("generate", "--base-url", service.url, "--length-seconds", "1", *arguments, cwd=tmp_path)


def test_the_command_line_writes_what_the_name_says(service: Service, tmp_path: Path) -> None:
    run = command(service, tmp_path, "--out", "song.svg", "--num-variations", "2", "--include", "notes")
    assert (run.returncode, run.stderr) == (0, "")
    assert run.stdout.startswith("song-1.svg, song-1.json, song-2.svg, song-2.json: ")
    for number in (1, 2):
        notes = json.loads((tmp_path / f"song-{number}.json").read_text())
        assert n_notes((tmp_path / f"song-{number}.svg").read_text()) == len(notes)


@needs_audio
def test_the_command_line_writes_sound(service: Service, tmp_path: Path) -> None:
    import soundfile

    run = command(service, tmp_path, "--out", "song.mp3")
    assert (run.returncode, run.stderr) == (0, "")
    assert soundfile.info(tmp_path / "song.mp3").duration >= 1


def test_a_name_that_says_nothing_known_is_refused_before_the_work(service: Service, tmp_path: Path) -> None:
    run = command(service, tmp_path, "--out", "song.m4a")
    assert run.returncode == 1
    assert run.stderr.startswith("error: song.m4a must end in one of .mid, .midi, .wav, .flac")
    assert not list(tmp_path.iterdir())


def test_music_that_cannot_be_rendered_is_not_lost(scripted: Scripted, tmp_path: Path) -> None:
    scripted.script = [streamed(music(5)), Answer({"detail": "no sound here"}, 501)]
    run = run_client("generate", "--base-url", scripted.url, "--out", "song.wav", cwd=tmp_path)
    assert run.returncode == 1
    assert "no sound here (HTTP 501); the music is in song.mid" in run.stderr
    assert (tmp_path / "song.mid").read_bytes() == b"MThd and so on"


def test_play_opens_the_page_with_the_file_in_the_address(service: Service, tmp_path: Path) -> None:
    browser = tmp_path / "browser"
    browser.write_text('#!/bin/sh\nprintf %s "$1" > opened\n')
    browser.chmod(0o755)
    run = run_client("play", str(CHORDS), "--base-url", service.url, cwd=tmp_path, BROWSER=f"{browser} %s")
    assert (run.returncode, run.stderr) == (0, "")
    address, _, values = (tmp_path / "opened").read_text().partition("#")
    (name,), (midi,) = (parse_qs(values)[key] for key in ("name", "midi"))
    assert (address, name) == (f"{service.url}/", CHORDS.name)
    assert base64.urlsafe_b64decode(midi + "=" * (-len(midi) % 4)) == CHORDS.read_bytes()


def test_play_says_what_an_address_cannot_hold(service: Service, tmp_path: Path) -> None:
    (tmp_path / "large.mid").write_bytes(bytes(MAX_LINKED_BYTES + 1))
    run = run_client("play", "large.mid", "--base-url", service.url, cwd=tmp_path)
    assert (run.returncode, run.stdout) == (1, "")
    assert f"an address holds {MAX_LINKED_BYTES}: open it in the page" in run.stderr
