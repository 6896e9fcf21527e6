import os
from pathlib import Path

import fsspec
import pytest

from bulk.errors import BulkError
from bulk.files import FileTooLargeError, find_files

NAMES = [b"a/b c/1.mid", b"a/song [1]::x.mid", b"a/\xff\xfe.mid", b"z.mid"]


@pytest.fixture
def folder(tmp_path: Path) -> str:
    """A folder with files whose names are unusual."""
    for name in NAMES:
        path = tmp_path / os.fsdecode(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name)
    return str(tmp_path)


@pytest.mark.parametrize("scheme", ["", "file://"])
def test_names_of_any_bytes_are_found_and_read(folder: str, scheme: str) -> None:
    source = find_files([f"{scheme}{folder}/**/*.mid"])
    assert [os.fsencode(name) for name in source.names] == NAMES
    assert [source.read(name, 100) for name in source.names] == NAMES


def test_a_path_of_a_file_is_not_a_pattern(folder: str) -> None:
    source = find_files([f"{folder}/a/song [1]::x.mid"])
    assert (source.root, source.names) == (f"{folder}/a", ["song [1]::x.mid"])


def test_the_root_is_where_all_patterns_begin_and_a_file_is_there_once(folder: str) -> None:
    source = find_files([f"{folder}/a/*.mid", f"{folder}/*.mid", f"{folder}/**/*.mid"])
    assert source.root == folder
    assert [os.fsencode(name) for name in source.names] == NAMES


def test_what_is_written_among_the_files_is_none_of_them(folder: str) -> None:
    source = find_files([f"{folder}/**/*.mid"])
    assert source.without(source.fs, f"{folder}/a").names == ["z.mid"]
    assert source.without(source.fs, f"{folder}/z").names == source.names
    assert source.without(fsspec.filesystem("memory"), f"{folder}/a").names == source.names


def test_another_file_system_is_reached_by_its_url() -> None:
    fs = fsspec.filesystem("memory")
    fs.pipe_file("/bulk/in/a.mid", b"a")
    source = find_files(["memory://bulk/in/*.mid"])
    assert source.read(source.names[0], 100) == b"a"


def test_a_file_that_is_too_large_is_not_read(folder: str) -> None:
    with pytest.raises(FileTooLargeError, match="the file has 5 bytes: at most 4 are read"):
        find_files([f"{folder}/z.mid"]).read("z.mid", 4)


@pytest.mark.parametrize(
    ("patterns", "message"),
    [
        (["{}/*.nothing"], "no file matches"),
        (["nowhere://x/*.mid"], "nowhere://x/.* cannot be reached: Protocol not known"),
        (["{}/*.mid", "memory://bulk/two/*.mid"], "one file system"),
    ],
)
def test_what_cannot_be_found_says_why(folder: str, patterns: list[str], message: str) -> None:
    fsspec.filesystem("memory").pipe_file("/bulk/two/a.mid", b"a")
    with pytest.raises(BulkError, match=message):
        find_files([pattern.format(folder) for pattern in patterns])
