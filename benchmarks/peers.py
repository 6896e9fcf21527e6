"""Measure what others take for the same network: llama.cpp and CTranslate2; on a CPU.

    CMAKE_ARGS=-DGGML_NATIVE=ON uv run --group peers python -m benchmarks.decode --peers
    CMAKE_ARGS=-DGGML_NATIVE=ON uv run --group peers python -m benchmarks.report --only peers

That builds llama.cpp from source, for this CPU. Version 0.3.36 crashes where it multiplies several rows by quantized
weights with AMX: on such a CPU it has to be built without.

Both get the measured checkpoint, written in their formats, and decode greedily with as many threads as PyTorch uses.
They choose each token from the whole vocabulary; constraints, steering and sampling, which our times hold, are not
in theirs.
"""

import ctypes
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import ctranslate2
import gguf
import llama_cpp
import numpy as np
import torch
from ctranslate2.specs import Activation, TransformerDecoderModelSpec
from numpy.typing import NDArray

from amt.decoding.model import load_config, load_model
from amt.gpt2.checkpoint import read_weights
from amt.gpt2.config import Config
from amt.gpt2.linear import INT4
from amt.tokens.vocab import AUTOREGRESS, CONTEXT_TOKENS, EVENT_TOKENS, VOCAB_SIZE
from benchmarks.begun import Begun
from benchmarks.markdown import table
from benchmarks.precision import name_of
from benchmarks.timing import seconds

Weights = Mapping[str, NDArray[np.float32]]

OUR_DTYPES = (torch.float16, torch.int8, INT4)

LLAMA_KINDS = ("F16", "Q8_0", "Q4_0")

LLAMA_NAMES = {
    "attn_norm": "ln_1", "attn_qkv": "attn.c_attn", "attn_output": "attn.c_proj",
    "ffn_norm": "ln_2", "ffn_up": "mlp.c_fc", "ffn_down": "mlp.c_proj",
}  # fmt: skip


@dataclass(frozen=True)
class Row:
    """Hold what an engine takes for an event of each of some rows decoded together, divided by the rows."""

    engine: str
    rows: int
    ms_per_event: float


def measure_ours(folder: Path, rows: Sequence[int], n_events: int) -> Iterator[Row]:
    """Measure our decoder likewise."""
    for dtype in OUR_DTYPES:
        model = load_model(folder, dtype, torch.device("cpu"))
        Begun.of(model, 1, 0).decode(1)
        for n_rows in rows:
            took = seconds(partial(Begun.of(model, n_rows, 0).decode, n_events))
            yield Row(f"ours {name_of(dtype)}", n_rows, 1e3 * took / n_rows / n_events)


def measure(folder: Path, rows: Sequence[int], n_events: int) -> Iterator[Row]:
    """Measure each peer on a checkpoint, in these numbers of rows."""
    config = load_config(folder)
    weights = {name: weight.float().numpy() for name, weight in read_weights(folder).items()}
    n_tokens = EVENT_TOKENS * n_events
    with tempfile.TemporaryDirectory() as temporary:
        for kind in LLAMA_KINDS:
            path = Path(temporary) / f"{kind}.gguf"
            write_gguf(path, config, weights, gguf.GGMLQuantizationType[kind])
            for n_rows in rows:
                took = llama_seconds(path, n_rows, n_tokens)
                yield Row(f"llama.cpp {llama_cpp.__version__} {kind}", n_rows, 1e3 * took / n_rows / n_events)
        write_ctranslate2(Path(temporary), config, weights)
        generator = ctranslate2.Generator(temporary, intra_threads=torch.get_num_threads(), compute_type="int8")
        for n_rows in rows:
            took = ctranslate2_seconds(generator, n_rows, n_tokens)
            yield Row(f"CTranslate2 {ctranslate2.__version__} int8", n_rows, 1e3 * took / n_rows / n_events)


