"""Ask the service from the command line: `python client.py --help`."""

import argparse
import base64
import errno
import itertools
import json
import os
import sys
import threading
import time
import webbrowser
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final, Literal, Self, TypeVar, get_args, get_type_hints
from urllib.parse import urlencode

import httpx

from client import (
    DEFAULT_URL,
    AnticipatoryClient,
    AnticipatoryError,
    BySlot,
    Chords,
    EmbedOptions,
    Fields,
    Include,
    Locked,
    MusicOptions,
    Names,
    PitchRanges,
    RenderFormat,
    Result,
    Task,
    address,
)

BAR_WIDTH: Final = 24

MAX_LINKED_BYTES: Final = 90_000
"""Linux lets nobody hand more than 128 KiB in base64 to a browser that is started."""

MIDI_SUFFIXES: Final = ("", ".mid", ".midi")
RENDERED_SUFFIXES: Final = tuple(f".{format}" for format in get_args(RenderFormat))

SLOTS_EXAMPLE: Final = "0.9 or onset=0.9,note=1.1"
PITCHES_EXAMPLE: Final = "48-72 or 'Acoustic Bass=28-55,strings=55-96'"
CHORDS_EXAMPLE: Final = """'Am | F | C G | E7' or '[{"symbol": "Am7", "start_bar": 1}]'"""
LOCKED_EXAMPLE: Final = """0,1,5 or '{"instruments": ["drums"], "pitch_range": [0, 47]}'"""
MUSIC_HELP: Final = f"""\
--top-p, --temperature, --top-k and --min-p are for each choice that makes a note, or for its onset, duration and note
alone: {SLOTS_EXAMPLE}. --pitch-range is for all instruments but drums, or for single ones: {PITCHES_EXAMPLE}.
"""

