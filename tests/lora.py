"""Write LoRA adapters of the golden model as PEFT does, without needing it."""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

WIDTH, RANK = 32, 4
"""Of the golden model, and of the adapters."""


def write_adapter(folder: Path, base: str, tensors: dict[str, torch.Tensor] | None = None, **fields: Any) -> Path:
    """Write an adapter of one matrix, or of other tensors, with more or other fields; return its folder."""
    config = {"peft_type": "LORA", "base_model_name_or_path": base, "r": RANK, "lora_alpha": 8, "bias": "none"}
    folder.mkdir(parents=True)
    (folder / "adapter_config.json").write_text(json.dumps(config | fields))
    save_file(
        factors("transformer.h.1.attn.c_proj") if tensors is None else tensors, folder / "adapter_model.safetensors"
    )
    return folder


def factors(module: str, n_in: int = WIDTH, n_out: int = WIDTH) -> dict[str, torch.Tensor]:
    """Return random factors of a module by their names."""
    random = torch.Generator().manual_seed(0)
    name = f"base_model.model.{module}"
    return {
        f"{name}.lora_A.weight": torch.randn(RANK, n_in, generator=random),
        f"{name}.lora_B.weight": torch.randn(n_out, RANK, generator=random),
    }
