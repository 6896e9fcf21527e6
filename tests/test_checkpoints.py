"""A source leads to files, an adapter to its base, and both say what they were trained for."""

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub.constants import HF_HUB_CACHE

from amt.errors import CheckpointError
from checkpoints import PROJECT, find_checkpoint, find_locally, is_named_without_controls
from tests.conftest import GOLDEN
from tests.lora import write_adapter

MODEL = str(GOLDEN / "model")


def find(source: str | Path, **offered: str) -> Any:
    return find_checkpoint(str(source), offered, find_locally)


def with_config(folder: Path, **fields: Any) -> Path:
    """Write the golden model with another configuration."""
    shutil.copytree(MODEL, folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | fields))
    return folder


def test_a_folder_is_found_from_the_projects_or_from_the_root() -> None:
    assert find("weights/tiny").folder == PROJECT / "weights/tiny"
    assert find(MODEL).folder == GOLDEN / "model"
    with pytest.raises(FileNotFoundError, match="is not on this machine"):
        find("./missing")


@pytest.mark.parametrize("base", ["golden", MODEL, "../model", os.path.relpath(MODEL, PROJECT)])
def test_the_base_of_an_adapter_is_a_name_on_offer_or_a_folder(base: str, tmp_path: Path) -> None:
    (tmp_path / "model").symlink_to(MODEL)
    found = find(write_adapter(tmp_path / "adapter", base), golden=MODEL)
    assert found.folder.resolve() == GOLDEN / "model"
    assert found.adapters == (tmp_path / "adapter",)


def test_adapters_of_adapters_are_merged_from_the_model_outwards(tmp_path: Path) -> None:
    write_adapter(tmp_path / "first", MODEL)
    write_adapter(tmp_path / "second", "../first")
    assert find(tmp_path / "second").adapters == (tmp_path / "first", tmp_path / "second")


def test_an_adapter_that_is_its_own_base_is_refused(tmp_path: Path) -> None:
    folder = write_adapter(tmp_path / "adapter", "mine")
    with pytest.raises(
        CheckpointError, match="the base of the adapter in adapter is mine, which is the adapter itself"
    ):
        find(folder, mine=str(folder))


def test_an_adapter_whose_base_is_not_there_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="someone/base@main is not on this machine"):
        find(write_adapter(tmp_path / "adapter", "someone/base", revision="main"))


@pytest.mark.parametrize(
    ("fields", "name", "expected"),
    [
        ({}, "model", True),
        ({"anticipation": False}, "model", False),
        ({}, "music-small-ar-100k", False),
        ({"anticipation": True}, "music-small-ar-100k", True),
    ],
)
def test_a_model_says_whether_it_was_trained_with_controls(
    fields: dict[str, Any], name: str, expected: bool, tmp_path: Path
) -> None:
    assert find(with_config(tmp_path / name, **fields)).has_controls is expected


def test_an_adapter_is_for_controls_if_its_base_is(tmp_path: Path) -> None:
    with_config(tmp_path / "base", anticipation=False)
    assert find(write_adapter(tmp_path / "adapter", "../base")).has_controls is False


def test_a_model_that_says_something_else_of_controls_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r'anticipation in config\.json must be true or false, and is "no"'):
        _ = find(with_config(tmp_path / "model", anticipation="no")).has_controls


def test_stanfords_models_without_controls_are_known_by_name() -> None:
    assert is_named_without_controls("stanford-crfm/music-small-ar-100k")
    assert is_named_without_controls("stanford-crfm/music-large-ar-800k@main")
    assert not is_named_without_controls("stanford-crfm/music-small-800k")
    assert not is_named_without_controls("music-ar-x/other")


def test_an_adapter_asks_for_a_variety_of_its_own_or_for_that_of_its_base(tmp_path: Path) -> None:
    folder = write_adapter(tmp_path / "adapter", "weights/tiny")
    assert find(folder).variety == find("weights/tiny").variety
    (folder / "generation_config.json").write_text('{"variety": 0.3}')
    assert find(folder).variety == 0.3


@pytest.fixture
def cached() -> Iterator[Path]:
    """The folder of a repository that the hub's cache has at revision v2, still empty."""
    repository = Path(HF_HUB_CACHE) / "models--someone--music-small-ar-x"
    commit = "0" * 40
    (repository / "refs").mkdir(parents=True)
    (repository / "refs/v2").write_text(commit)
    (repository / f"snapshots/{commit}").mkdir(parents=True)
    yield repository / f"snapshots/{commit}"
    shutil.rmtree(repository)


def test_a_repository_of_the_hub_is_found_in_its_cache_by_its_revision(cached: Path) -> None:
    source = "someone/music-small-ar-x@v2"
    with pytest.raises(FileNotFoundError):
        find(source)
    for name in ("config.json", "model.safetensors"):
        shutil.copy(GOLDEN / "model" / name, cached)
    assert (find(source).folder, find(source).has_controls) == (cached, False)
    for other in ("someone/music-small-ar-x", "someone/music-small-ar-x@v1"):
        with pytest.raises(FileNotFoundError):
            find(other)


def test_an_adapter_may_be_in_the_hubs_cache_too(cached: Path, tmp_path: Path) -> None:
    for file in write_adapter(tmp_path / "adapter", MODEL).iterdir():
        shutil.copy(file, cached)
    found = find("someone/music-small-ar-x@v2")
    assert (found.folder, found.adapters, found.has_controls) == (GOLDEN / "model", (cached,), True)


def test_a_configuration_counts_the_parameters(hf_model: Any, tmp_path: Path) -> None:
    assert find(MODEL).config.n_parameters == hf_model.num_parameters()
    untied = find(with_config(tmp_path / "model", tie_word_embeddings=False)).config
    assert untied.n_parameters == hf_model.num_parameters() + hf_model.lm_head.weight.numel()
