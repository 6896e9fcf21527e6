"""GPT-2 with a key/value cache that it writes in place, and an output matrix that is multiplied by the slot.

The weights are those of a Hugging Face `GPT2LMHeadModel`, whose plain forward pass this one is held against in tests.
Source: Radford et al. 2019; the configuration's flags mean what they mean in transformers.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Final

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812
from transformers import GPT2Config

from amt.errors import CheckpointError
from amt.vocab import CONTEXT_TOKENS, SLOTS, VOCAB_SIZE, Slot

_ACTIVATIONS: Final[dict[str, Callable[[Tensor], Tensor]]] = {
    "gelu": F.gelu,
    "gelu_new": partial(F.gelu, approximate="tanh"),
    "gelu_pytorch_tanh": partial(F.gelu, approximate="tanh"),
    "relu": F.relu,
    "silu": F.silu,
    "tanh": torch.tanh,
}


@dataclass(frozen=True)
class _Layer:
    """One block's weights; matrices have shape = (in, out), as in the file."""

    norm1: tuple[Tensor, Tensor]
    qkv: tuple[Tensor, Tensor]
    attention_out: tuple[Tensor, Tensor]
    norm2: tuple[Tensor, Tensor]
    mlp_in: tuple[Tensor, Tensor]
    mlp_out: tuple[Tensor, Tensor]


class Cache:
    """Keys and values of every layer; shape = (n_layers, 2, n_rows, n_heads, 1,024, head_width)."""

    def __init__(self, model: "GPT2") -> None:
        self._shape = (len(model.layers), 2, 0, model.n_heads, CONTEXT_TOKENS, model.head_width)
        # Zeros: what is masked out still takes part, times nothing, and nothing times NaN would be NaN.
        self.data = torch.zeros(self._shape, dtype=model.dtype, device=model.device)

    def reserve(self, n_rows: int) -> None:
        """Make room for so many rows; what is there stays."""
        have = self.data.shape[2]
        if n_rows > have:
            shape = list(self._shape)
            shape[2] = max(n_rows, 2 * have)
            grown = self.data.new_zeros(shape)
            grown[:, :, :have] = self.data
            self.data = grown

    def move(self, source: int, target: int, length: int) -> None:
        """Copy the first `length` tokens of one row over another."""
        self.data[:, :, target, :, :length] = self.data[:, :, source, :, :length]


