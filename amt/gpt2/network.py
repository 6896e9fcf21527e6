"""GPT-2 with a key/value cache that it writes in place, and an output matrix that is multiplied by the slot.

The weights are those of a Hugging Face `GPT2LMHeadModel`, whose plain forward pass this one is held against in tests.
Source: Radford et al. 2019; the configuration's flags mean what they mean in transformers.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import TYPE_CHECKING, Final

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from amt import attention
from amt.configuration import Configuration
from amt.errors import CheckpointError
from amt.layer import Layer, Norm
from amt.linear import Linear, arithmetic_dtype, is_reproducible, linear
from amt.vocab import CONTEXT_TOKENS, SLOTS, VOCAB_SIZE, Slot

if TYPE_CHECKING:
    from amt.blocks import Blocks

BLOCK_TOKENS: Final = 64
"""Lengths are rounded up to this, so that the arithmetic of a row is the same beside longer ones."""

_Attend = Callable[[int, Tensor], Tensor]
"""Takes which layer it is, and queries, keys and values, shape = (n, 3 * width); returns shape = (n, width)."""

_ACTIVATIONS: Final[dict[str, Callable[[Tensor], Tensor]]] = {
    "gelu": F.gelu,
    "gelu_new": partial(F.gelu, approximate="tanh"),
    "gelu_pytorch_tanh": partial(F.gelu, approximate="tanh"),
    "relu": F.relu,
    "silu": F.silu,
    "tanh": torch.tanh,
}


_APPROXIMATE_GELU: Final = ("gelu_new", "gelu_pytorch_tanh")


@dataclass(frozen=True)
class _Source:
    """A checkpoint's weights, by name, as a device takes them."""

    weights: Mapping[str, Tensor]
    dtype: torch.dtype
    device: torch.device

    def load(self, name: str, *shape: int | None) -> Tensor:
        """A weight of that shape; None stands for any size. What is compiled checks none itself."""
        if name not in self.weights:
            raise CheckpointError(f"the weights lack {name}")
        weight = self.weights[name].detach()
        if len(weight.shape) != len(shape) or any(
            size not in (None, there) for size, there in zip(shape, weight.shape, strict=True)
        ):
            wanted = " x ".join("any" if size is None else str(size) for size in shape)
            raise CheckpointError(f"{name} is {' x '.join(map(str, weight.shape))}, not {wanted}")
        return weight

    def own(self, name: str, *shape: int | None) -> Tensor:
        # A copy, for a view would keep the whole file in memory.
        return self.load(name, *shape).to(self.device, arithmetic_dtype(self.dtype, self.device), copy=True)

    def norm(self, name: str, width: int) -> Norm:
        return self.own(f"{name}.weight", width), self.own(f"{name}.bias", width)

    def affine(self, name: str, n_in: int, n_out: int) -> Linear:
        weight, bias = self.load(f"{name}.weight", n_in, n_out), self.load(f"{name}.bias", n_out)
        return linear(weight, bias, self.dtype, self.device)

    def layer(self, name: str, width: int) -> Layer:
        inner = self.load(f"{name}.mlp.c_fc.weight", width, None).shape[1]
        return Layer(
            norm1=self.norm(f"{name}.ln_1", width),
            qkv=self.affine(f"{name}.attn.c_attn", width, 3 * width),
            attention_out=self.affine(f"{name}.attn.c_proj", width, width),
            norm2=self.norm(f"{name}.ln_2", width),
            mlp_in=self.affine(f"{name}.mlp.c_fc", width, inner),
            mlp_out=self.affine(f"{name}.mlp.c_proj", inner, width),
        )


