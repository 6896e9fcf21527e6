"""The whole service with long, large and odd requests: slow, and through the Python client.

It starts a server of its own, or uses the one that `ANTICIPATORY_URL` names.
"""

import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from amt.midi import codec
from client import AnticipatoryClient, InvalidRequest
from tests.conftest import GOLDEN, Service

pytestmark = pytest.mark.slow

FILES = sorted((GOLDEN / "midi").glob("*.mid"))


@pytest.fixture(scope="module")
def url(request: pytest.FixtureRequest) -> str:
    if "ANTICIPATORY_URL" in os.environ:
        return os.environ["ANTICIPATORY_URL"]
    service: Service = request.getfixturevalue("service")
    return service.url


@pytest.fixture
def client(url: str) -> Iterator[AnticipatoryClient]:
    with AnticipatoryClient(url) as client:
        yield client


def test_two_minutes_of_music_have_notes_near_the_end(client: AnticipatoryClient) -> None:
    (variation,) = client.generate(length_seconds=120)["variations"]
    onsets = [note.onset for note in codec.read_notes(variation["midi_bytes"])]
    assert len(onsets) == variation["num_events"]
    for start in range(0, 12_000, 2_000):
        assert any(start <= onset < start + 2_000 for onset in onsets)


def test_five_variations_differ(client: AnticipatoryClient) -> None:
    variations = client.generate(length_seconds=20, num_variations=5)["variations"]
    assert len({variation["midi_bytes"] for variation in variations}) == 5


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_minute_of_prime_comes_back_note_for_note(path: Path, client: AnticipatoryClient) -> None:
    data = path.read_bytes()
    whole = codec.read_notes(data)
    prime = sorted(note for note in whole if note.onset < 6_000)
    result = client.continue_midi(data, prime_seconds=60, length_seconds=5)
    (variation,) = result["variations"]
    start = min(6_000, max(note.onset + note.duration for note in whole))
    notes = sorted(codec.read_notes(variation["midi_bytes"]))
    assert notes[: len(prime)] == prime
    new = notes[len(prime) :]
    assert all(start <= note.onset < start + 500 for note in new)
    assert all(note.onset + note.duration <= start + 500 for note in new)
    assert variation["duration_seconds"] == pytest.approx(start / 100 + 5)


def test_embeddings_of_one_file_are_the_same_twice(client: AnticipatoryClient) -> None:
    data = FILES[0].read_bytes()
    assert client.embed(data)["embedding"] == client.embed(data)["embedding"]


def test_hundreds_of_damaged_files_are_each_answered(client: AnticipatoryClient) -> None:
    rng = random.Random(1)
    answered = refused = 0
    for _ in range(400):
        data = bytearray(rng.choice(FILES).read_bytes()[:5_000])
        for _ in range(rng.randrange(1, 40)):
            data[rng.randrange(len(data))] = rng.randrange(256)
        if rng.random() < 0.5:
            del data[rng.randrange(len(data)) :]
        try:
            if rng.random() < 0.9:
                client.embed(bytes(data))
            else:
                client.continue_midi(bytes(data), prime_seconds=2, length_seconds=1)
            answered += 1
        except InvalidRequest:
            refused += 1
    assert answered > 50
    assert refused > 50


def test_a_checkpoint_of_smalls_shape_embeds_in_768_dimensions(tmp_path: Path) -> None:
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel

    config = GPT2Config(vocab_size=55_028, n_layer=12, n_embd=768, n_head=12, bos_token_id=None, eos_token_id=None)
    GPT2LMHeadModel(config).to(torch.bfloat16).save_pretrained(tmp_path)
    own = Service("--default-model", "small", ANTICIPATORY_MODEL_SMALL=str(tmp_path))
    own.wait_until_ready()
    try:
        with AnticipatoryClient(own.url) as client:
            result = client.embed(FILES[0].read_bytes())
    finally:
        own.stop()
    assert result["embedding_dim"] == len(result["embedding"]) == 768
    assert result["metadata"]["model_size"] == "small"
