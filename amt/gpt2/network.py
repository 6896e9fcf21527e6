"""Run GPT-2 with a key/value cache that is written in place, and an output matrix multiplied range by range.

The weights are those of a Hugging Face `GPT2LMHeadModel`, whose plain forward pass this one is held against in tests.
Source: Radford et al. 2019; the configuration's flags mean what they mean in transformers.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property, partial
from typing import TYPE_CHECKING, Final

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from amt.errors import CheckpointError
from amt.gpt2 import attention
from amt.gpt2.cache import Cache
from amt.gpt2.config import Config
from amt.gpt2.gpu.decoder import GpuDecoder, has_triton
from amt.gpt2.linear import WHOLE, OutputRange, arithmetic_dtype, is_reproducible
from amt.gpt2.weights import BlockWeights, Norm, Source

if TYPE_CHECKING:
    from amt.gpt2.cpu.decoder import CpuDecoder

LENGTH_MULTIPLE: Final = 64
"""Lengths are rounded up to this, so that the arithmetic of a row is the same beside longer ones."""

_Attend = Callable[[int, Tensor], Tensor]
"""Takes a layer's index, and queries, keys and values, shape = (n, 3 * width); returns shape = (n, width)."""

_ACTIVATIONS: Final[dict[str, Callable[[Tensor], Tensor]]] = {
    "gelu": F.gelu,
    "gelu_new": partial(F.gelu, approximate="tanh"),
    "gelu_pytorch_tanh": partial(F.gelu, approximate="tanh"),
    "relu": F.relu,
    "silu": F.silu,
    "tanh": torch.tanh,
}

_APPROXIMATE_GELU: Final = ("gelu_new", "gelu_pytorch_tanh")


