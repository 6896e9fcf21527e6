"""What is asked of fine-tuning before a model is loaded: the pieces, the length, the command's words."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from amt.errors import TrainingError
from amt.midi import codec
from amt.midi.notes import Note
from tests.conftest import GOLDEN
from training.batches import parts
from training.corpus import Piece
from training.finetune import finetune, parse_arguments
from training.library import count_windows, read_library, summarise
from training.recipe import LORA_RATE, Recipe
from training.run_file import RunFile, check_new, read_run
from training.schedule import Schedule, rate_share
from training.windows import Sampler, Window

PIECES = ("chorale_001", "chorale_010", "drums_and_bass", "easyrpg_castle1", "freedoom_e1m2", "sixteen_channels")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder tree of six pieces."""
    root = tmp_path / "mine"
    for index, name in enumerate(PIECES):
        path = root / f"album {index % 2}" / f"{name}.mid"
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(GOLDEN / f"midi/{name}.mid", path)
    return root


def scale(n_notes: int, pitch: int = 60) -> bytes:
    return codec.write_notes([Note(50 * index, 40, pitch + index % 12, 0) for index in range(n_notes)])


def test_what_cannot_be_used_is_listed_with_its_reason(folder: Path) -> None:
    (folder / "broken.mid").write_bytes(b"MThd and nothing more")
    (folder / "SHORT.MID").write_bytes(scale(9))
    (folder / "silent.mid").write_bytes(scale(0))
    shutil.copy(folder / "album 0/chorale_001.mid", folder / "once more.midi")
    (folder / "notes.txt").write_text("not MIDI, and not counted")
    library = read_library(folder)
    assert len(library.pieces) == len(PIECES)
    reasons = dict(library.unusable)
    assert reasons.keys() == {"broken.mid", "SHORT.MID", "silent.mid", "once more.midi"}
    assert reasons["SHORT.MID"] == "it has 9 notes: at least 24 are needed"
    assert reasons["silent.mid"] == "it has no notes"
    assert reasons["once more.midi"] == "it holds the same notes as album 0/chorale_001.mid"


def test_too_few_pieces_are_refused_with_all_reasons(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="there is no folder"):
        read_library(tmp_path / "nowhere")
    for index in range(4):
        (tmp_path / f"{index}.mid").write_bytes(scale(30, 40 + index))
    (tmp_path / "silent.mid").write_bytes(scale(0))
    with pytest.raises(
        TrainingError, match=r"4 pieces that can be used, of 5 MIDI files.*\n  silent.mid: it has no notes"
    ):
        read_library(tmp_path)


def test_a_tenth_is_held_out_even_of_files_of_one_name(tmp_path: Path) -> None:
    for index in range(20):
        path = tmp_path / f"{index:02d}/song.mid"
        path.parent.mkdir()
        path.write_bytes(scale(30 + index))
    library = read_library(tmp_path)
    trained, held_out = library.split()
    assert (len(trained), len(held_out)) == (18, 2)
    assert {id(piece) for piece in trained + held_out} == {id(piece) for piece in library.pieces}
    assert max(piece.rank for piece in held_out) <= min(piece.rank for piece in trained)


def test_pieces_that_the_bundled_model_never_saw_are_held_out_first() -> None:
    music = np.zeros((1, 3), dtype=np.int64)
    pieces = sorted((Piece("any", f"{index}.mid", music) for index in range(500)), key=lambda piece: piece.rank)
    is_unseen = [piece.held_out for piece in pieces]
    assert is_unseen == sorted(is_unseen, reverse=True)
    assert any(is_unseen)


def test_the_summary_counts_pieces_time_notes_and_instruments(folder: Path) -> None:
    pieces = read_library(folder).pieces
    found = summarise(pieces)
    assert (found.n_pieces, found.n_notes) == (6, sum(len(piece.events) for piece in pieces))
    assert sum(share for _, share in found.instruments) == pytest.approx(1)
    assert str(found).startswith("6 pieces, ")
    assert count_windows(pieces) == round(found.n_notes / 341)


