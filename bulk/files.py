"""Find the files of a job: patterns -> names below a folder, on this machine or wherever fsspec reaches."""

import os
import posixpath
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final, NamedTuple

from fsspec.core import url_to_fs
from fsspec.implementations.local import LocalFileSystem

from bulk.errors import BulkError

MAGIC: Final = "*?["


class Source(NamedTuple):
    """Hold where files are.

    Attributes:
        fs: the file system.
        root: the folder below which they are.
        names: their paths from there, with `/`, in the order of their bytes. What is no UTF-8 is escaped by surrogates.
    """

    fs: Any
    root: str
    names: list[str]

    def without(self, fs: Any, folder: str) -> "Source":
        """Return the source without what is in a folder, which may be among its files."""
        if fs != self.fs:
            return self
        kept = [name for name in self.names if not f"{self.root}/{name}".startswith(f"{folder}/")]
        return self._replace(names=kept)

    def read(self, name: str, max_bytes: int) -> bytes:
        """Return the bytes of a file.

        Raises:
            OSError: it cannot be read.
            FileTooLargeError: it has more than `max_bytes`.
        """
        path = f"{self.root}/{name}"
        size = self.fs.size(path) or 0
        if size > max_bytes:
            raise FileTooLargeError(f"the file has {size:,} bytes: at most {max_bytes:,} are read")
        data: bytes = self.fs.cat_file(path)
        return data


class FileTooLargeError(ValueError):
    """Report that a file is larger than what is read."""


def open_location(url: str) -> tuple[Any, str]:
    """Return the file system of a path or URL, and the path there.

    Raises:
        BulkError: the file system is unknown, or what it needs is not installed.
    """
    if "://" not in url:  # any other colon is part of a name
        return LocalFileSystem(), os.path.abspath(url)  # noqa: PTH100 (a Path would lose a pattern's last slash)
    with reaching(url):
        fs, path = url_to_fs(url)
    return fs, path.rstrip("/")


@contextmanager
def reaching(url: str) -> Iterator[None]:
    """Turn whatever the library of a file system may raise into a BulkError."""
    try:
        yield
    except Exception as error:
        raise BulkError(f"{url} cannot be reached: {error}") from error


def find_files(patterns: Sequence[str]) -> Source:
    """Return the files that match any pattern, once each; a path of a file that exists is not a pattern.

    The root is the longest folder that all patterns begin with, up to their first wildcard: it does not depend on which
    files there are.

    Raises:
        BulkError: nothing matches a pattern, a file system does not answer, or they are of several, or several buckets.
    """
    found: set[str] = set()
    roots = []
    file_systems = []
    for pattern in patterns:
        fs, path = open_location(pattern)
        with reaching(pattern):
            is_file = fs.isfile(path)
            matches = {path: {"type": "file"}} if is_file else fs.glob(path, detail=True)
        # Not only regular files: whatever else is no folder fails when it is read, and is listed.
        paths = [each for each, info in matches.items() if info["type"] != "directory"]
        if not paths:
            raise BulkError(f"no file matches {pattern}")
        found.update(paths)
        roots.append(posixpath.dirname(path) if is_file else _fixed_part(path))
        file_systems.append(fs)
    if any(fs != file_systems[0] for fs in file_systems):
        raise BulkError("all files of a job must be on one file system")
    root = posixpath.commonpath(roots).rstrip("/")
    if not (root or roots[0].startswith("/")):
        raise BulkError("all files of a job must be in one bucket")
    return Source(file_systems[0], root, sorted((path[len(root) + 1 :] for path in found), key=os.fsencode))


def _fixed_part(pattern: str) -> str:
    """Return the folder that a pattern begins with, up to its first wildcard."""
    first = min((pattern.index(each) for each in MAGIC if each in pattern), default=len(pattern))
    return posixpath.dirname(pattern[:first])