def write_gguf(path: Path, config: Config, weights: Weights, kind: gguf.GGMLQuantizationType) -> None:
    """Write a checkpoint as llama.cpp reads it: matrices of a kind, and no tokenizer."""
    writer = gguf.GGUFWriter(path, "gpt2")
    writer.add_context_length(CONTEXT_TOKENS)
    writer.add_embedding_length(config.n_embd)
    writer.add_block_count(config.n_layer)
    writer.add_feed_forward_length(weights["h.0.mlp.c_fc.weight"].shape[1])
    writer.add_head_count(config.n_head)
    writer.add_layer_norm_eps(config.layer_norm_epsilon)
    writer.add_tokenizer_model("none")
    writer.add_vocab_size(VOCAB_SIZE)

    def add(name: str, weight: NDArray[np.float32], own_kind: gguf.GGMLQuantizationType = kind) -> None:
        matrix = np.ascontiguousarray(weight)
        writer.add_tensor(name, gguf.quants.quantize(matrix, own_kind), raw_dtype=own_kind)

    exact = gguf.GGMLQuantizationType.F32
    add("token_embd.weight", weights["wte.weight"])
    add("position_embd.weight", weights["wpe.weight"], exact)
    add("output.weight", weights.get("lm_head.weight", weights["wte.weight"]))
    names = {
        f"blk.{i}.{theirs}": f"h.{i}.{ours}" for i in range(config.n_layer) for theirs, ours in LLAMA_NAMES.items()
    }
    for theirs, ours in {"output_norm": "ln_f", **names}.items():
        weight = weights[f"{ours}.weight"]
        add(f"{theirs}.weight", weight.T, kind if weight.ndim == 2 else exact)
        add(f"{theirs}.bias", weights[f"{ours}.bias"], exact)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def llama_seconds(path: Path, n_rows: int, n_tokens: int) -> float:
    """Return what llama.cpp takes for `n_tokens` of each of some sequences, decoded together."""
    llama_cpp.llama_log_set(_silent, ctypes.c_void_p(0))
    model = llama_cpp.llama_model_load_from_file(str(path).encode(), llama_cpp.llama_model_default_params())
    params = llama_cpp.llama_context_default_params()
    params.n_ctx, params.n_batch, params.n_seq_max = n_rows * CONTEXT_TOKENS, max(n_rows, 32), n_rows
    params.n_threads = params.n_threads_batch = torch.get_num_threads()
    context = llama_cpp.llama_init_from_model(model, params)
    batch = llama_cpp.llama_batch_init(n_rows, 0, 1)

    def decode(first: int, end: int) -> None:
        tokens = [AUTOREGRESS] * n_rows
        for position in range(first, end):
            _fill(batch, tokens, position)
            if llama_cpp.llama_decode(context, batch):
                raise RuntimeError("llama.cpp could not decode a batch")
            logits = (llama_cpp.llama_get_logits_ith(context, row) for row in range(n_rows))
            tokens = [int(np.ctypeslib.as_array(each, (VOCAB_SIZE,)).argmax()) for each in logits]

    decode(0, 1)
    took = seconds(lambda: decode(1, n_tokens))
    llama_cpp.llama_batch_free(batch)
    llama_cpp.llama_free(context)
    llama_cpp.llama_model_free(model)
    return took


@llama_cpp.llama_log_callback
def _silent(level: int, text: bytes, data: Any) -> None:
    pass


def _fill(batch: Any, tokens: Sequence[int], position: int) -> None:
    """Put a token of each sequence into a batch."""
    batch.n_tokens = len(tokens)
    for row, token in enumerate(tokens):
        batch.token[row], batch.pos[row] = token, position
        batch.n_seq_id[row], batch.seq_id[row][0], batch.logits[row] = 1, row, True


def write_ctranslate2(folder: Path, config: Config, weights: Weights) -> None:
    """Write a checkpoint as CTranslate2 reads it; tokens are their numbers."""
    spec = TransformerDecoderModelSpec.from_config(config.n_layer, config.n_head, activation=Activation.GELUTanh)
    decoder = spec.decoder

    def set_norm(norm: Any, name: str) -> None:
        norm.gamma, norm.beta = weights[f"{name}.weight"], weights[f"{name}.bias"]

    def set_linear(linear: Any, name: str) -> None:
        linear.weight, linear.bias = np.ascontiguousarray(weights[f"{name}.weight"].T), weights[f"{name}.bias"]

    decoder.scale_embeddings = False
    decoder.embeddings.weight = weights["wte.weight"]
    decoder.position_encodings.encodings = weights["wpe.weight"]
    decoder.projection.weight = weights.get("lm_head.weight", weights["wte.weight"])
    set_norm(decoder.layer_norm, "ln_f")
    for index, layer in enumerate(decoder.layer):
        set_norm(layer.self_attention.layer_norm, f"h.{index}.ln_1")
        set_linear(layer.self_attention.linear[0], f"h.{index}.attn.c_attn")
        set_linear(layer.self_attention.linear[1], f"h.{index}.attn.c_proj")
        set_norm(layer.ffn.layer_norm, f"h.{index}.ln_2")
        set_linear(layer.ffn.linear_0, f"h.{index}.mlp.c_fc")
        set_linear(layer.ffn.linear_1, f"h.{index}.mlp.c_proj")
    spec.register_vocabulary([str(token) for token in range(VOCAB_SIZE)])
    spec.config.bos_token = spec.config.eos_token = spec.config.unk_token = str(AUTOREGRESS)
    spec.validate()
    spec.optimize(quantization="int8")
    spec.save(str(folder))


def ctranslate2_seconds(generator: ctranslate2.Generator, n_rows: int, n_tokens: int) -> float:
    """Return what CTranslate2 takes for `n_tokens` of each of some sequences, decoded together."""

    def generate(length: int) -> None:
        starts = [[str(AUTOREGRESS)]] * n_rows
        generator.generate_batch(starts, min_length=length, max_length=length, sampling_topk=1, max_batch_size=n_rows)

    generate(1)
    return seconds(lambda: generate(n_tokens))


def markdown(measured: Sequence[Row]) -> str:
    """Return the table."""
    return table(
        ("engine", "rows", "ms/event"), ((row.engine, row.rows, f"{row.ms_per_event:.1f}") for row in measured)
    )
