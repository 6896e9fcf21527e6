import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from amt.decoding.model import build_model, load_config, load_model
from amt.errors import CheckpointError
from amt.gpt2.checkpoint import read_weights
from amt.gpt2.config import Config
from tests.conftest import GOLDEN


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Path(shutil.copytree(GOLDEN / "model", tmp_path / "model"))


def change(folder: Path, **fields: Any) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


@pytest.mark.parametrize(
    "config", [GPT2Config(), GPT2Config.from_pretrained(GOLDEN / "model")], ids=["plain", "golden"]
)
def test_a_configuration_is_read_as_by_hugging_face(config: GPT2Config, tmp_path: Path) -> None:
    config.save_pretrained(tmp_path)
    expected = {name: getattr(config, name) for name in Config.model_fields}
    read = Config.model_validate_json((tmp_path / "config.json").read_bytes())
    assert read.model_dump() == Config.model_validate(expected).model_dump() == expected


def test_fields_left_out_of_a_configuration_have_the_defaults_of_hugging_face() -> None:
    expected = GPT2Config()
    assert Config().model_dump() == {name: getattr(expected, name) for name in Config.model_fields}


def test_weights_are_read_as_by_hugging_face(folder: Path, hf_model: GPT2LMHeadModel) -> None:
    weights = read_weights(folder)
    for name, expected in hf_model.transformer.state_dict().items():
        torch.testing.assert_close(weights[name].float(), expected, atol=0, rtol=0)


def test_the_older_pytorch_format_is_read_too(folder: Path, tmp_path: Path) -> None:
    expected = read_weights(folder)
    torch.save({f"transformer.{name}": tensor for name, tensor in expected.items()}, tmp_path / "pytorch_model.bin")
    weights = read_weights(tmp_path)
    assert weights.keys() == expected.keys()
    assert all(torch.equal(weights[name], expected[name]) for name in weights)


@pytest.mark.parametrize(
    ("fields", "complaint"),
    [
        ({"vocab_size": 50_257}, "its vocabulary has 50257 tokens and not 55028"),
        ({"n_positions": 512}, "its context has 512 tokens and not 1024"),
        ({"model_type": "llama"}, "it is a llama and not a gpt2"),
    ],
)
def test_a_model_of_another_type_vocabulary_or_context_is_refused(
    folder: Path, fields: dict[str, Any], complaint: str
) -> None:
    change(folder, **fields)
    with pytest.raises(CheckpointError, match=complaint):
        load_config(folder)


def test_an_unknown_activation_is_refused(folder: Path) -> None:
    change(folder, activation_function="maxout")
    with pytest.raises(CheckpointError, match="unknown activation_function maxout"):
        load_model(folder, torch.float32, torch.device("cpu"))


@pytest.mark.parametrize("content", [b"", b"not a checkpoint at all", b"\xff" * 100])
def test_damaged_weights_are_refused(folder: Path, content: bytes) -> None:
    (folder / "model.safetensors").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"model\.safetensors cannot be read"):
        read_weights(folder)


def test_weights_cut_short_are_refused(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1_000])
    with pytest.raises(CheckpointError, match=r"model\.safetensors cannot be read"):
        read_weights(folder)


def test_a_missing_weight_is_refused_by_name(folder: Path) -> None:
    weights = read_weights(folder)
    del weights["h.1.mlp.c_fc.bias"]
    with pytest.raises(CheckpointError, match=r"the weights lack h\.1\.mlp\.c_fc\.bias"):
        build_model(load_config(folder), weights, torch.float32, torch.device("cpu"))


def test_embeddings_of_another_vocabulary_are_refused(folder: Path) -> None:
    weights = read_weights(folder)
    weights["wte.weight"] = weights["wte.weight"][:50_257]
    with pytest.raises(CheckpointError, match="its embeddings are of 50257 tokens"):
        build_model(load_config(folder), weights, torch.float32, torch.device("cpu"))


def test_a_folder_without_weights_is_refused(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    with pytest.raises(CheckpointError, match="there are no weights"):
        read_weights(folder)


@pytest.mark.parametrize("content", ["", "{", "[]", '{"n_layer": "many"}'])
def test_a_broken_configuration_is_refused(folder: Path, content: str) -> None:
    (folder / "config.json").write_text(content)
    with pytest.raises(CheckpointError, match=r"config.json cannot be read"):
        load_config(folder)