T = TypeVar("T")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line. Return the exit status: 1 for an error, 130 after Ctrl-C. A wrong call exits with 2."""
    try:
        _run(**vars(_parser().parse_args(arguments)))
    except OSError as error:
        message = f"{error.filename}: {error.strerror}" if error.filename else str(error)
    except (AnticipatoryError, ValueError) as error:  # ValueError: what JSON cannot hold
        message = str(error)
    except KeyboardInterrupt:
        return 130
    else:
        return 0
    sys.stderr.write(f"error: {message}\n")
    return 1


def _parser() -> argparse.ArgumentParser:
    """Return the parser. Flags that are absent are not passed on, so that client and service apply their defaults."""
    service = argparse.ArgumentParser(add_help=False, argument_default=argparse.SUPPRESS)
    url = os.environ.get("ANTICIPATORY_URL") or DEFAULT_URL
    url_help = f"where the service is (default: ANTICIPATORY_URL, or {DEFAULT_URL})"
    service.add_argument("--base-url", type=address, default=url, metavar="URL", help=url_help)
    service.add_argument("--api-key", metavar="KEY", help="if the service asks for one (default: LIT_SERVER_API_KEY)")

    parser = argparse.ArgumentParser(prog="client.py", description="Ask the service for music.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    add = partial(commands.add_parser, parents=[service], argument_default=argparse.SUPPRESS)

    each = add("generate", help="make music from nothing", usage="client.py generate [options]")
    _add_one_of(each, "length_seconds", "length_bars")
    _add_music(each)
    each = add("continue", help="go on from a MIDI file", usage="client.py continue in.mid [options]")
    _add_input(each)
    _add_one_of(each, "prime_seconds", "prime_bars")
    _add_one_of(each, "length_seconds", "length_bars")
    _add_music(each, "prime_from", "sustain", "avoid_copy")
    each = add("accompany", help="add parts to a MIDI file", usage="client.py accompany in.mid [options]")
    _add_input(each)
    _add_one_of(each, "prime_seconds", "prime_bars")
    _add_one_of(each, "length_seconds", "length_bars")
    _add_music(each, "melody_instruments", "melody_tracks", "sustain", "avoid_copy")
    usage = "client.py infill in.mid --start-seconds X --end-seconds X [options]"
    each = add("infill", help="replace a span of a MIDI file", usage=usage)
    _add_input(each)
    _add_one_of(each, "start_seconds", "start_bar", required=True)
    _add_one_of(each, "end_seconds", "end_bar", required=True)
    _add_music(each, "locked", "sustain", "avoid_copy")
    each = add("vary", help="write part of the notes of a MIDI file again", usage="client.py vary in.mid [options]")
    _add_input(each)
    add_fields(each, "similarity")
    _add_one_of(each, "start_seconds", "start_bar")
    _add_one_of(each, "end_seconds", "end_bar")
    _add_music(each, "sustain", "avoid_copy")
    each = add("embed", help="describe MIDI files by vectors", usage="client.py embed in.mid [in.mid ...] [options]")
    each.add_argument("midis", type=Path, nargs="+", metavar="in.mid")
    add_fields(each, "embed_layer", *(EmbedOptions.__annotations__.keys() - {"bpm", "time_unit"}))
    out_help = "the file to write, a line of JSON for each input (default: to stdout)"
    each.add_argument("--out", type=Path, metavar="FILE", help=out_help)
    each = add("play", help="open the page in a browser with a MIDI file", usage="client.py play in.mid [options]")
    each.add_argument("midi", type=Path, metavar="in.mid")
    add("health", help="ask whether the service is ready")
    return parser


def _add_music(parser: argparse.ArgumentParser, *names: str) -> None:
    """Add flags for these fields, for those of all music, and for the file to write."""
    add_fields(parser, *names, *MusicOptions.__annotations__)
    parser.epilog = MUSIC_HELP
    out_help = (
        "the file to write: MIDI (default: out.mid), or as its name ends what the service renders it to: "
        f"{', '.join(RENDERED_SUFFIXES)}; of several, out-1.mid and so on"
    )
    parser.add_argument("--out", type=Path, default=Path("out.mid"), metavar="FILE", help=out_help)


def _add_input(parser: argparse.ArgumentParser) -> None:
    """Add the file that is read, of which there is one."""
    group = parser.add_mutually_exclusive_group(required=True)
    group.add_argument("midi", type=Path, nargs="?", default=None, metavar="in.mid")
    notes_help = "notes as JSON instead: a list, or a variation of an answer that has them"
    group.add_argument("--notes", type=Path, metavar="FILE.json", help=notes_help)


def _add_one_of(parser: argparse.ArgumentParser, *names: str, required: bool = False) -> None:
    """Add flags for these fields, of which there may be one."""
    add_fields(parser.add_mutually_exclusive_group(required=required), *names)


def add_fields(parser: argparse._ActionsContainer, *names: str) -> None:
    """Add flags for these fields of requests, with the texts that describe them in client.py."""
    kinds = get_type_hints(Fields, include_extras=True)
    for name in names:
        kind, text = get_args(kinds[name])
        flag = f"--{name.replace('_', '-')}"
        if kind in _READERS:
            parser.add_argument(flag, help=text, **_READERS[kind])
        else:
            choices = next(get_args(each) for each in get_args(kind) if each is not type(None))
            parser.add_argument(flag, help=text, choices=choices)


def _by_name(read: Callable[[str], T], example: str) -> Callable[[str], T | dict[str, T]]:
    """Return a reader of one value, or of several by name as in `onset=0.9,note=1.1`."""

    def read_all(text: str) -> T | dict[str, T]:
        try:
            if "=" not in text:
                return read(text)
            parts = [part.rpartition("=") for part in text.split(",")]
            return {name.strip(): read(value) for name, _, value in parts}
        except ValueError as error:
            raise argparse.ArgumentTypeError(f"{text!r} should be like {example}") from error

    return read_all


def _number(text: str) -> float:
    return int(text) if text.isdecimal() else float(text)


def _number_or_name(text: str) -> int | str:
    return int(text) if text.isdecimal() else text


def _chords(text: str) -> Chords:
    try:
        chords: Chords = json.loads(text) if text.lstrip().startswith("[") else text
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} should be like {CHORDS_EXAMPLE}") from error
    return chords


def _locked(text: str) -> Locked:
    try:
        locked: Locked = json.loads(text) if text.lstrip().startswith("{") else list(map(int, text.split(",")))
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} should be like {LOCKED_EXAMPLE}") from error
    return locked


def _variety(text: str) -> float | str:
    return text if text.isalpha() else float(text)


def _pitches(text: str) -> list[int]:
    lowest, highest = text.split("-")
    return [int(lowest), int(highest)]


_READERS: Final[dict[Any, dict[str, Any]]] = {
    float | None: {"type": float, "metavar": "X"},
    int | None: {"type": int, "metavar": "N"},
    str | None: {"metavar": "NAME"},
    bool | None: {"action": argparse.BooleanOptionalAction},
    int | Literal["auto"] | None: {"type": _number_or_name, "metavar": "N"},
    BySlot | None: {"type": _by_name(_number, SLOTS_EXAMPLE), "metavar": "X"},
    Chords | None: {"type": _chords, "metavar": "CHORDS"},
    Locked | None: {"type": _locked, "metavar": "NOTES"},
    float | Literal["auto", "off"] | None: {"type": _variety, "metavar": "X"},
    Include | None: {"nargs": "+", "choices": ("midi", "notes")},
    Names | None: {"type": _number_or_name, "nargs": "+", "metavar": "NAME"},
    PitchRanges | None: {"type": _by_name(_pitches, PITCHES_EXAMPLE), "metavar": "N-N"},
}
"""How to read a field from the command line, by its type."""


_TASKS: Final[dict[str, Task]] = {"vary": "variation"}
"""The tasks of commands that are called otherwise."""


def _run(command: Any, base_url: httpx.URL, api_key: str | None = None, out: Path | None = None, **fields: Any) -> None:
    """Send the request, write the answer to `out`, and sum it up in one line."""
    if out and not out.parent.is_dir():  # else it would be noticed only after minutes of work
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(out.parent))
    with AnticipatoryClient(base_url, api_key=api_key) as client:
        if command == "embed":
            _embed(client, out, **fields)
        elif command == "play":
            _play(client, **fields)
        elif out:
            _make(client, _TASKS.get(command, command), out, **fields)
        elif client.health():
            sys.stdout.write(f"{client.base_url}: ok\n")
        else:
            raise AnticipatoryError(f"{client.base_url} is not ready")


def _make(client: AnticipatoryClient, task: Task, out: Path, notes: Path | None = None, **fields: Any) -> None:
    """Ask for music, and write it. Show its progress meanwhile."""
    is_rendered = out.suffix.lower() not in MIDI_SUFFIXES
    if is_rendered and out.suffix.lower() not in RENDERED_SUFFIXES:  # else it would be noticed after minutes of work
        raise ValueError(f"{out} must end in one of {', '.join((*MIDI_SUFFIXES[1:], *RENDERED_SUFFIXES))}")
    if notes:
        fields = {"include": ["midi"], **fields, "midi": _read_notes(notes)}
    if is_rendered and "include" in fields:
        fields["include"] = sorted({"midi", *fields["include"]})
    counts = Counter[int]()
    with _StatusLine(task) as status:
        for name, data in client.stream(task, **fields):
            if name == "note":
                counts[data["variation"]] += 1
            elif name == "discard":
                del counts[data["variation"]]
            elif name == "progress":
                done, total = data["seconds"], data["total_seconds"]
                counted = _count(counts.total(), "note")
                status.show(done / total, f"{done:.1f} of {total:.1f} s of music, {counted}")
    variations = data["variations"]
    written: list[Path] = []
    for number, variation in enumerate(variations, 1):
        path = out.with_stem(f"{out.stem}-{number}") if len(variations) > 1 else out
        written += _write(client, path, variation, is_rendered=is_rendered)
    paths, counted = ", ".join(map(str, written)), ", ".join(map(_notes, variations))
    sys.stdout.write(f"{paths}: {counted}, {variations[0]['duration_seconds']:.1f} s, {status.summary(data)}\n")


def _read_notes(path: Path) -> Any:
    """Return the notes that a file of JSON holds: a list, or an object that has one."""
    try:
        held = json.loads(path.read_text())
    except ValueError as error:
        raise ValueError(f"{path} is no JSON: {error}") from error
    notes = held.get("notes") if isinstance(held, dict) else held
    if not isinstance(notes, list):
        raise ValueError(f"{path} holds no list of notes")
    return notes


def _write(client: AnticipatoryClient, path: Path, variation: Result, *, is_rendered: bool) -> list[Path]:
    """Write what a variation holds, its notes as JSON beside the MIDI file; return the files."""
    written = []
    if "midi_bytes" in variation:
        if is_rendered:
            _render(client, path, variation["midi_bytes"])
        else:
            path.write_bytes(variation["midi_bytes"])
        written.append(path)
    if "notes" in variation:
        written.append(path.with_suffix(".json"))
        written[-1].write_text(json.dumps(variation["notes"]))
    return written


def _render(client: AnticipatoryClient, path: Path, midi: bytes) -> None:
    """Write music as the file's name ends; if that is impossible, as MIDI beside it, so that it is not lost."""
    try:
        client.render(midi, path)
    except AnticipatoryError as error:
        path.with_suffix(".mid").write_bytes(midi)
        raise AnticipatoryError(f"{error}; the music is in {path.with_suffix('.mid')}") from error


