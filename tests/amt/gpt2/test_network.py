from collections.abc import Iterator
from typing import Any

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from amt.decoding.model import build_model, load_config, load_model
from amt.errors import CheckpointError
from amt.gpt2.checkpoint import read_weights
from amt.gpt2.config import Config
from amt.gpt2.linear import INT4
from amt.gpt2.network import GPT2, rounded_length
from amt.tokens.vocab import AUTOREGRESS, CONTEXT_TOKENS, ONSET, SLOTS, VOCAB_SIZE
from tests.conftest import GOLDEN

FLAGS: list[dict[str, Any]] = [
    {},
    {"scale_attn_by_inverse_layer_idx": True, "reorder_and_upcast_attn": True},
    {"scale_attn_weights": False},
    {"activation_function": "relu", "n_inner": 40},
    {"activation_function": "gelu_pytorch_tanh", "tie_word_embeddings": False},
    {"layer_norm_epsilon": 1e-3},
]


@pytest.fixture
def usual_threads() -> Iterator[None]:
    """Give PyTorch back the threads that it had."""
    n_threads = torch.get_num_threads()
    yield
    torch.set_num_threads(n_threads)


def random_model(**flags: Any) -> GPT2LMHeadModel:
    torch.manual_seed(0)
    config = GPT2Config(
        vocab_size=VOCAB_SIZE, n_embd=24, n_layer=3, n_head=3, initializer_range=0.3, bos_token_id=None,
        eos_token_id=None, **flags,
    )  # fmt: skip
    return GPT2LMHeadModel(config).eval()


def our_model(model: GPT2LMHeadModel, dtype: torch.dtype = torch.float32) -> GPT2:
    weights = {name.removeprefix("transformer."): tensor for name, tensor in model.state_dict().items()}
    config = Config.model_validate(model.config.to_dict())
    return build_model(config, weights, dtype, torch.device("cpu"))


def tokens_like_events(n_events: int, seed: int = 0) -> list[int]:
    generator = torch.Generator().manual_seed(seed)
    return [AUTOREGRESS] + [
        slot.offset + int(torch.randint(slot.size, (1,), generator=generator))
        for _ in range(n_events)
        for slot in SLOTS
    ]


def decode_all(model: GPT2, tokens: list[int], prefilled: int) -> list[torch.Tensor]:
    """Return the final hidden states after each token from `prefilled` on."""
    cache = model.new_cache()
    cache.reserve(1)
    if prefilled:
        model.prefill(torch.tensor([tokens[:prefilled]]), cache, torch.tensor([0]), torch.tensor([0]))
    return [
        model.decode(torch.tensor([token]), index, rounded_length(index + 1), cache)
        for index, token in enumerate(tokens[prefilled:], start=prefilled)
    ]


@pytest.mark.parametrize("flags", FLAGS, ids=str)
def test_cached_decoding_gives_the_logits_of_hugging_face(flags: dict[str, Any]) -> None:
    hf = random_model(**flags)
    tokens = tokens_like_events(7)
    with torch.no_grad():
        expected = hf(torch.tensor([tokens])).logits[0]
    model = our_model(hf)
    for index, hidden in enumerate(decode_all(model, tokens, prefilled=0)):
        for slot in SLOTS:
            torch.testing.assert_close(
                model.logits(hidden, SLOTS.index(slot))[0], expected[index, slot.slice], atol=2e-5, rtol=2e-5
            )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("wpe.weight", (1_024, 23)), ("ln_f.bias", (5,)), ("h.1.ln_1.weight", (5,)), ("h.1.attn.c_attn.bias", (10,)),
        ("h.0.attn.c_proj.weight", (24, 7)), ("h.0.mlp.c_fc.bias", (4,)), ("h.2.mlp.c_proj.weight", (96, 7)),
        ("h.2.mlp.c_fc.weight", (24,)),
    ],
)  # fmt: skip
def test_a_weight_of_the_wrong_shape_is_refused_by_name(name: str, shape: tuple[int, ...], dtype: torch.dtype) -> None:
    model = random_model()
    weights = {name.removeprefix("transformer."): tensor for name, tensor in model.state_dict().items()}
    weights[name] = torch.zeros(shape)
    with pytest.raises(CheckpointError, match=f"{name} is {' x '.join(map(str, shape))}, not "):
        build_model(Config.model_validate(model.config.to_dict()), weights, dtype, torch.device("cpu"))


