"""The kernels of GPUs are compiled for some that are not here."""

from typing import Any

import pytest

pytest.importorskip("triton")

from triton import compile as compile_kernel
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from amt.gpt2.gpu import attention, choice, few_rows, kernels, many_rows

TARGETS = [GPUTarget("cuda", 90, 32), GPUTarget("hip", "gfx942", 64)]
BFLOAT16 = "qkv cached attended matrix bias scale shift product normalised embeddings positions inner x"
FLOAT32 = "hidden parts sums logits temperature top_p top_k min_p uniform"
INT64 = "cache_lengths tokens"
KINDS = dict.fromkeys(BFLOAT16.split(), "*bf16") | dict.fromkeys(FLOAT32.split(), "*fp32") | {"epsilon": "fp32"}
KINDS |= dict.fromkeys(INT64.split(), "*i64")
FEW = {"n_rows": 2, "size_in": 1_024, "size_out": 8}
MANY = {"rows": 64, "chunk": 128, "n_chunks": 6, "size_out": 32}
STAGES = {"cuda": 4, "hip": 2}
SHARED_BYTES = {"cuda": 232_448, "hip": 65_536}
KERNELS: list[tuple[Any, dict[str, int]]] = [
    (kernels._embed, {"size": 1_024}),
    (kernels._add_norm, {"size": 1_024, "n_parts": 3}),
    (attention._attend, {"size": 64, "together": 64}),
    (attention._attend_to_part, {"size": 64, "together": 128}),
    (few_rows._project, FEW | {"is_activated": True}),
    (few_rows._add_product, FEW),
    (few_rows._add_attended, FEW | {"n_parts": 8, "part_tokens": 128, "head_width": 64}),
    (many_rows._multiply, MANY | {"is_activated": True}),
    (choice._choose, {"most": 8_192, "rest": 2_048, "n_index_bits": 14, "n_bits": 30}),
]
"""With what is known when they are compiled."""


def kind_of(kernel: Any, name: str) -> str:
    is_of_scores = name == "scale" and kernel in (attention._attend, attention._attend_to_part)
    return "fp32" if is_of_scores else KINDS.get(name, "i32")


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: f"{target.backend}-{target.arch}")
@pytest.mark.parametrize(("kernel", "constants"), KERNELS, ids=lambda each: getattr(each, "__name__", ""))
def test_a_kernel_is_compiled(kernel: Any, constants: dict[str, int], target: Any) -> None:
    begins_early = target.backend == "cuda" and "is_overlapped" in kernel.arg_names
    if "is_overlapped" in kernel.arg_names:
        constants = constants | {"is_overlapped": begins_early}
    if "stages" in kernel.arg_names:
        constants = constants | {"stages": STAGES[target.backend]}
    signature = {name: "constexpr" if name in constants else kind_of(kernel, name) for name in kernel.arg_names}
    options = {"launch_pdl": True} if begins_early else {}
    compiled = compile_kernel(ASTSource(kernel, signature, constants), target=target, options=options)
    assert {"cubin", "hsaco"} & compiled.asm.keys()
    assert compiled.metadata.shared <= SHARED_BYTES[target.backend]
    assert ("griddepcontrol.wait" in compiled.asm.get("ptx", "")) == begins_early