def _notes(variation: Result) -> str:
    """Say how many notes a variation has, how often it was drawn, and what is wrong with it nevertheless."""
    draws, flaw = variation.get("draws", 1), variation.get("flaw")
    again = f"drawn {draws} times" if draws > 1 else ""
    remark = f"{flaw}, though {again}" if flaw and again else flaw or again
    return _count(variation["num_events"], "note") + (f" ({remark})" if remark else "")


def _embed(client: AnticipatoryClient, out: Path | None, midis: Sequence[Path], **fields: Any) -> None:
    """Ask for vectors, and write a line of JSON for each file, also for those that were done before an error."""
    results: list[Result] = []
    try:
        with _StatusLine("embed") as status:
            for path, result in zip(midis, client.embed_many(midis, **fields), strict=True):
                results.append({"file": str(path), **result})
                status.show(len(results) / len(midis), f"{len(results)} of {_count(len(midis), 'file')}")
    finally:
        lines = "".join(json.dumps(result) + "\n" for result in results)
        if not out:
            sys.stdout.write(lines)
        elif results:
            out.write_text(lines)
    vectors = sum(len(each.get("windows") or each.get("token_embeddings") or [1]) for each in results)
    numbers = f"{results[0]['embedding_dim']} numbers"
    numbers = numbers if vectors == 1 else f"{vectors} vectors of {numbers}"
    used, tokens = (sum(each[name] for each in results) for name in ("num_tokens", "original_tokens"))
    summary = f"{out or 'stdout'}: {numbers} from {used} of {tokens} tokens, {status.summary(results[0])}\n"
    (sys.stdout if out else sys.stderr).write(summary)


