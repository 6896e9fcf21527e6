"""What a Hugging Face GPT-2 checkpoint says of itself in config.json."""

from pydantic import BaseModel


class Configuration(BaseModel, frozen=True):
    """The fields that decoding depends on, with the names and defaults of transformers' `GPT2Config`.

    That class would do, but to import it takes a quarter of the service's time to start. Tests hold the two together.
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
