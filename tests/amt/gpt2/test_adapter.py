"""What is merged is what PEFT merges, and what cannot be merged is refused by name."""

from pathlib import Path
from typing import Any

import pytest
import torch

from amt.errors import CheckpointError
from amt.gpt2.adapter import merge_adapter, read_adapter_config
from amt.gpt2.checkpoint import read_weights
from tests.conftest import GOLDEN
from tests.lora import factors, write_adapter

MODEL = str(GOLDEN / "model")


@pytest.mark.slow  # PEFT takes seconds to import
@pytest.mark.filterwarnings("ignore")  # its own, and those of what it imports
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(
    "options",
    [
        {"target_modules": ["c_attn"]},
        {"target_modules": ["c_attn", "c_proj", "c_fc"], "use_rslora": True, "lora_alpha": 3},
        {"target_modules": "all-linear", "exclude_modules": ["lm_head"], "alpha_pattern": {r"h\.1\.attn\.c_attn": 3}},
        {"target_modules": ["c_proj"], "rank_pattern": {"mlp.c_proj": 2}, "alpha_pattern": {"mlp.c_proj": 1}},
    ],
)
def test_what_is_merged_is_what_peft_merges(options: dict[str, Any], dtype: torch.dtype, tmp_path: Path) -> None:
    peft = pytest.importorskip("peft", reason="peft is in the dependency group training")
    from transformers import GPT2LMHeadModel

    base = GPT2LMHeadModel.from_pretrained(MODEL, dtype=torch.float32)
    config = peft.LoraConfig(r=4, fan_in_fan_out=True, init_lora_weights=False, task_type="CAUSAL_LM", **options)
    torch.manual_seed(0)
    adapted = peft.get_peft_model(base, config).to(dtype)
    adapted.save_pretrained(tmp_path)
    expected = adapted.float().merge_and_unload().transformer.state_dict()
    original, merged = read_weights(Path(MODEL)), merge_adapter(read_weights(Path(MODEL)), tmp_path)
    changed = [name for name, weight in merged.items() if not torch.equal(weight, original[name])]
    assert changed
    assert merged.keys() == original.keys()
    for name, weight in merged.items():
        torch.testing.assert_close(weight.float(), expected[name].float(), rtol=1e-5, atol=1e-6)


def test_a_product_is_added_with_its_scale(tmp_path: Path) -> None:
    tensors = factors("transformer.h.0.mlp.c_fc", n_out=128)
    a, b = tensors.values()
    original = read_weights(Path(MODEL))
    merged = merge_adapter(original, write_adapter(tmp_path / "adapter", MODEL, tensors, lora_alpha=2))
    expected = original["h.0.mlp.c_fc.weight"].float() + 2 / 4 * (b @ a).T
    torch.testing.assert_close(merged["h.0.mlp.c_fc.weight"], expected)
    assert [name for name in merged if merged[name] is not original[name]] == ["h.0.mlp.c_fc.weight"]


@pytest.mark.parametrize(
    ("fields", "complaint"),
    [
        ({"peft_type": "IA3"}, "it is an adapter of kind IA3, and only LORA can be merged"),
        ({"use_dora": True}, "it uses DoRA, and only plain LoRA can be merged"),
        ({"bias": "all"}, "it uses bias all,"),
        ({"modules_to_save": ["wte"]}, r"it uses modules that are saved whole \(modules_to_save\),"),
        ({"lora_bias": True}, "it uses biases of LoRA,"),
        ({"trainable_token_indices": [5]}, "it uses tokens that are trained,"),
        ({"init_lora_weights": "pissa_niter_4"}, "it uses init_lora_weights pissa_niter_4, which changes the base,"),
        ({"lora_alpha": "much"}, "lora_alpha: Input should be a valid number"),
        ({"base_model_name_or_path": None}, "base_model_name_or_path: Input should be a valid string"),
    ],
)
def test_other_kinds_of_adapters_are_refused_by_name(fields: dict[str, Any], complaint: str, tmp_path: Path) -> None:
    folder = write_adapter(tmp_path / "adapter", MODEL, **fields)
    with pytest.raises(CheckpointError, match=f"adapter_config.json: {complaint}"):
        read_adapter_config(folder)


HEAD, EMBEDDING = factors("lm_head"), factors("transformer.wte")
MORE_BLOCKS = factors("transformer.h.9.attn.c_proj")
WIDER = factors("transformer.h.0.attn.c_proj", n_out=33)
HALF = dict(list(factors("transformer.h.0.attn.c_proj").items())[:1])
WHOLE = {"base_model.model.transformer.wte.weight": torch.zeros(2, 2)}
EMBEDDED = {"base_model.model.transformer.wte.lora_embedding_A": torch.zeros(4, 2)}


@pytest.mark.parametrize(
    ("tensors", "complaint"),
    [
        (HEAD, "the adapter changes lm_head: only the matrices of blocks can be merged"),
        (EMBEDDING, "the adapter changes transformer.wte: only the matrices of blocks can be merged"),
        (MORE_BLOCKS, "the adapter changes transformer.h.9.attn.c_proj, and its base has none"),
        (WIDER, "the adapter's transformer.h.0.attn.c_proj is 32 x 33, and its base's 32 x 32"),
        (HALF, "lora_A and lora_B of transformer.h.0.attn.c_proj do not belong together"),
        (WHOLE, "the adapter holds base_model.model.transformer.wte.weight, which cannot be merged"),
        (EMBEDDED, "the adapter holds base_model.model.transformer.wte.lora_embedding_A, which cannot be merged"),
        ({}, "adapter_model.safetensors holds nothing to merge"),
    ],
)
def test_what_does_not_fit_the_base_is_refused_by_name(
    tensors: dict[str, torch.Tensor], complaint: str, tmp_path: Path
) -> None:
    folder = write_adapter(tmp_path / "adapter", MODEL, tensors)
    with pytest.raises(CheckpointError, match=complaint):
        merge_adapter(read_weights(Path(MODEL)), folder)


def test_an_adapter_without_weights_is_refused(tmp_path: Path) -> None:
    folder = write_adapter(tmp_path / "adapter", MODEL)
    (folder / "adapter_model.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"adapter_model\.safetensors cannot be read"):
        merge_adapter(read_weights(Path(MODEL)), folder)
