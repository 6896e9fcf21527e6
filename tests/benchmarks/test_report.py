import json
import os
import re
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from amt.tokens import events as ev
from benchmarks import report, sections
from benchmarks.held_out import held_out_folder
from tests.conftest import GOLDEN, PROJECT
from training.corpus import Piece


def files_below(folder: Path | None) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*.mid")} if folder else set()


def test_quick_never_overwrites_the_page_or_the_results(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    for arguments in ([], ["--out", str(tmp_path / "page.md")], ["--results", str(tmp_path)]):
        with pytest.raises(SystemExit):
            report.parse_arguments(["--quick", *arguments])
        assert "give --out and --results" in capsys.readouterr().err


def test_held_out_pieces_are_found_in_a_folder_and_in_an_archive(tmp_path: Path) -> None:
    corpus = tmp_path / "corpus"
    data = (GOLDEN / "midi/chorale_001.mid").read_bytes()
    for index in range(60):
        path = corpus / f"collection{index % 2}" / f"{index}.mid"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    with tarfile.open(tmp_path / "corpus.tar.xz", "w:xz") as archive:
        archive.add(corpus, arcname=".")
    paths = [path.relative_to(corpus) for path in corpus.rglob("*.mid")]
    expected = {str(path) for path in paths if Piece(str(path.parent), path.name, ev.empty()).held_out}
    assert 0 < len(expected) < 60
    for source in (corpus, tmp_path / "corpus.tar.xz"):
        with held_out_folder(source) as folder:
            assert files_below(folder) == expected


def test_a_missing_corpus_has_no_held_out_pieces(tmp_path: Path) -> None:
    with held_out_folder(tmp_path / "corpus.tar.xz") as folder:
        assert folder is None


def test_a_section_is_read_as_it_was_written() -> None:
    parts = {"service": "## Waiting\n\nfor it", "memory": "## Memory\n\n## And more"}
    assert sections.read(sections.join("# Title\n\nwords", parts)) == parts


def quick_report(folder: Path, *flags: str) -> str:
    """The page that a quick run writes."""
    page = folder / "docs/performance.md"
    command = [sys.executable, "-m", "benchmarks.report", "--quick", "--device", "cpu", "--corpus", folder / "no"]
    # One thread: on a busy computer two would wait for each other.
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    command += ["--out", page, "--results", folder / "results", *flags]
    subprocess.run(command, cwd=PROJECT, env=environment, check=True)
    return page.read_text()


@pytest.mark.slow
def test_the_report_runs_all_benchmarks_and_writes_one_page(tmp_path: Path) -> None:
    text = quick_report(tmp_path)
    names = ["service", "throughput", "overhead", "decode", "length", "precision", "control", "steering", "harmony"]
    names += ["variations", "embeds", "faults", "soak"]
    assert [name for name in names if f"`benchmarks.{name}" not in text] == ["precision", "harmony", "variations"]
    assert "| answered wrongly | 0 |" in text
    assert len(re.findall(r"UTC, commit [0-9a-f]{7,}|UTC, commit unknown", text)) == len(sections.read(text))
    assert not re.search(r"\bnan\b|\binf\b", text)
    for line in re.findall(r"^\|.*$", text, re.MULTILINE):
        assert line.endswith(" |"), line
    results = tmp_path / "results"
    assert json.loads((results / "decode.json").read_text())["ours"]
    assert json.loads((results / "length.json").read_text())["ms_per_event"]["tiny"]
    for picture in re.findall(r"!\[.*\]\((.*)\)", text):
        assert (tmp_path / "docs" / picture).is_file()

    before = sections.read(text)
    after = sections.read(quick_report(tmp_path, "--only", "memory"))
    assert list(after) == list(before)
    assert [name for name in before if after[name] != before[name]] in ([], ["memory"])  # its line has the minute