class GPT2:
    """A decoder-only transformer that decodes rows of different lengths together."""

    def __init__(
        self, config: GPT2Config, weights: Mapping[str, Tensor], dtype: torch.dtype, device: torch.device
    ) -> None:
        """Take weights by their names in Hugging Face's `GPT2Model`, and `lm_head.weight` if the output is not tied.

        Raises:
            CheckpointError: a weight is missing, or the activation function is unknown.
        """

        def load(name: str) -> Tensor:
            if name not in weights:
                raise CheckpointError(f"the weights lack {name}")
            return weights[name].detach().to(device, dtype)

        def pair(name: str) -> tuple[Tensor, Tensor]:
            return load(f"{name}.weight"), load(f"{name}.bias")

        if config.activation_function not in _ACTIVATIONS:
            raise CheckpointError(f"unknown activation_function {config.activation_function}")
        self.config, self.dtype, self.device = config, dtype, device
        self.n_heads, self.head_width = config.n_head, config.n_embd // config.n_head
        self._activation = _ACTIVATIONS[config.activation_function]
        self._tokens, self._positions = load("wte.weight"), load("wpe.weight")
        if len(self._tokens) != VOCAB_SIZE or len(self._positions) < CONTEXT_TOKENS:
            shape = f"{len(self._tokens)} tokens and {len(self._positions)} positions"
            raise CheckpointError(f"its embeddings are of {shape}, not of {VOCAB_SIZE} and {CONTEXT_TOKENS}")
        output = self._tokens if config.tie_word_embeddings else load("lm_head.weight")
        # A copy, (in, out): a CPU multiplies a single row by it with all threads, and by the original with one.
        self._outputs = {slot: output[slot.slice].T.contiguous() for slot in SLOTS}
        self._final_norm = pair("ln_f")
        self.layers = [
            _Layer(
                norm1=pair(f"h.{index}.ln_1"),
                qkv=pair(f"h.{index}.attn.c_attn"),
                attention_out=pair(f"h.{index}.attn.c_proj"),
                norm2=pair(f"h.{index}.ln_2"),
                mlp_in=pair(f"h.{index}.mlp.c_fc"),
                mlp_out=pair(f"h.{index}.mlp.c_proj"),
            )
            for index in range(config.n_layer)
        ]

    def prefill(self, tokens: Tensor, cache: Cache, rows: Tensor, source: Tensor) -> None:
        """Fill cache rows from position 0.

        Args:
            tokens: shape = (n_distinct, n_tokens); shorter ones padded at the end with anything.
            cache: written in place.
            rows: which cache rows to fill, shape = (n_rows,).
            source: the row of `tokens` that each takes, shape = (n_rows,).
        """
        n_tokens = tokens.shape[1]

        def attend(layer: int, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
            cache.data[layer, 0, rows, :, :n_tokens] = key[source]
            cache.data[layer, 1, rows, :, :n_tokens] = value[source]
            return self._attention(layer, query, key, value, causal=True)

        self._run(self._embed(tokens, torch.arange(n_tokens, device=self.device)), len(self.layers), attend)

    def decode(self, tokens: Tensor, lengths: list[int], cache: Cache) -> Tensor:
        """Feed one token to each of the first rows of the cache.

        Args:
            tokens: shape = (n_rows,).
            lengths: how many tokens of each row the cache holds; the new one goes behind them.
            cache: written in place.

        Returns:
            final hidden states, shape = (n_rows, width).
        """
        n_rows, longest = len(lengths), max(lengths) + 1
        positions = torch.tensor(lengths, device=self.device)
        every_row = torch.arange(n_rows, device=self.device)
        mask = None
        if min(lengths) + 1 < longest:
            mask = (torch.arange(longest, device=self.device) <= positions[:, None])[:, None, None]

        def attend(layer: int, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
            keys, values = cache.data[layer, :, :n_rows]
            keys[every_row, :, positions] = key[:, :, 0]
            values[every_row, :, positions] = value[:, :, 0]
            return self._attention(layer, query, keys[:, :, :longest], values[:, :, :longest], mask)

        hidden = self._run(self._embed(tokens[:, None], positions[:, None]), len(self.layers), attend)
        return F.layer_norm(hidden[:, 0], (self.config.n_embd,), *self._final_norm, self.config.layer_norm_epsilon)

    def hidden_states(self, tokens: Tensor, depth: int) -> Tensor:
        """Hidden states after so many blocks, the last of them normalised; shape = (n_rows, n_tokens, width).

        Depth 0 is the embeddings. The same as Hugging Face's `hidden_states[depth]`.
        """
        hidden = self._embed(tokens, torch.arange(tokens.shape[1], device=self.device))
        hidden = self._run(hidden, depth, lambda *qkv: self._attention(*qkv, causal=True))
        if depth == len(self.layers):
            return F.layer_norm(hidden, (self.config.n_embd,), *self._final_norm, self.config.layer_norm_epsilon)
        return hidden

    def logits(self, hidden: Tensor, slot: Slot) -> Tensor:
        """Float32 logits of one slot's tokens; shape = (n_rows, slot.size)."""
        return (hidden @ self._outputs[slot]).float()

    def _embed(self, tokens: Tensor, positions: Tensor) -> Tensor:
        return F.embedding(tokens, self._tokens) + F.embedding(positions, self._positions)

    def _run(self, hidden: Tensor, depth: int, attend: Callable[[int, Tensor, Tensor, Tensor], Tensor]) -> Tensor:
        shape, epsilon = (self.config.n_embd,), self.config.layer_norm_epsilon
        for index, layer in enumerate(self.layers[:depth]):
            qkv = _linear(F.layer_norm(hidden, shape, *layer.norm1, epsilon), layer.qkv)
            split = qkv.view(*qkv.shape[:2], 3, self.n_heads, self.head_width)
            query, key, value = split.permute(2, 0, 3, 1, 4)
            attended = attend(index, query, key, value).transpose(1, 2).flatten(2)
            hidden = hidden + _linear(attended, layer.attention_out)
            inner = self._activation(_linear(F.layer_norm(hidden, shape, *layer.norm2, epsilon), layer.mlp_in))
            hidden = hidden + _linear(inner, layer.mlp_out)
        return hidden

    def _attention(
        self, layer: int, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None, *, causal: bool = False
    ) -> Tensor:
        """Scaled dot-product attention, with the scale and precision that the config asks for."""
        scale = 1 / math.sqrt(self.head_width) if self.config.scale_attn_weights else 1.0
        if self.config.scale_attn_by_inverse_layer_idx:
            scale /= layer + 1
        if self.config.reorder_and_upcast_attn:
            query, key, value = query.float(), key.float(), value.float()
        attended = F.scaled_dot_product_attention(query, key, value, mask, is_causal=causal, scale=scale)
        return attended.to(self.dtype)


def _linear(x: Tensor, weights: tuple[Tensor, Tensor]) -> Tensor:
    """X times the matrix, plus the bias; shape = (n_rows, n_tokens, out)."""
    matrix, bias = weights
    return (x @ matrix).add_(bias)
