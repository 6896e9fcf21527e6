import json
import os
import pty
import re
import shlex
import shutil
import signal
import subprocess
import sys
import termios
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, get_type_hints

import pytest

import commands
from amt.midi import codec
from client import Event, Fields
from tests.client.scripted import EMBEDDING, METADATA, MIDI, NOTE, PROGRESS, Answer, Handler, Scripted, music, streamed
from tests.conftest import PROJECT, Service


def run_client(*arguments: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-W", "error", str(PROJECT / "client.py"), *arguments]
    return subprocess.run(
        command,
        cwd=cwd,
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )


def test_client_and_commands_are_the_same_command(tmp_path: Path) -> None:
    direct = subprocess.run(
        [sys.executable, "-W", "error", str(PROJECT / "commands.py"), "--help"], capture_output=True, text=True
    )
    through_client = run_client("--help", cwd=tmp_path)
    assert (direct.returncode, through_client.returncode) == (0, 0)
    assert direct.stdout == through_client.stdout
    assert direct.stdout.startswith("usage: client.py ")
    assert run_client("sing", cwd=tmp_path).returncode == 2


def test_client_without_commands_beside_it_says_so(tmp_path: Path) -> None:
    shutil.copy(PROJECT / "client.py", tmp_path)
    command = [sys.executable, "-W", "error", "client.py", "health"]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert (run.returncode, run.stdout) == (1, "")
    assert re.fullmatch(r"error: .*commands\.py is missing: as a command, client\.py needs it\n", run.stderr)


def test_generate_writes_a_file_and_prints_a_summary(scripted: Scripted, tmp_path: Path) -> None:
    scripted.script = [streamed(NOTE, PROGRESS, music(164))]
    options = ["--length-seconds", "10", "--top-p", "0.9", "--model-size", "tiny", "--client-job-id", "me"]
    run = run_client("generate", "--base-url", scripted.url, *options, "--out", "new.mid", cwd=tmp_path)
    assert re.fullmatch(r"new\.mid: 164 notes, 10\.0 s, tiny on cpu, \d+\.\d s\n", run.stdout)
    assert (run.returncode, run.stderr) == (0, "")
    assert (tmp_path / "new.mid").read_bytes() == MIDI
    sent = {"length_seconds": 10.0, "top_p": 0.9, "model_size": "tiny", "client_job_id": "me"}
    assert scripted.bodies == [{"task": "generate", **sent}]


def test_embed_without_out_writes_only_json_to_stdout(scripted: Scripted, tmp_path: Path) -> None:
    (tmp_path / "in.mid").write_bytes(MIDI)
    scripted.script = [EMBEDDING]
    run = run_client("embed", "in.mid", "--embed-layer", "-1", cwd=tmp_path, ANTICIPATORY_URL=scripted.url)
    assert json.loads(run.stdout) == {"file": "in.mid", **EMBEDDING.body}
    assert run.stderr.startswith("stdout: 2 numbers from 1023 of 3000 tokens, tiny on cpu, ")
    assert scripted.bodies[0]["embed_layer"] == -1


class Terminal:
    """Run the command line on a terminal of this width; stdout is a pipe."""

    def __init__(self, *arguments: str, cwd: Path, columns: int = 80) -> None:
        self._screen, terminal = pty.openpty()
        termios.tcsetwinsize(terminal, (24, columns))
        # Whoever started the tests in the background has Ctrl-C ignored, and that is inherited.
        before = signal.signal(signal.SIGINT, signal.default_int_handler)
        self.process = subprocess.Popen(
            [sys.executable, str(PROJECT / "client.py"), *arguments],
            cwd=cwd,
            stdout=subprocess.PIPE,
            stderr=terminal,
            text=True,
        )
        signal.signal(signal.SIGINT, before)
        os.close(terminal)
        self.shown = ""

    def read_until(self, text: str) -> None:
        """Read the output up to this text, or to the end."""
        with suppress(OSError):  # so Linux says that the other end is closed
            while text not in self.shown and (part := os.read(self._screen, 1000)):
                self.shown += part.decode()

    def finish(self) -> tuple[int, str]:
        """Wait for the end; return (exit status, stdout)."""
        self.read_until("there is no such text")
        os.close(self._screen)
        stdout, _ = self.process.communicate()
        return self.process.returncode, stdout


def test_a_terminal_shows_the_progress_of_the_music(scripted: Scripted, tmp_path: Path) -> None:
    scripted.script = [streamed(NOTE, NOTE, PROGRESS, Handler.pause, music(1))]
    terminal = Terminal("generate", "--base-url", scripted.url, cwd=tmp_path)
    terminal.read_until("notes")
    scripted.may_go_on.set()
    status, stdout = terminal.finish()
    assert terminal.shown.startswith("\r| generate 0 s")
    assert " s [######                  ] 5.0 of 20.0 s of music, 2 notes\x1b[K" in terminal.shown
    assert terminal.shown.endswith("\r\x1b[K")
    assert "\n" not in terminal.shown
    assert (status, stdout.partition(", ")[0]) == (0, "out.mid: 1 note")


def test_the_status_line_fits_into_the_terminal(scripted: Scripted, tmp_path: Path) -> None:
    scripted.script = [streamed(NOTE, PROGRESS, Handler.pause, music(1))]
    terminal = Terminal("generate", "--base-url", scripted.url, cwd=tmp_path, columns=30)
    terminal.read_until("#")
    scripted.may_go_on.set()
    terminal.finish()
    assert max(len(line.removesuffix("\x1b[K")) for line in terminal.shown.split("\r")) == 29


def test_the_status_line_is_cleared_before_an_error_is_printed(scripted: Scripted, tmp_path: Path) -> None:
    scripted.script = [streamed(NOTE, Event("error", {"status": 504, "detail": "too long"}))]
    terminal = Terminal("generate", "--base-url", scripted.url, cwd=tmp_path)
    status, stdout = terminal.finish()
    assert (status, stdout) == (1, "")
    assert terminal.shown.endswith("\r\x1b[Kerror: too long (HTTP 504)\r\n")


def test_ctrl_c_closes_the_connection_and_prints_nothing(scripted: Scripted, tmp_path: Path) -> None:
    scripted.script = [streamed(NOTE, PROGRESS, Handler.listen)]
    terminal = Terminal("generate", "--base-url", scripted.url, cwd=tmp_path)
    terminal.read_until("#")
    terminal.process.send_signal(signal.SIGINT)
    assert terminal.finish() == (130, "")
    assert terminal.shown.endswith("\r\x1b[K")
    assert "Traceback" not in terminal.shown
    assert scripted.hung_up.wait(20)
    assert not list(tmp_path.iterdir())


def test_the_key_is_an_option_of_every_command(scripted: Scripted, capsys: pytest.CaptureFixture[str]) -> None:
    scripted.script = [Answer("ok"), Answer({"detail": "no key"}, 401)]
    call = ["--base-url", scripted.url, "--api-key", "mine"]
    in_process(capsys, "health", *call)
    status, _, stderr = in_process(capsys, "generate", *call)
    assert (status, stderr) == (1, "error: no key (HTTP 401): give api_key, or set LIT_SERVER_API_KEY\n")
    assert [each.headers["X-API-Key"] for each in scripted.received] == ["mine", "mine"]


def in_process(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    """Run the command line in this process; return (exit status, stdout, stderr)."""
    status = commands.main(arguments)
    return (status, *capsys.readouterr())


def test_several_variations_are_written_to_numbered_files(
    scripted: Scripted, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, out = tmp_path / "in.mid", tmp_path / "new.mid"
    source.write_bytes(MIDI)
    scripted.script = [streamed(music(5, 6, task="continue"))]
    call = ["continue", str(source), "--base-url", scripted.url, "--prime-seconds", "3", "--out", str(out)]
    _, stdout, _ = in_process(capsys, *call)
    assert stdout.startswith(f"{tmp_path}/new-1.mid, {tmp_path}/new-2.mid: 5 notes, 6 notes, 10.0 s, tiny on cpu, ")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.mid", "new-1.mid", "new-2.mid"]
    assert scripted.bodies[0]["prime_seconds"] == 3.0


def test_an_embedding_is_written_to_the_file_asked_for(
    scripted: Scripted, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "in.mid").write_bytes(MIDI)
    scripted.script = [EMBEDDING]
    out = tmp_path / "x.json"
    call = ["embed", str(tmp_path / "in.mid"), "--base-url", scripted.url, "--out", str(out)]
    status, stdout, _ = in_process(capsys, *call)
    assert json.loads(out.read_text()) == {"file": str(tmp_path / "in.mid"), **EMBEDDING.body}
    assert stdout.startswith(f"{out}: 2 numbers from 1023 of 3000 tokens")
    assert status == 0


def files(folder: Path, count: int) -> list[str]:
    """Write `count` MIDI files."""
    paths = [folder / f"{number}.mid" for number in range(count)]
    for path in paths:
        path.write_bytes(MIDI)
    return [str(path) for path in paths]


def embedded(*numbers: int) -> dict[str, Any]:
    """Return the answer of the service about several files."""
    shape = {"embedding_dim": 2, "num_tokens": 9, "original_tokens": 12}
    return {"task": "embed", "files": [{"embedding": [each, 0], **shape} for each in numbers], "metadata": METADATA}


def test_embed_writes_one_line_per_file(scripted: Scripted, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    paths, out = files(tmp_path, 3), tmp_path / "x.jsonl"
    scripted.script = [Answer(embedded(0, 1, 2))]
    call = ["embed", *paths, "--pooling", "last", "--normalize", "--base-url", scripted.url, "--out", str(out)]
    _, stdout, _ = in_process(capsys, *call)
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    assert [(line["file"], line["embedding"][0]) for line in lines] == list(zip(paths, range(3), strict=True))
    assert stdout.startswith(f"{out}: 3 vectors of 2 numbers from 27 of 36 tokens, tiny on cpu, ")
    assert (scripted.bodies[0]["pooling"], scripted.bodies[0]["normalize"]) == ("last", True)


def test_embeddings_before_an_error_are_written(
    scripted: Scripted, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    paths, out = files(tmp_path, 18), tmp_path / "x.jsonl"
    scripted.script = [Answer(embedded(*range(16))), Answer({"detail": "midi_inputs[1]: no notes"}, 422)]
    status, stdout, stderr = in_process(capsys, "embed", *paths, "--base-url", scripted.url, "--out", str(out))
    assert (status, stdout, stderr) == (1, "", f"error: {paths[17]}: no notes (HTTP 422)\n")
    assert len(out.read_text().splitlines()) == 16


def test_a_terminal_shows_how_many_files_are_done(scripted: Scripted, tmp_path: Path) -> None:
    paths = files(tmp_path, 32)
    answer = Answer(embedded(*range(16)))
    scripted.script = [answer, Answer((Handler.pause, json.dumps(answer.body)))]
    terminal = Terminal("embed", *paths, "--base-url", scripted.url, cwd=tmp_path)
    terminal.read_until("files")
    scripted.may_go_on.set()
    terminal.finish()
    assert f" s [{'#' * 12}{' ' * 12}] 16 of 32 files\x1b[K" in terminal.shown


DISCARD = Event("discard", {"variation": 0, "reason": "stuck"})


def test_notes_of_discarded_variations_are_not_counted(scripted: Scripted, tmp_path: Path) -> None:
    other = Event("note", {**NOTE.data, "variation": 1})
    scripted.script = [streamed(NOTE, NOTE, other, DISCARD, PROGRESS, Handler.pause, music(1))]
    terminal = Terminal("generate", "--base-url", scripted.url, cwd=tmp_path)
    terminal.read_until("note")
    scripted.may_go_on.set()
    terminal.finish()
    assert "5.0 of 20.0 s of music, 1 note\x1b[K" in terminal.shown


def test_the_summary_says_draws_and_flaws(
    scripted: Scripted, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    answer = music(4, 3, 2, 1)
    told = [(1, None), (2, None), (3, "stuck"), (1, "silent")]
    for variation, (draws, flaw) in zip(answer.body["variations"], told, strict=True):
        variation |= {"draws": draws, "flaw": flaw}
    scripted.script = [streamed(answer)]
    _, stdout, _ = in_process(capsys, "generate", "--base-url", scripted.url, "--out", str(tmp_path / "new.mid"))
    notes = "4 notes, 3 notes (drawn 2 times), 2 notes (stuck, though drawn 3 times), 1 note (silent)"
    assert f": {notes}, 10.0 s, tiny on cpu, " in stdout


def test_flags_work_with_the_real_service(service: Service, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "new.mid"
    flags = (
        "--length-seconds 2 --instruments 'Acoustic Bass' drums --pitch-range 'Acoustic Bass=28-55' --top-p note=0.9"
    )
    call = ["generate", *shlex.split(flags), "--base-url", service.url, "--out", str(out)]
    assert in_process(capsys, *call)[::2] == (0, "")
    notes = codec.read_notes(out.read_bytes())
    assert all(note.instrument == 128 or (note.instrument == 32 and 28 <= note.pitch <= 55) for note in notes)
    silent = ["generate", "--seed", "5", "--length-seconds", "1", "--model-size", "small"]
    _, stdout, _ = in_process(capsys, *silent, "--base-url", service.url, "--out", str(out))
    assert stdout.startswith(f"{out}: 0 notes (silent, though drawn 3 times), 1.0 s, small on cpu, ")


NOTES = [{"onset": 0.0, "duration": 0.5, "pitch": 60}]


def test_notes_are_written_beside_the_file(
    scripted: Scripted, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    answer = music(1, 2)
    for variation in answer.body["variations"]:
        variation["notes"] = NOTES
    scripted.script = [streamed(answer)]
    out = tmp_path / "song.mid"
    _, stdout, _ = in_process(capsys, "generate", "--base-url", scripted.url, "--out", str(out))
    names = [str(tmp_path / f"song-{number}.{kind}") for number in (1, 2) for kind in ("mid", "json")]
    assert stdout.startswith(f"{', '.join(names)}: 1 note, 2 notes, ")
    assert json.loads((tmp_path / "song-2.json").read_text()) == NOTES


@pytest.mark.parametrize(
    ("content", "reason"), [("[", "is no JSON: "), ("{}", "holds no list of notes"), ('{"notes": 1}', "holds no list")]
)
def test_a_file_without_notes_is_an_error_of_one_line(
    scripted: Scripted, tmp_path: Path, capsys: pytest.CaptureFixture[str], content: str, reason: str
) -> None:
    path = tmp_path / "notes.json"
    path.write_text(content)
    call = ["continue", "--notes", str(path), "--base-url", scripted.url, "--out", str(tmp_path / "out.mid")]
    status, _, stderr = in_process(capsys, *call)
    assert (status, stderr[: len(f"error: {path} {reason}")]) == (1, f"error: {path} {reason}")
    assert not scripted.received


@pytest.mark.parametrize(
    ("call", "sent"),
    [
        ("generate --temperature 0.9 --top-k 40", {"temperature": 0.9, "top_k": 40}),
        ("generate --temperature onset=0.9,note=1.1", {"temperature": {"onset": 0.9, "note": 1.1}}),
        ("generate --top-p note=0.9 --min-p 0.05", {"top_p": {"note": 0.9}, "min_p": 0.05}),
        ("generate --instruments 'Acoustic Bass' drums 0", {"instruments": ["Acoustic Bass", "drums", 0]}),
        ("generate --exclude-instruments 128", {"exclude_instruments": [128]}),
        ("generate --pitch-range 48-72", {"pitch_range": [48, 72]}),
        ("generate --pitch-range 'Slap Bass 1=28-55,9=1-2'", {"pitch_range": {"Slap Bass 1": [28, 55], "9": [1, 2]}}),
        ("generate --max-polyphony 4 --density 2.5", {"max_polyphony": 4, "density": 2.5}),
        ("generate --velocity auto --bpm 90", {"velocity": "auto", "bpm": 90}),
        ("generate --velocity 100 --on-degenerate keep", {"velocity": 100, "on_degenerate": "keep"}),
        ("generate --num-variations 1 --seed 7 --instrument-balance 0", {"seed": 7, "instrument_balance": 0}),
        ("continue in.mid --prime-from end --prime-seconds 8", {"prime_from": "end", "prime_seconds": 8}),
        ("accompany in.mid --melody-instruments Flute --seed 7", {"melody_instruments": ["Flute"], "seed": 7}),
        ("accompany in.mid --melody-tracks 1 Lead --length-seconds 9", {"melody_tracks": [1, "Lead"]}),
        ("infill in.mid --start-seconds 5 --end-seconds 10", {"start_seconds": 5, "end_seconds": 10}),
        ("infill in.mid --start-bar 5 --end-bar 10", {"start_bar": 5, "end_bar": 10}),
        ("infill in.mid --start-bar 1 --end-bar 2 --locked 0,3", {"locked": [0, 3]}),
        (
            """infill in.mid --start-bar 1 --end-bar 2 --locked '{"pitch_range": [0, 47]}'""",
            {"locked": {"pitch_range": [0, 47]}},
        ),
        ("vary in.mid", {"task": "variation"}),
        ("vary in.mid --similarity 0.25 --end-bar 5", {"similarity": 0.25, "end_bar": 5}),
        ("vary in.mid --start-seconds 2 --no-avoid-copy", {"start_seconds": 2, "avoid_copy": False}),
        ("continue in.mid --prime-bars 2 --length-bars 4", {"prime_bars": 2, "length_bars": 4}),
        ("generate --grid 1/8T --grid-durations", {"grid": "1/8T", "grid_durations": True}),
        ("generate --key 'A minor' --chords 'Am | F'", {"key": "A minor", "chords": "Am | F"}),
        ('generate --chords \'[{"symbol": "Am"}]\'', {"chords": [{"symbol": "Am"}]}),
        ("accompany in.mid --chords off --variety off", {"chords": None, "variety": None}),
        ("generate --variety 0.5 --include midi notes", {"variety": 0.5, "include": ["midi", "notes"]}),
        ("continue --notes notes.json --time-unit beats", {"notes": NOTES, "include": ["midi"], "time_unit": "beats"}),
        ("embed in.mid --windows each --pooling max --embed-layer -1", {"windows": "each", "embed_layer": -1}),
    ],
)
def test_flags_become_fields(
    scripted: Scripted,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    call: str,
    sent: Mapping[str, Any],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in.mid").write_bytes(MIDI)
    (tmp_path / "notes.json").write_text(json.dumps({"notes": NOTES}))
    scripted.script = [EMBEDDING if call.startswith("embed") else streamed(music(1))]
    assert in_process(capsys, *shlex.split(call), "--base-url", scripted.url)[0] == 0
    [body] = scripted.bodies
    command = call.split()[0]
    assert body["task"] == {"vary": "variation"}.get(command, command)
    assert {name: body[name] for name in sent} == sent


def test_every_field_has_a_flag_and_a_help_text(capsys: pytest.CaptureFixture[str]) -> None:
    shown = ""
    for command in ("generate", "continue", "accompany", "infill", "vary", "embed"):
        with pytest.raises(SystemExit):
            commands.main([command, "--help"])
        shown += capsys.readouterr().out
    for name in get_type_hints(Fields):
        assert re.search(rf"^  --{name.replace('_', '-')}\b,?( \S+)*?\s+[a-z0-9]", shown, re.MULTILINE), name


@pytest.mark.parametrize(
    ("flags", "reason"),
    [
        ("--temperature hot", "'hot' should be like 0.9 or onset=0.9,note=1.1"),
        ("--temperature note=hot", "'note=hot' should be like 0.9 or onset=0.9,note=1.1"),
        ("--pitch-range 48", "'48' should be like 48-72 or 'Acoustic Bass=28-55,strings=55-96'"),
        ("--chords [1", "'[1' should be like 'Am | F | C G | E7' or "),
        ("--locked 1,x", "'1,x' should be like 0,1,5 or "),
        ("--on-degenerate cry", "invalid choice: 'cry' (choose from "),
    ],
)
def test_an_unreadable_flag_shows_an_example(flags: str, reason: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        commands.main(["infill" if "locked" in flags else "generate", *flags.split()])
    assert caught.value.code == 2
    assert f"error: argument {flags.split()[0]}: {reason}" in capsys.readouterr().err


def test_health_says_ok_or_fails(scripted: Scripted, capsys: pytest.CaptureFixture[str]) -> None:
    scripted.script = [Answer("ok"), Answer("not ready", 503)]
    call = ["health", "--base-url", scripted.url]
    assert in_process(capsys, *call) == (0, f"{scripted.url}: ok\n", "")
    assert in_process(capsys, *call) == (1, "", f"error: {scripted.url} is not ready\n")


def test_an_error_is_one_line(scripted: Scripted, tmp_path: Path) -> None:
    scripted.script = [Answer({"detail": "no such size"}, 422)]
    run = run_client("generate", "--base-url", scripted.url, cwd=tmp_path)
    assert (run.returncode, run.stdout, run.stderr) == (1, "", "error: no such size (HTTP 422)\n")
    assert not list(tmp_path.iterdir())


def test_a_file_that_cannot_be_read_is_one_line(scripted: Scripted, capsys: pytest.CaptureFixture[str]) -> None:
    call = ["embed", "/nowhere/in.mid", "--base-url", scripted.url]
    expected = (1, "", "error: /nowhere/in.mid: No such file or directory\n")
    assert in_process(capsys, *call) == expected
    assert not scripted.received


def test_a_missing_output_folder_is_an_error_before_any_request(
    scripted: Scripted, capsys: pytest.CaptureFixture[str]
) -> None:
    call = ["generate", "--base-url", scripted.url, "--out", "/nowhere/out.mid"]
    assert in_process(capsys, *call) == (1, "", "error: /nowhere: No such file or directory\n")
    assert not scripted.received


def test_nan_is_an_error_of_one_line(scripted: Scripted, capsys: pytest.CaptureFixture[str]) -> None:
    status, _, stderr = in_process(capsys, "generate", "--base-url", scripted.url, "--top-p", "nan")
    assert status == 1
    assert re.fullmatch(r"error: .*\n", stderr)


@pytest.mark.parametrize(
    "call",
    [
        *([], ["sing"], ["embed"], ["health", "--base-url", "here"], ["generate", "x.mid"], ["infill", "x.mid"]),
        *(["continue"], ["continue", "x.mid", "--notes", "x.json"]),
        ["generate", "--length-bars", "1", "--length-seconds", "1"],
    ],
)
def test_a_wrong_call_is_a_usage_error(call: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        commands.main(call)
    assert caught.value.code == 2
    assert capsys.readouterr().err.startswith("usage: ")