class GPT2:
    """Decode rows of different lengths together with a decoder-only transformer.

    Attributes:
        is_reproducible: whether in `decode` a row's result is the same, to the bit, however many other rows and threads
            there are; elsewhere last digits may differ.
    """

    def __init__(
        self,
        config: Config,
        weights: Mapping[str, Tensor],
        dtype: torch.dtype,
        device: torch.device,
        *,
        output_ranges: Sequence[slice],
        context_tokens: int,
    ) -> None:
        """Take the weights to a device.

        Args:
            config: of the checkpoint.
            weights: by their names in Hugging Face's `GPT2Model`, and `lm_head.weight` if the output is not tied.
            dtype: the weights' precision, see `amt.gpt2.linear`; on a CPU keys and values are kept in eight bits unless
                it is float32.
            device: where everything is computed.
            output_ranges: tokens whose logits are wanted together, see `logits`.
            context_tokens: how many tokens a row of the cache holds.

        Raises:
            CheckpointError: a weight is missing or misshapen, or the activation function is unknown.
        """
        self.config, self.device, self.context_tokens = config, device, context_tokens
        if device.type == "cuda":  # it plans each new shape for tens of milliseconds, while a request waits
            torch.backends.cuda.enable_cudnn_sdp(False)
        self.dtype = arithmetic_dtype(dtype, device)
        self.is_reproducible = is_reproducible(dtype, device)
        self._is_compiled = device.type == "cpu" and dtype is not torch.float32

        if config.n_embd % config.n_head:
            raise CheckpointError(f"{config.n_head} heads cannot share a width of {config.n_embd}")
        self.n_heads, self.head_width = config.n_head, config.n_embd // config.n_head
        if config.activation_function not in _ACTIVATIONS:
            raise CheckpointError(f"unknown activation_function {config.activation_function}")
        self._activation = _ACTIVATIONS[config.activation_function]
        self._width, self._epsilon = (config.n_embd,), config.layer_norm_epsilon
        # On CUDA attention sums products in float32 anyway; to convert a whole cache would read it twice more.
        self._upcast = config.reorder_and_upcast_attn and device.type != "cuda"
        scale = 1 / math.sqrt(self.head_width) if config.scale_attn_weights else 1.0
        by_layer = config.scale_attn_by_inverse_layer_idx
        self._scales = [scale / (layer + 1 if by_layer else 1) for layer in range(config.n_layer)]
        self._take(Source(weights, dtype, device), output_ranges)
        self._cpu_decoder = self._compile() if self._is_compiled else None
        self._gpu_decoder = self._fuse() if not self._is_compiled and has_triton(device) else None

    def _take(self, source: Source, output_ranges: Sequence[slice]) -> None:
        """Take all weights of a checkpoint to the device."""
        config, width = self.config, self.config.n_embd
        precision = torch.float16 if source.dtype in WHOLE else source.dtype
        self._tokens = source.tensor("wte.weight", None, width).to(source.device, precision)
        self._positions = source.copied("wpe.weight", None, width)
        if len(self._tokens) != config.vocab_size or len(self._positions) < self.context_tokens:
            shape = f"{len(self._tokens)} tokens and {len(self._positions)} positions"
            wanted = f"{config.vocab_size} and {self.context_tokens}"
            raise CheckpointError(f"its embeddings are of {shape}, not of {wanted}")
        name = "wte.weight" if config.tie_word_embeddings else "lm_head.weight"
        output = source.tensor(name, len(self._tokens), width)
        careful = source.at_least_int8()
        self._outputs = [OutputRange(output[tokens], careful.dtype, source.device) for tokens in output_ranges]
        self._final_norm = source.norm("ln_f", width)
        sources = [careful, *[source] * (config.n_layer - 1)]
        self.blocks = [each.block(f"h.{index}", width) for index, each in enumerate(sources)]

    def _compile(self) -> "CpuDecoder":
        from amt.gpt2.cpu.decoder import CpuDecoder  # which is for CPUs alone

        return CpuDecoder(
            self.blocks, self._final_norm, self.n_heads, self._scales, self._epsilon, self._other_activation
        )

    def _fuse(self) -> GpuDecoder | None:
        embeddings = self._tokens, self._positions
        decoder = GpuDecoder(
            embeddings, self.blocks, self._final_norm, self._scales, self._epsilon, self._other_activation
        )
        is_sure = self.device.type == "cpu" or decoder.can_decode(self.n_heads, self.head_width)
        return decoder if is_sure else None

    @property
    def _other_activation(self) -> Callable[[Tensor], Tensor] | None:
        """The activation function; None for the approximate GELU, for which there are kernels."""
        return None if self.config.activation_function in _APPROXIMATE_GELU else self._activation

    @property
    def is_fused(self) -> bool:
        """Whether what lies between matrices is compiled; then attention reads each row just as far as it goes."""
        return self._cpu_decoder is not None or self._gpu_decoder is not None

    @cached_property
    def _masks(self) -> Tensor:
        """Row `end` hides what lies behind it; shape = (context_tokens,) * 2. The compiled kernel needs none."""
        masks = torch.full((self.context_tokens,) * 2, -torch.inf, device=self.device).triu_(1)
        return masks if self._upcast else masks.to(self.dtype)

    @property
    def row_bytes(self) -> int:
        """Bytes of a cache row in all layers."""
        return self.new_cache().row_bytes

    @property
    def weight_bytes(self) -> int:
        """Bytes of memory that the weights take, about."""
        embeddings = self._tokens.nbytes + self._positions.nbytes
        outputs = sum(output.n_bytes for output in self._outputs)
        return embeddings + outputs + sum(block.n_bytes for block in self.blocks)

    def new_cache(self, max_rows: int | None = None) -> Cache:
        """Return a cache without rows, see `Cache`."""
        row_shape = self.n_heads, self.context_tokens, self.head_width
        if self._is_compiled:
            from amt.gpt2.cpu.cache import RoundedCache  # which is for CPUs alone

            return RoundedCache(len(self.blocks), row_shape, max_rows)
        return Cache(len(self.blocks), row_shape, self.dtype, self.device, max_rows)

    def prefill(self, tokens: Tensor, cache: Cache, rows: Tensor, source: Tensor) -> None:
        """Fill cache rows from position 0.

        Args:
            tokens: shape = (n_distinct, n_tokens); shorter ones padded at the end with anything. How far must
                depend on nothing but themselves, or the last digits will depend on their neighbours.
            cache: written in place.
            rows: which cache rows to fill, shape = (n_rows,).
            source: the row of `tokens` that each takes, shape = (n_rows,).
        """

        def store(layer: int, qkv: Tensor) -> None:
            cache.store(layer, rows, self._split(qkv, tokens.shape)[source, :, 1:])

        def attend(layer: int, qkv: Tensor) -> Tensor:
            store(layer, qkv)
            return self._attend_causally(layer, qkv, tokens.shape)

        # Of the last block only keys and values are wanted.
        *blocks, last = self.blocks
        embedded = self._embed_windows(tokens)
        if self._cpu_decoder is not None:
            store(len(blocks), self._cpu_decoder.encode_to_last(embedded, attend))
        else:
            store(len(blocks), self._project(self._run(embedded, blocks, attend), last))

    def decode(self, tokens: Tensor, cache_lengths: int | Tensor, attention_length: int, cache: Cache) -> Tensor:
        """Feed one token to each of the first rows of the cache.

        Args:
            tokens: shape = (n_rows,).
            cache_lengths: how many tokens the cache holds of all rows, or of each, shape = (n_rows,); the new token
                goes there.
            attention_length: how far PyTorch's attention looks, see `rounded_length`; beyond all lengths.
            cache: written in place.

        Returns:
            final hidden states, shape = (n_rows, width).
        """
        if self._gpu_decoder is not None:
            if isinstance(cache_lengths, int):
                cache_lengths = torch.full_like(tokens, cache_lengths)
            return self._gpu_decoder.decode(tokens, cache_lengths, cache.data)
        if isinstance(cache_lengths, int):
            positions = self._positions[cache_lengths]
        else:
            positions = F.embedding(cache_lengths, self._positions)
        embedded = self._embed(tokens) + positions
        if self._cpu_decoder is not None:
            lengths = np.full(len(tokens), cache_lengths) if isinstance(cache_lengths, int) else cache_lengths.numpy()
            return self._cpu_decoder.decode(embedded, lengths, cache.data.numpy())
        attend = self._attend_to_cache(len(tokens), cache_lengths, attention_length, cache)
        return self._normalised(self._run(embedded, self.blocks, attend), self._final_norm)

    def hidden_states(self, tokens: Tensor, depth: int) -> Tensor:
        """Return hidden states after `depth` blocks, the last of them normalised; shape = (n_rows, n_tokens, width).

        Depth 0 is the embeddings. The same as Hugging Face's `hidden_states[depth]`.
        """
        attend = partial(self._attend_causally, shape=tokens.shape)
        hidden = self._run(self._embed_windows(tokens), self.blocks[:depth], attend)
        if depth == len(self.blocks):
            hidden = self._normalised(hidden, self._final_norm)
        return hidden.view(*tokens.shape, -1)

    def logits(self, hidden: Tensor, output: int) -> Tensor:
        """Return float32 logits of the tokens in one of the output ranges; shape = (n_rows, n_tokens)."""
        return self._outputs[output].logits(hidden)

    def _embed(self, tokens: Tensor) -> Tensor:
        return F.embedding(tokens, self._tokens).to(self.dtype)

    def _embed_windows(self, tokens: Tensor) -> Tensor:
        """Embed tokens from position 0 on; shape = (n_rows * n_tokens, width)."""
        return (self._embed(tokens) + self._positions[: tokens.shape[1]]).flatten(0, 1)

    def _run(self, hidden: Tensor, blocks: Sequence[BlockWeights], attend: _Attend) -> Tensor:
        """Run the first blocks; hidden and the result have shape = (n, width), queries to values (n, 3 * width)."""
        if self._cpu_decoder is not None:
            return self._cpu_decoder.encode(hidden, len(blocks), attend)
        for index, block in enumerate(blocks):
            hidden = block.attention_out(attend(index, self._project(hidden, block))).add_(hidden)
            inner = self._activation(block.mlp_in(self._normalised(hidden, block.norm2)))
            hidden = block.mlp_out(inner).add_(hidden)
        return hidden

    def _project(self, hidden: Tensor, block: BlockWeights) -> Tensor:
        """Return queries, keys and values of a block; shape = (n, 3 * width)."""
        return block.qkv(self._normalised(hidden, block.norm1))

    def _normalised(self, hidden: Tensor, norm: Norm) -> Tensor:
        return torch.layer_norm(hidden, self._width, *norm, self._epsilon)

    def _split(self, qkv: Tensor, shape: torch.Size) -> Tensor:
        """Return a view of shape = (n_rows, n_tokens, 3, n_heads, head_width)."""
        return qkv.view(*shape, 3, self.n_heads, self.head_width)

    def _attend_causally(self, layer: int, qkv: Tensor, shape: torch.Size) -> Tensor:
        """Attend within whole windows; PyTorch does it in the precision that the config asks for."""
        if self._cpu_decoder is not None:
            return self._cpu_decoder.attend(layer, qkv, shape[1])
        query, key, value = self._split(qkv, shape).permute(2, 0, 3, 1, 4)
        if self._upcast:
            query, key, value = query.float(), key.float(), value.float()
        attended = F.scaled_dot_product_attention(query, key, value, is_causal=True, scale=self._scales[layer])
        return attended.to(self.dtype).transpose(1, 2).reshape(shape.numel(), -1)

    def _attend_to_cache(
        self, n_rows: int, cache_lengths: int | Tensor, attention_length: int, cache: Cache
    ) -> _Attend:
        """Return what stores one token's keys and values in each row and attends to all that are there."""
        # In turn the keys and the values of each layer, as far as any row reaches.
        window = cache.data.flatten(0, 1)[:, :n_rows, :, :attention_length].unbind()
        # Of shape = (n_layers, n_rows, context_tokens, 2, n_heads, head_width).
        by_row = cache.data.permute(0, 2, 4, 1, 3, 5)[:, :n_rows]
        if isinstance(cache_lengths, int):
            targets, index = by_row[:, :, cache_lengths].unbind(), None
            mask = self._masks[cache_lengths, None, None, :attention_length]
        else:
            targets, index = by_row.unbind(), (torch.arange(n_rows, device=self.device), cache_lengths)
            mask = self._masks[cache_lengths, None, :attention_length].repeat_interleave(self.n_heads, dim=0)
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


def rounded_length(n_tokens: int) -> int:
    """Round a length up to a multiple of `LENGTH_MULTIPLE`."""
    return -(-n_tokens // LENGTH_MULTIPLE) * LENGTH_MULTIPLE
