"""Describe a GPT-2 checkpoint as its config.json does."""

from pydantic import BaseModel


class Config(BaseModel, frozen=True):
    """Hold the fields that decoding depends on, with the names and defaults of transformers' `GPT2Config`.

    That class would do, but importing it takes a quarter of the service's start. Tests hold the two together.
    """

    model_type: str = "gpt2"
    vocab_size: int = 50_257
    n_positions: int = 1_024
    n_embd: int = 768
    n_layer: int = 12
    n_head: int = 12
    activation_function: str = "gelu_new"
    layer_norm_epsilon: float = 1e-5
    scale_attn_weights: bool = True
    scale_attn_by_inverse_layer_idx: bool = False
    reorder_and_upcast_attn: bool = False
    tie_word_embeddings: bool = True
