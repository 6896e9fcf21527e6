"""Place a checkpoint's weights on a device, checked for shape, and group those of one block."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from amt.errors import CheckpointError
from amt.gpt2.linear import INT4, Linear, arithmetic_dtype, linear

Norm = tuple[Tensor, Tensor]
"""A layer normalisation's scale and shift, shape = (width,) each."""


@dataclass(frozen=True)
class BlockWeights:
    """Hold the weights of one block, in the order in which hidden states meet them."""

    norm1: Norm
    qkv: Linear
    attention_out: Linear
    norm2: Norm
    mlp_in: Linear
    mlp_out: Linear

    @property
    def layers(self) -> tuple[Linear, Linear, Linear, Linear]:
        """The matrices with their biases."""
        return self.qkv, self.attention_out, self.mlp_in, self.mlp_out

    @property
    def n_bytes(self) -> int:
        """Bytes of memory that the matrices take; the rest is hardly anything."""
        return sum(each.n_bytes for each in self.layers)


@dataclass(frozen=True)
class Source:
    """Take weights by their names in Hugging Face's `GPT2Model`, to a device and precision.

    All methods raise `CheckpointError` if a weight is missing or has another shape: compiled kernels check none.
    """

    weights: Mapping[str, Tensor]
    dtype: torch.dtype
    device: torch.device

    def at_least_int8(self) -> "Source":
        """Return it for weights that four bits would harm most."""
        return replace(self, dtype=torch.int8) if self.dtype is INT4 else self

    def tensor(self, name: str, *shape: int | None) -> Tensor:
        """Return a weight as it is in the file; None in `shape` stands for any size."""
        if name not in self.weights:
            raise CheckpointError(f"the weights lack {name}")
        weight = self.weights[name].detach()
        if len(weight.shape) != len(shape) or any(
            size not in (None, actual) for size, actual in zip(shape, weight.shape, strict=True)
        ):
            wanted = " x ".join("any" if size is None else str(size) for size in shape)
            raise CheckpointError(f"{name} is {' x '.join(map(str, weight.shape))}, not {wanted}")
        return weight

    def copied(self, name: str, *shape: int | None) -> Tensor:
        """Return a copy of a weight in arithmetic precision; a view would keep the whole file in memory."""
        return self.tensor(name, *shape).to(self.device, arithmetic_dtype(self.dtype, self.device), copy=True)

    def norm(self, name: str, width: int) -> Norm:
        """Return a layer normalisation's scale and shift."""
        return self.copied(f"{name}.weight", width), self.copied(f"{name}.bias", width)

    def linear(self, name: str, n_in: int, n_out: int) -> Linear:
        """Return a linear layer with its bias."""
        weight, bias = self.tensor(f"{name}.weight", n_in, n_out), self.tensor(f"{name}.bias", n_out)
        return linear(weight, bias, self.dtype, self.device)

    def block(self, name: str, width: int) -> BlockWeights:
        """Return the weights of one block."""
        inner = self.tensor(f"{name}.mlp.c_fc.weight", width, None).shape[1]
        return BlockWeights(
            norm1=self.norm(f"{name}.ln_1", width),
            qkv=self.linear(f"{name}.attn.c_attn", width, 3 * width),
            attention_out=self.linear(f"{name}.attn.c_proj", width, width),
            norm2=self.norm(f"{name}.ln_2", width),
            mlp_in=self.linear(f"{name}.mlp.c_fc", width, inner),
            mlp_out=self.linear(f"{name}.mlp.c_proj", inner, width),
        )
