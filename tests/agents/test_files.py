import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from agents.errors import FileRefused
from agents.files import MAX_MIDI_BYTES, Files
from tests.agents.conftest import MIDI


@pytest.fixture
def files(tmp_path: Path) -> Files:
    """A folder of results, and another that may be read."""
    root = tmp_path / "songs"
    root.mkdir()
    (root / "song.mid").write_bytes((MIDI / "scale_type0.mid").read_bytes())
    return Files(tmp_path / "results", [root])


def test_results_are_counted_through_and_never_written_over(files: Files) -> None:
    with ThreadPoolExecutor(8) as pool:
        paths = list(pool.map(lambda number: files.create("vary", ".mid", bytes([number])), range(40)))
    assert len(set(paths)) == 40
    assert [path.read_bytes() for path in paths] == [bytes([number]) for number in range(40)]
    assert {path.name for path in paths} == {f"vary-{number}.mid" for number in range(1, 41)}
    assert files.create("compose", ".mid", b"").name == "compose-41.mid"


def test_a_rendering_has_the_name_of_its_piece_or_a_number_more(files: Files) -> None:
    names = [files.create("vary-2", ".mp3", b"").name for _ in range(3)]
    assert names == ["vary-2.mp3", "vary-2-1.mp3", "vary-2-2.mp3"]


def test_a_piece_is_found_by_its_handle_and_by_its_path(files: Files, tmp_path: Path) -> None:
    made = files.create("compose", ".mid", b"MThd")
    assert files.read_midi("compose-1") == files.read_midi("compose-1.mid") == files.read_midi(str(made))
    assert files.read_midi("song")[0] == files.read_midi(str(tmp_path / "songs" / "song.mid"))[0] == "song.mid"


@pytest.mark.parametrize(
    "name",
    ["../secret.mid", "songs/../../secret.mid", "{outside}", "link", "link.mid", "folder/secret.mid", "/dev/null"],
)
def test_nothing_outside_is_read(name: str, files: Files, tmp_path: Path) -> None:
    outside = tmp_path / "secret.mid"
    outside.write_bytes(b"MThd")
    (files.folder / "link.mid").symlink_to(outside)
    (files.folder / "folder").symlink_to(tmp_path)
    with pytest.raises(FileRefused, match="is no file within the folders that may be read") as refusal:
        files.read_midi(name.format(outside=outside))
    assert "MThd" not in str(refusal.value)


def test_whether_a_file_is_there_is_not_told_of_what_is_outside(files: Files, tmp_path: Path) -> None:
    (tmp_path / "there.mid").write_bytes(b"MThd")
    told = []
    for name in ("there.mid", "not-there.mid"):
        with pytest.raises(FileRefused) as refusal:
            files.read_midi(str(tmp_path / name))
        told.append(str(refusal.value).replace(name, ""))
    assert told[0] == told[1]


def test_a_link_within_the_folders_is_followed(files: Files, tmp_path: Path) -> None:
    (files.folder / "short.mid").symlink_to(tmp_path / "songs" / "song.mid")
    assert files.read_midi("short")[1] == (MIDI / "scale_type0.mid").read_bytes()


def test_what_is_no_midi_file_is_refused(files: Files, tmp_path: Path) -> None:
    songs = tmp_path / "songs"
    (songs / "text.txt").write_text("hello")
    (songs / "large.mid").write_bytes(bytes(MAX_MIDI_BYTES + 1))
    os.mkfifo(songs / "pipe.mid")
    for name, problem in (
        ("text.txt", "must end in one of .mid"),
        ("large.mid", f"at most {MAX_MIDI_BYTES}"),
        ("pipe.mid", "is no file within"),
        ("", "handle of an earlier result"),
        ("a\0b", "handle of an earlier result"),
        ("x" * 5_000, "is no file within"),
    ):
        with pytest.raises(FileRefused, match=problem):
            files.read_midi(name)


def test_a_folder_leaves_out_what_leads_outside(files: Files, tmp_path: Path) -> None:
    songs = tmp_path / "songs"
    (tmp_path / "secret.mid").write_bytes(b"MThd")
    (songs / "secret.mid").symlink_to(tmp_path / "secret.mid")
    assert [path.name for path in files.midi_files(files.find_folder(str(songs)))] == ["song.mid"]
    for name in ("..", str(tmp_path), "/", "song.mid"):
        with pytest.raises(FileRefused, match="is no folder within"):
            files.find_folder(name)


@pytest.mark.parametrize("name", ["../songs/song.mid", "link.mid", ".hidden", "nothing.mid", "notes.txt"])
def test_only_results_are_handed_out(name: str, files: Files, tmp_path: Path) -> None:
    (files.folder / "link.mid").symlink_to(tmp_path / "songs" / "song.mid")
    (files.folder / "notes.txt").write_text("")
    with pytest.raises(FileRefused, match="there is no result"):
        files.read_result(name)
    assert files.results() == []


def test_a_folder_that_is_none_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(FileRefused, match="is no folder"):
        Files(tmp_path / "results", [tmp_path / "nothing"])
    with pytest.raises(FileRefused, match="cannot be kept"):
        Files(tmp_path / "file")