class Cache:
    """Keys and values of every layer; shape = (n_layers, 2, n_rows, n_heads, 1,024, head_width)."""

    def __init__(self, model: "GPT2") -> None:
        self._shape = (len(model.layers), 2, 0, *model.row_shape)
        # Zeros: to PyTorch what is masked out still takes part, times nothing, and nothing times NaN would be NaN.
        self.data = torch.zeros(self._shape, dtype=model.cache_dtype, device=model.device)

    def reserve(self, n_rows: int) -> None:
        """Make room for so many rows; what is there stays."""
        have = self.data.shape[2]
        if n_rows > have:
            shape = list(self._shape)
            shape[2] = max(n_rows, 2 * have)
            grown = self.data.new_zeros(shape)
            grown[:, :, :have] = self.data
            self.data = grown

    def by_row(self) -> Tensor:
        """The same memory; shape = (n_layers, n_rows, 1,024, 2, n_heads, head_width)."""
        return self.data.permute(0, 2, 4, 1, 3, 5)

    def move(self, source: int, target: int, length: int) -> None:
        """Copy the first `length` tokens of one row over another."""
        self.data[:, :, target, :, :length] = self.data[:, :, source, :, :length]


class GPT2:
    """A decoder-only transformer that decodes rows of different lengths together."""

    def __init__(
        self, config: Configuration, weights: Mapping[str, Tensor], dtype: torch.dtype, device: torch.device
    ) -> None:
        """Take weights by their names in Hugging Face's `GPT2Model`, and `lm_head.weight` if the output is not tied.

        `dtype`: the weights' precision, see `amt.linear`; on a CPU keys and values are kept in bfloat16 unless it is
        float32. The model `is_reproducible` if in `decode` a row's result is the same, to the bit, however many others
        and threads there are; elsewhere last digits may differ.

        Raises:
            CheckpointError: a weight is missing or misshapen, or the activation function is unknown.
        """
        self.config, self.device = config, device
        self.dtype = arithmetic_dtype(dtype, device)
        self.is_reproducible = is_reproducible(dtype, device)
        self._is_compiled = device.type == "cpu" and dtype is not torch.float32
        self.cache_dtype = torch.bfloat16 if self._is_compiled else self.dtype

        source, width = _Source(weights, dtype, device), config.n_embd
        if width % config.n_head:
            raise CheckpointError(f"{config.n_head} heads cannot share a width of {width}")
        self.n_heads, self.head_width = config.n_head, width // config.n_head
        self._activation = self._find_activation(config.activation_function)
        self._width, self._epsilon = (width,), config.layer_norm_epsilon
        self._upcast = config.reorder_and_upcast_attn
        scale = 1 / math.sqrt(self.head_width) if config.scale_attn_weights else 1.0
        by_layer = config.scale_attn_by_inverse_layer_idx
        self._scales = [scale / (layer + 1 if by_layer else 1) for layer in range(config.n_layer)]
        self._tokens = source.load("wte.weight", None, width).to(
            device, torch.float16 if dtype is torch.int8 else dtype
        )
        self._positions = source.own("wpe.weight", None, width)
        if len(self._tokens) != VOCAB_SIZE or len(self._positions) < CONTEXT_TOKENS:
            shape = f"{len(self._tokens)} tokens and {len(self._positions)} positions"
            raise CheckpointError(f"its embeddings are of {shape}, not of {VOCAB_SIZE} and {CONTEXT_TOKENS}")
        output = source.load("wte.weight" if config.tie_word_embeddings else "lm_head.weight", VOCAB_SIZE, width)
        self._outputs = {slot: linear(output[slot.slice].T, None, dtype, device) for slot in SLOTS}
        self._final_norm = source.norm("ln_f", width)
        self.layers = [source.layer(f"h.{index}", width) for index in range(config.n_layer)]
        self._blocks = self._compile() if self._is_compiled else None

    def _find_activation(self, name: str) -> Callable[[Tensor], Tensor]:
        if name not in _ACTIVATIONS:
            raise CheckpointError(f"unknown activation_function {name}")
        if self._is_compiled and name in _APPROXIMATE_GELU:
            from amt import compiled  # which is for CPUs alone

            return compiled.gelu
        return _ACTIVATIONS[name]

    def _compile(self) -> "Blocks":
        from amt.blocks import Blocks  # which is for CPUs alone

        activation = None if self.config.activation_function in _APPROXIMATE_GELU else self._activation
        return Blocks(self.layers, self._final_norm, self._scales, self._epsilon, activation)

    @cached_property
    def _masks(self) -> Tensor:
        """Row `end` hides what lies behind it; shape = (1,024, 1,024). The compiled kernel needs none."""
        masks = torch.full((CONTEXT_TOKENS, CONTEXT_TOKENS), -torch.inf, device=self.device).triu_(1)
        return masks if self._upcast else masks.to(self.dtype)

    @property
    def row_shape(self) -> tuple[int, int, int]:
        """(n_heads, 1,024, head_width): a cache row's keys, or values, in one layer."""
        return self.n_heads, CONTEXT_TOKENS, self.head_width

    @property
    def row_bytes(self) -> int:
        """What a cache row takes in all layers."""
        return 2 * len(self.layers) * math.prod(self.row_shape) * self.cache_dtype.itemsize

    def prefill(self, tokens: Tensor, cache: Cache, rows: Tensor, source: Tensor) -> None:
        """Fill cache rows from position 0.

        Args:
            tokens: shape = (n_distinct, n_tokens); shorter ones padded at the end with anything. How far must
                depend on nothing but themselves, or the last digits will depend on their neighbours.
            cache: written in place.
            rows: which cache rows to fill, shape = (n_rows,).
            source: the row of `tokens` that each takes, shape = (n_rows,).
        """
        by_row = cache.by_row()

        def store(layer: int, qkv: Tensor) -> None:
            kept = self._split(qkv, tokens.shape)[:, :, 1:].to(self.cache_dtype)
            by_row[layer, rows, : tokens.shape[1]] = kept[source]

        def attend(layer: int, qkv: Tensor) -> Tensor:
            store(layer, qkv)
            return self._attend_causally(layer, qkv, tokens.shape)

        # Of the last block only keys and values are wanted.
        *layers, last = self.layers
        hidden = self._run(self._embed_windows(tokens), layers, attend)
        store(len(layers), self._project(hidden, last))

    def decode(self, tokens: Tensor, ends: int | Tensor, reach: int, cache: Cache) -> Tensor:
        """Feed one token to each of the first rows of the cache.

        Args:
            tokens: shape = (n_rows,).
            ends: how many tokens the cache holds of all rows, or of each, shape = (n_rows,); the new one goes there.
            reach: how far PyTorch's attention looks, see `rounded_up`; beyond all ends.
            cache: written in place.

        Returns:
            final hidden states, shape = (n_rows, width).
        """
        positions = self._positions[ends] if isinstance(ends, int) else F.embedding(ends, self._positions)
        embedded = self._embed(tokens) + positions
        if self._blocks is not None:
            places = np.full(len(tokens), ends) if isinstance(ends, int) else ends.numpy()
            return self._blocks.decode(embedded, places, cache.data.view(torch.uint16).numpy())
        hidden = self._run(embedded, self.layers, self._look_back(len(tokens), ends, reach, cache))
        return self._normalised(hidden, self._final_norm)

    def hidden_states(self, tokens: Tensor, depth: int) -> Tensor:
        """Hidden states after so many blocks, the last of them normalised; shape = (n_rows, n_tokens, width).

        Depth 0 is the embeddings. The same as Hugging Face's `hidden_states[depth]`.
        """
        attend = partial(self._attend_causally, shape=tokens.shape)
        hidden = self._run(self._embed_windows(tokens), self.layers[:depth], attend)
        if depth == len(self.layers):
            hidden = self._normalised(hidden, self._final_norm)
        return hidden.view(*tokens.shape, -1)

    def logits(self, hidden: Tensor, slot: Slot) -> Tensor:
        """Float32 logits of one slot's tokens; shape = (n_rows, slot.size)."""
        return self._outputs[slot](hidden).float()

    def _embed(self, tokens: Tensor) -> Tensor:
        return F.embedding(tokens, self._tokens).to(self.dtype)

    def _embed_windows(self, tokens: Tensor) -> Tensor:
        """Tokens from position 0 on; shape = (n_rows * n_tokens, width)."""
        return (self._embed(tokens) + self._positions[: tokens.shape[1]]).flatten(0, 1)

    def _run(self, hidden: Tensor, layers: Sequence[Layer], attend: _Attend) -> Tensor:
        """The first blocks; hidden and the result have shape = (n, width), queries to values (n, 3 * width)."""
        for index, layer in enumerate(layers):
            hidden = layer.attention_out(attend(index, self._project(hidden, layer))).add_(hidden)
            inner = self._activation(layer.mlp_in(self._normalised(hidden, layer.norm2)))
            hidden = layer.mlp_out(inner).add_(hidden)
        return hidden

    def _project(self, hidden: Tensor, layer: Layer) -> Tensor:
        """Queries, keys and values of a block; shape = (n, 3 * width)."""
        return layer.qkv(self._normalised(hidden, layer.norm1))

    def _normalised(self, hidden: Tensor, norm: Norm) -> Tensor:
        return torch.layer_norm(hidden, self._width, *norm, self._epsilon)

    def _split(self, qkv: Tensor, shape: torch.Size) -> Tensor:
        """Shape = (n_rows, n_tokens, 3, n_heads, head_width)."""
        return qkv.view(*shape, 3, self.n_heads, self.head_width)

    def _attend_causally(self, layer: int, qkv: Tensor, shape: torch.Size) -> Tensor:
        """Scaled dot-product attention of whole windows, with the scale and precision that the config asks for."""
        query, key, value = self._split(qkv, shape).permute(2, 0, 3, 1, 4)
        if self._upcast:
            query, key, value = query.float(), key.float(), value.float()
        attended = F.scaled_dot_product_attention(query, key, value, is_causal=True, scale=self._scales[layer])
        return attended.to(self.dtype).transpose(1, 2).reshape(shape.numel(), -1)

    def _look_back(self, n_rows: int, ends: int | Tensor, reach: int, cache: Cache) -> _Attend:
        """What stores one token's keys and values in each row and attends to all that are there."""
        # In turn the keys and the values of each layer, as far as any row reaches.
        window = cache.data.flatten(0, 1)[:, :n_rows, :, :reach].unbind()
        by_row = cache.by_row()[:, :n_rows]
        if isinstance(ends, int):
            targets, index = by_row[:, :, ends].unbind(), None
            mask = self._masks[ends, None, None, :reach]
        else:
            targets, index = by_row.unbind(), (torch.arange(n_rows, device=self.device), ends)
            mask = self._masks[ends, None, :reach].repeat_interleave(self.n_heads, dim=0)
        product = attention.fused if self.device.type == "cuda" else attention.exact

        def attend(layer: int, qkv: Tensor) -> Tensor:
            split = qkv.view(n_rows, 3, self.n_heads, self.head_width)
            if index is None:
                targets[layer].copy_(split.narrow(1, 1, 2))
            else:
                targets[layer][index] = split.narrow(1, 1, 2)
            query, key, value = split[:, 0], window[2 * layer], window[2 * layer + 1]
            if self._upcast and self.dtype is not torch.float32:
                query, key, value = query.float(), key.float(), value.float()
            attended = product(query, key, value, mask, self._scales[layer])
            return attended.to(self.dtype).view(-1, *self._width)

        return attend


def rounded_up(n_tokens: int) -> int:
    """A length as a whole number of blocks."""
    return -(-n_tokens // BLOCK_TOKENS) * BLOCK_TOKENS
