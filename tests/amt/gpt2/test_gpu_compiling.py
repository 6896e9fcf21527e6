"""The kernels of GPUs are compiled for some that are not here."""

from typing import Any

import pytest

pytest.importorskip("triton")

from triton import compile as compile_kernel
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from amt.gpt2 import gpu_kernels

TARGETS = [GPUTarget("cuda", 90, 32), GPUTarget("hip", "gfx942", 64)]
TENSORS = {
    "hidden": "*fp32",
    "logits": "*fp32",
    "numbers": "*fp32",
    "weights": "*fp32",
    "cache_lengths": "*i64",
    "tokens": "*i64",
}
FLOATS = {"scale", "epsilon"}
KERNELS: dict[str, tuple[str, dict[str, int]]] = {
    "_add_norm": ("hidden product* scale* shift* normalised* width epsilon", {"size": 1_024}),
    "_activate": ("inner* n", {"size": 1_024}),
    "_attend": (
        "qkv* cached* cache_lengths attended* scale max_rows context_tokens head_width",
        {"size": 64, "together": 128},
    ),
    "_choose": ("logits numbers weights tokens n_tokens stride", {"together": 4_096, "n_bits": 30}),
}
"""What each takes: a star is for tensors of bfloat16."""


def kind_of(name: str) -> str:
    if name.endswith("*"):
        return "*bf16"
    return TENSORS.get(name, "fp32" if name in FLOATS else "i32")


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: f"{target.backend}-{target.arch}")
@pytest.mark.parametrize("name", KERNELS)
def test_a_kernel_is_compiled(name: str, target: Any) -> None:
    words, constants = KERNELS[name]
    signature = {word.rstrip("*"): kind_of(word) for word in words.split()} | dict.fromkeys(constants, "constexpr")
    source = ASTSource(getattr(gpu_kernels, name), signature, constants)
    assert {"cubin", "hsaco"} & compile_kernel(source, target=target).asm.keys()