def test_a_width_that_is_not_a_multiple_of_the_heads_is_refused() -> None:
    model = random_model()
    config = Config.model_validate(model.config.to_dict() | {"n_head": 5})
    with pytest.raises(CheckpointError, match="5 heads cannot share a width of 24"):
        build_model(config, model.transformer.state_dict(), torch.float32, torch.device("cpu"))


def test_prefilling_and_decoding_give_the_same_hidden_states(gpt2: GPT2) -> None:
    tokens = tokens_like_events(20)
    decoded, prefilled = (decode_all(gpt2, tokens, prefilled=n)[-1] for n in (0, len(tokens) - 1))
    torch.testing.assert_close(decoded, prefilled, atol=1e-5, rtol=1e-5)


@pytest.mark.usefixtures("usual_threads")
@pytest.mark.parametrize("dtype", [torch.int8, torch.bfloat16, INT4], ids=str)
@pytest.mark.parametrize(("activation", "n_threads"), [("gelu_new", 1), ("relu", 1), ("gelu_new", 16)])
def test_what_is_prefilled_is_to_the_bit_what_is_decoded(dtype: torch.dtype, activation: str, n_threads: int) -> None:
    """So many tokens that a thread takes some rows at a time; that is not enough for sixteen, nor done for ReLU."""
    model, tokens = our_model(random_model(activation_function=activation), dtype), tokens_like_events(90)
    torch.set_num_threads(n_threads)
    cache = model.new_cache()
    cache.reserve(2)
    for index, token in enumerate(tokens):
        model.decode(torch.tensor([token]), index, rounded_length(index + 1), cache)
    model.prefill(torch.tensor([tokens]), cache, torch.tensor([1]), torch.tensor([0]))
    assert torch.equal(cache.data[:, :, 0], cache.data[:, :, 1])


def test_the_last_position_of_the_context_can_be_decoded(gpt2: GPT2, hf_model: GPT2LMHeadModel) -> None:
    tokens = tokens_like_events((CONTEXT_TOKENS - 1) // 3)
    assert len(tokens) == CONTEXT_TOKENS
    with torch.no_grad():
        expected = hf_model(torch.tensor([tokens]), logits_to_keep=1).logits[0, -1, SLOTS[0].slice]
    (hidden,) = decode_all(gpt2, tokens, prefilled=CONTEXT_TOKENS - 1)
    torch.testing.assert_close(gpt2.logits(hidden, 0)[0], expected, atol=2e-5, rtol=2e-5)


def test_rows_of_different_lengths_do_not_affect_each_other(gpt2: GPT2) -> None:
    rows = [tokens_like_events(n, seed=n) for n in (30, 2, 11)]
    cache = gpt2.new_cache()
    cache.reserve(3)
    padded = torch.zeros(3, max(map(len, rows)) - 1, dtype=torch.int64)
    for index, row in enumerate(rows):
        padded[index, : len(row) - 1] = torch.tensor(row[:-1])
    gpt2.prefill(padded, cache, torch.arange(3), torch.arange(3))
    cache_lengths, attention_length = torch.tensor([len(row) - 1 for row in rows]), rounded_length(max(map(len, rows)))
    together = gpt2.decode(torch.tensor([row[-1] for row in rows]), cache_lengths, attention_length, cache)
    alone = torch.cat([decode_all(gpt2, row, prefilled=len(row) - 1)[0] for row in rows])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-5)


def test_growing_and_moving_keep_the_contents_of_the_cache(gpt2: GPT2) -> None:
    tokens = tokens_like_events(9)
    (expected,) = decode_all(gpt2, tokens, prefilled=len(tokens) - 1)
    cache = gpt2.new_cache()
    cache.reserve(2)
    gpt2.prefill(torch.tensor([tokens[:-1]]), cache, torch.tensor([1]), torch.tensor([0]))
    cache.reserve(3)
    cache.move(1, 0, len(tokens) - 1)
    decoded = gpt2.decode(torch.tensor(tokens[-1:]), len(tokens) - 1, rounded_length(len(tokens)), cache)
    torch.testing.assert_close(decoded, expected)