def _play(client: AnticipatoryClient, midi: Path) -> None:
    """Open the page with a file, which goes with the address."""
    data = midi.read_bytes()
    if len(data) > MAX_LINKED_BYTES:
        raise ValueError(f"{midi} has {len(data)} bytes, and an address holds {MAX_LINKED_BYTES}: open it in the page")
    if not client.health():
        raise AnticipatoryError(f"{client.base_url} is not ready")
    encoded = base64.urlsafe_b64encode(data).decode().rstrip("=")
    if not webbrowser.open(f"{client.base_url}/#{urlencode({'name': midi.name, 'midi': encoded})}"):
        raise AnticipatoryError(f"there is no browser here: open {client.base_url} in one, and {midi} there")
    sys.stdout.write(f"{midi}: opened at {client.base_url}\n")


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'s' * (number != 1)}"


class _StatusLine:
    """Show on a terminal, while the block runs, how long it has been running and how far it has come."""

    def __init__(self, label: str) -> None:
        self._label = label
        self._bar = ""
        self._started = time.monotonic()
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._turn, daemon=True)

    def show(self, share: float, text: str) -> None:
        """Show a bar of which this share is done, and a text."""
        bar = "#" * round(BAR_WIDTH * min(1.0, share))
        self._bar = f" [{bar:<{BAR_WIDTH}}] {text}"

    def summary(self, result: Result) -> str:
        """Say on what it ran, and for how long."""
        metadata = result["metadata"]
        seconds = time.monotonic() - self._started
        return f"{metadata['model_size']} on {metadata.get('device', 'unknown device')}, {seconds:.1f} s"

    def _turn(self) -> None:
        for frame in itertools.cycle("|/-\\"):
            text = f"{frame} {self._label} {time.monotonic() - self._started:.0f} s{self._bar}"
            columns = os.get_terminal_size(sys.stderr.fileno()).columns or 80
            sys.stderr.write(f"\r{text[: columns - 1]}\x1b[K")  # and wipe what is left of a longer line
            sys.stderr.flush()
            if self._done.wait(0.1):
                break
        sys.stderr.write("\r\x1b[K")

    def __enter__(self) -> Self:
        if sys.stderr.isatty():
            self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._done.set()
        if self._thread.is_alive():
            self._thread.join()


if __name__ == "__main__":
    sys.exit(main())