def test_a_fingerprint_is_of_the_pieces_and_not_of_where_they_are(folder: Path, tmp_path: Path) -> None:
    before = read_library(folder).fingerprint
    folder = folder.rename(tmp_path / "moved")
    assert read_library(folder).fingerprint == before
    (folder / "more.mid").write_bytes(scale(40))
    assert read_library(folder).fingerprint != before


def test_the_windows_of_a_step_do_not_depend_on_those_before(folder: Path) -> None:
    def drawn(sampler: Sampler, step: int) -> list[Window]:
        sampler.reseed(7, step)
        return sampler.batch(3_000, 341)

    pieces = read_library(folder).pieces
    first, second = Sampler(pieces, 0, 0.5), Sampler(pieces, 1, 0.5)
    for step in range(3):
        earlier = drawn(first, step)
    later = drawn(second, 2)
    assert len(earlier) == len(later)
    for one, other in zip(earlier, later, strict=True):
        assert one.mode == other.mode
        np.testing.assert_array_equal(one.events, other.events)
        np.testing.assert_array_equal(one.targets, other.targets)
    assert any(
        len(one.events) != len(other.events) or (one.events != other.events).any()
        for one, other in zip(drawn(first, 1), later, strict=False)
    )


def test_a_pass_holds_no_more_events_than_it_may(folder: Path) -> None:
    windows = Sampler(read_library(folder).pieces, 0, 0.5).batch(9_000, 341)
    for limit in (341, 682, 2_000):
        found = list(parts(windows, limit))
        assert sorted(id(window) for part in found for window in part) == sorted(map(id, windows))
        assert all(len(part) * max(len(window.events) for window in part) <= limit for part in found)


def test_a_schedule_goes_by_steps_or_by_the_clock() -> None:
    assert Schedule(steps=4).progress(3, 1e9) == 0.75
    assert Schedule(seconds=60).progress(10**9, 15) == 0.25
    assert Schedule(seconds=60).progress(0, 61) == 1
    shares = [rate_share(n / 200) for n in range(200)]
    assert 0 < shares[0] < 0.1
    assert max(shares) > 0.99
    assert 0 < shares[-1] < 0.01
    top = shares.index(max(shares))
    assert shares == sorted(shares[:top]) + sorted(shares[top:], reverse=True)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--minutes", "0"], "at least 0.01"),
        (["--steps", "many"], "many is not a number that is at least 1"),
        (["--lora", "1000"], "at least 1 and at most 256"),
        (["--minutes", "5", "--steps", "5"], "not allowed with"),
        (["--rate", "nan"], "not a number"),
        (["--seed", "-1"], "at least 0"),
    ],
)
def test_words_that_mean_nothing_are_refused(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse_arguments(["mine", "--out", "model", *words])
    assert said in capsys.readouterr().err


def test_nothing_is_written_over_and_nothing_resumed_that_is_not_there(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="there is no run"):
        finetune(parse_arguments([str(folder), "--out", str(tmp_path / "new"), "--resume"]))
    with pytest.raises(TrainingError, match="is there already"):
        finetune(parse_arguments([str(folder), "--out", str(folder)]))
    with pytest.raises(TrainingError, match="there is no folder"):
        finetune(parse_arguments([str(tmp_path / "nowhere"), "--out", str(tmp_path / "new")]))
    check_new(tmp_path / "new")


def test_a_run_goes_on_only_with_what_it_was_started_with(tmp_path: Path) -> None:
    nothing = dict.fromkeys(("base", "lora", "tokens", "rate", "seed", "bfloat16"))
    recipe = Recipe.complete(nothing | {"lora": 8}, 1_024, can_bfloat16=True)
    assert (recipe.base, recipe.bfloat16) == ("tiny", True)
    assert recipe.rate == pytest.approx(LORA_RATE / 2)
    RunFile(recipe, Schedule(steps=9), "pieces", {}).write(tmp_path)
    found = read_run(tmp_path)
    assert found == RunFile(recipe, Schedule(steps=9), "pieces", {})
    found.check(nothing | {"lora": 8}, "pieces")
    with pytest.raises(TrainingError, match="started with lora 8, and cannot go on with 4"):
        found.check(nothing | {"lora": 4}, "pieces")
    with pytest.raises(TrainingError, match="not the pieces"):
        found.check(nothing, "others")
