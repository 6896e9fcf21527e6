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
    n_inner: int | None = None
    activation_function: str = "gelu_new"
    layer_norm_epsilon: float = 1e-5
    scale_attn_weights: bool = True
    scale_attn_by_inverse_layer_idx: bool = False
    reorder_and_upcast_attn: bool = False
    tie_word_embeddings: bool = True

    @property
    def n_parameters(self) -> int:
        """How many numbers the model has learnt; those of a tied output matrix count once."""
        width, inner = self.n_embd, self.n_inner or 4 * self.n_embd
        attention = width * 3 * width + 3 * width + width * width + width
        mlp = width * inner + inner + inner * width + width
        norm = 2 * width
        embeddings = (self.vocab_size + self.n_positions) * width
        output = 0 if self.tie_word_embeddings else self.vocab_size * width
        return embeddings + self.n_layer * (2 * norm + attention + mlp) + norm + output