@pytest.mark.parametrize("depth", [0, 1, 2, 3])
def test_hidden_states_match_hugging_face(depth: int, gpt2: GPT2, hf_model: GPT2LMHeadModel) -> None:
    tokens = torch.tensor([tokens_like_events(12)])
    with torch.no_grad():
        expected = hf_model(tokens, output_hidden_states=True).hidden_states[depth]
    torch.testing.assert_close(gpt2.hidden_states(tokens, depth), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("flags", FLAGS, ids=str)
@pytest.mark.parametrize(
    ("dtype", "tolerance"),
    [(torch.float16, 0.02), (torch.bfloat16, 0.02), (torch.int8, 0.04), (torch.int4, 0.2)],
)
def test_logits_of_rounded_weights_are_near_those_of_float32(
    dtype: torch.dtype, tolerance: float, flags: dict[str, Any]
) -> None:
    hf_model, tokens = random_model(**flags), tokens_like_events(12)
    small, exact = (our_model(hf_model, each) for each in (dtype, torch.float32))
    decoded = [decode_all(model, tokens, prefilled=len(tokens) - 5)[-1] for model in (small, exact)]
    logits = [model.logits(hidden, 2) for model, hidden in zip((small, exact), decoded, strict=True)]
    far_apart = 4 if "scale_attn_weights" in flags else 1  # where scores are, little makes another key the nearest
    assert (logits[0] - logits[1]).norm() < far_apart * tolerance * logits[1].norm()


@pytest.mark.usefixtures("usual_threads")
@pytest.mark.parametrize("dtype", [torch.float16, torch.int8])
def test_a_window_is_cached_to_the_bit_alike_beside_others_and_with_any_number_of_threads(dtype: torch.dtype) -> None:
    model = load_model(GOLDEN / "model", dtype, torch.device("cpu"))
    tokens = torch.randint(0, ONSET.size, (5, 190), generator=torch.Generator().manual_seed(0))

    def cached(rows: list[int]) -> torch.Tensor:
        cache = model.new_cache()
        cache.reserve(len(rows))
        model.prefill(tokens[rows], cache, torch.arange(len(rows)), torch.arange(len(rows)))
        return cache.data

    alone = torch.cat([cached([row]) for row in range(len(tokens))], dim=2)
    for n_threads in (1, 2, 3):
        torch.set_num_threads(n_threads)
        assert torch.equal(cached(list(range(len(tokens)))), alone)


@pytest.mark.usefixtures("usual_threads")
@pytest.mark.parametrize("activation", ["gelu_new", pytest.param("relu", marks=pytest.mark.slow)])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.int8, torch.int4])
def test_logits_of_a_row_are_equal_to_the_bit_in_any_batch_and_number_of_threads(
    dtype: torch.dtype, activation: str
) -> None:
    folder = GOLDEN / "model"
    config = load_config(folder).model_copy(update={"activation_function": activation})
    model = build_model(config, read_weights(folder), dtype, torch.device("cpu"))
    tokens = torch.randint(0, ONSET.size, (7, 700), generator=torch.Generator().manual_seed(0))
    lengths = [100, 1, 640, 64, 320, 99, 101]

    def states(rows: list[int]) -> torch.Tensor:
        cache = model.new_cache()
        cache.reserve(len(rows))
        for place, row in enumerate(rows):
            model.prefill(tokens[row : row + 1, :640], cache, torch.tensor([place]), torch.tensor([0]))
        hidden = model.decode(tokens[rows, 640], torch.tensor([lengths[row] for row in rows]), 704, cache)
        return torch.cat([model.logits(hidden, SLOTS.index(slot)) for slot in SLOTS], dim=1)

    alone = torch.cat([states([row]) for row in range(7)])
    for n_rows in range(1, 8):
        torch.set_num_threads(1 + n_rows % 3)
        assert torch.equal(states(list(range(n_rows))), alone[:n_rows])
