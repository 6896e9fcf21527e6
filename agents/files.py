"""Keep results in one folder, and read MIDI files from there and from other folders that are allowed, never outside.

A result's handle is its name without the ending: `vary-2` is `vary-2.mid` in the folder of results.
"""

import errno
import os
import re
import stat
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final

from agents.errors import FileRefused

MIDI_SUFFIXES: Final = (".mid", ".midi", ".kar", ".rmi")

MAX_MIDI_BYTES: Final = 4 * 2**20
"""In base64 this stays below the largest request of a service."""

MAX_READ_BYTES: Final = 4 * 2**20
"""How much of a result goes to a client through the protocol; more is read from the disk."""

MAX_NAME_LENGTH: Final = 80
"""Characters of a name that are shown in an error."""

MIME_TYPES: Final = {
    ".mid": "audio/midi",
    ".mp3": "audio/mpeg",
    ".wav": "audio/wav",
    ".flac": "audio/flac",
    ".ogg": "audio/ogg",
    ".svg": "image/svg+xml",
}


class Files:
    """Read and write files within bounds."""

    def __init__(self, folder: Path, roots: Sequence[Path] = ()) -> None:
        """Make the folder of results, if it is not there yet.

        Args:
            folder: where results go.
            roots: other folders from which MIDI files may be read.

        Raises:
            FileRefused: one of them is no folder.
        """
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise FileRefused(f"results cannot be kept in {folder}: {error.strerror}") from error
        self.folder = folder.resolve()
        for root in roots:
            if not root.is_dir():
                raise FileRefused(f"{root} is no folder: a folder with MIDI files is wanted")
        self.roots = [self.folder, *(root.resolve() for root in roots)]

    def create(self, stem: str, suffix: str, data: bytes) -> Path:
        """Write a new file and return its path; its name is the stem and, unless that is free, a number.

        Raises:
            FileRefused: it cannot be written; nothing is left of it.
        """
        for path in self._free_names(stem, suffix):
            try:
                descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
            except FileExistsError:  # somebody else took it meanwhile
                continue
            except OSError as error:
                raise FileRefused(f"{path} cannot be written: {error.strerror}") from error
            try:
                with os.fdopen(descriptor, "wb") as file:
                    file.write(data)
            except OSError as error:
                path.unlink(missing_ok=True)
                raise FileRefused(f"{path} cannot be written: {error.strerror}") from error
            return path
        raise AssertionError("there is always a free name")

    def _free_names(self, stem: str, suffix: str) -> Iterator[Path]:
        """Yield names that nobody has: results are counted through, whatever made them."""
        if suffix != ".mid":
            yield self.folder / f"{stem}{suffix}"
            stem_pattern = re.escape(stem)
        else:
            stem_pattern = r"[a-z]+"
        taken = [re.fullmatch(rf"{stem_pattern}-(\d+)\.\w+", path.name) for path in self.folder.iterdir()]
        number = max((int(found[1]) for found in taken if found), default=0)
        while True:
            number += 1
            yield self.folder / f"{stem}-{number}{suffix}"

    def read_midi(self, name: str) -> tuple[str, bytes]:
        """Return the handle of a MIDI file, or its name, and its bytes.

        Args:
            name: a handle, or a path: absolute, or from one of the allowed folders.

        Raises:
            FileRefused: there is no such file, or it is outside the folders, no MIDI file by its name, or too large.
        """
        path = self.find(name)
        if path.suffix.lower() not in MIDI_SUFFIXES:
            raise FileRefused(f"{_short(name)} is no MIDI file: its name must end in one of {', '.join(MIDI_SUFFIXES)}")
        return path.stem if path.parent == self.folder else path.name, read_bytes(path, MAX_MIDI_BYTES)

    def find(self, name: str) -> Path:
        """Return where a handle or a path leads, symbolic links followed, if that is within the folders."""
        if not name or "\0" in name:
            raise FileRefused("midi must be the handle of an earlier result, such as compose-1, or the path of a file")
        places = [root / f"{name}{ending}" for root in self.roots for ending in ("", ".mid")]
        allowed = [real for real in map(_real_path, places) if real and self._is_within(real)]
        found = next((path for path in allowed if _holds(path.is_file)), None)
        if found is None:  # what is outside is not told of, not even whether it is there
            roots = ", ".join(map(str, self.roots))
            raise FileRefused(
                f"{_short(name)} is no file within the folders that may be read: {roots}. midi is the handle of an "
                "earlier result (describe without midi lists them), or the path of a file there"
            )
        return found

    def find_folder(self, name: str | None) -> Path:
        """Return a folder within the allowed ones; by default that of the results."""
        if name is None:
            return self.folder
        places = [_real_path(root / name) for root in self.roots if "\0" not in name]
        allowed = [real for real in places if real and self._is_within(real)]
        found = next((path for path in allowed if _holds(path.is_dir)), None)
        if found is None:
            roots = ", ".join(map(str, self.roots))
            raise FileRefused(f"{_short(name)} is no folder within those that may be read: {roots}")
        return found

    def midi_files(self, folder: Path) -> Iterator[Path]:
        """Yield the MIDI files of a folder and of those in it, but none to which a link leads from outside."""
        for path in sorted(folder.rglob("*")):
            real = _real_path(path) if path.suffix.lower() in MIDI_SUFFIXES else None
            if real and self._is_within(real) and real.is_file():
                yield path

    def results(self) -> list[Path]:
        """Return the files of the folder of results that this server may have written, the newest first."""
        found = [path for path in self.folder.iterdir() if path.suffix in MIME_TYPES and not path.is_symlink()]
        return sorted(filter(Path.is_file, found), key=lambda path: (path.stat().st_mtime_ns, path.name), reverse=True)

    def read_result(self, name: str) -> bytes:
        """Return what a file of the folder of results holds."""
        path = self.folder / name
        if Path(name).name != name or path.suffix not in MIME_TYPES or path.is_symlink() or not path.is_file():
            raise FileRefused(f"there is no result {_short(name)}")
        return read_bytes(path, MAX_READ_BYTES)

    def _is_within(self, path: Path) -> bool:
        return any(path.is_relative_to(root) for root in self.roots)


def read_bytes(path: Path, most: int) -> bytes:
    """Return what a file holds. Raise FileRefused if that is too much, or if it is a device or the like."""
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
    try:
        descriptor = os.open(path, flags)  # a pipe would else be waited for
        with os.fdopen(descriptor, "rb") as file:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise FileRefused(f"{path.name} is no file")
            if status.st_size > most:
                raise FileRefused(f"{path.name} has {status.st_size} bytes, and at most {most} are read")
            return file.read(most)
    except OSError as error:
        reason = "it is a symbolic link" if error.errno == errno.ELOOP else error.strerror
        raise FileRefused(f"{path.name} cannot be read: {reason}") from error


def _real_path(path: Path) -> Path | None:
    """Return a path without symbolic links and dots; None if links lead in a circle, or if it is too long."""
    try:
        return Path(os.path.realpath(path, strict=False))
    except (OSError, ValueError):
        return None


def _holds(check: Callable[[], bool]) -> bool:
    """Return what a check of a path says; False if the path is too long to be one."""
    try:
        return check()
    except OSError:
        return False


def _short(name: str) -> str:
    return repr(name if len(name) <= MAX_NAME_LENGTH else f"{name[:MAX_NAME_LENGTH]}...")
