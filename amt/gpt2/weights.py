"""One block of GPT-2: its weights."""

from dataclasses import dataclass

from torch import Tensor

from amt.linear import Linear

Norm = tuple[Tensor, Tensor]
"""A layer normalisation's scale and shift, shape = (width,) each."""


@dataclass(frozen=True)
class Layer:
    """In the order in which hidden states meet them."""

    norm1: Norm
    qkv: Linear
    attention_out: Linear
    norm2: Norm
    mlp_in: Linear
    mlp_out: Linear
