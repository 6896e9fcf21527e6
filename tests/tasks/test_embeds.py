"""Embeds of every kind, over HTTP; by the golden model, which is quick."""

import base64
from collections.abc import Iterator
from itertools import islice
from typing import Any

import httpx
import numpy as np
import pytest

from amt.midi import codec
from amt.midi.notes import Note
from tests.conftest import GOLDEN, Service

NAMES = ["easyrpg_castle1", "chorale_001", "freedoom_map32", "drums_and_bass"]
FILES = [base64.b64encode((GOLDEN / f"midi/{name}.mid").read_bytes()).decode() for name in NAMES]
CASTLE, CHORALE = FILES[:2]
SHAPE = {"embedding_dim", "layer", "num_tokens", "original_tokens", "truncated", "notices"}


@pytest.fixture
def http(service: Service) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=service.url, timeout=120) as client:
        yield client


def embed(http: httpx.Client, **fields: Any) -> dict[str, Any]:
    response = http.post("/predict", json={"task": "embed", "model_size": "small", **fields})
    assert response.status_code == 200, response.text
    result: dict[str, Any] = response.json()
    return result


def refusal(http: httpx.Client, **fields: Any) -> str:
    response = http.post("/predict", json={"task": "embed", **fields})
    assert response.status_code == 422, response.text
    return response.text


def notes_as_file(notes: list[Note]) -> str:
    return base64.b64encode(codec.write_notes(notes)).decode()


def test_what_is_asked_for_by_name_is_the_default(http: httpx.Client) -> None:
    named = embed(http, midi_input=CASTLE, pooling="mean", windows="first", normalize=False, midi_inputs=None)
    default = embed(http, midi_input=CASTLE)
    assert {**named, "metadata": None} == {**default, "metadata": None}


@pytest.mark.parametrize("fields", [{}, {"pooling": "max"}, {"windows": "all"}, {"windows": "each", "normalize": True}])
def test_files_together_are_embedded_as_each_alone(fields: dict[str, Any], http: httpx.Client) -> None:
    together = embed(http, midi_inputs=FILES, **fields)
    assert set(together) == {"task", "files", "metadata"}
    for file, found in zip(FILES, together["files"], strict=True):
        alone = embed(http, midi_input=file, **fields)
        assert list(found) == [name for name in alone if name not in ("task", "metadata")]
        for one, other in zip(found.get("windows", [found]), alone.get("windows", [alone]), strict=True):
            np.testing.assert_allclose(one.pop("embedding"), other.pop("embedding"), atol=1e-5)
            assert {**one, "task": "embed", "metadata": None} == {**other, "task": "embed", "metadata": None}


@pytest.mark.parametrize("pooling", ["mean", "max", "last"])
def test_all_windows_are_what_each_of_them_makes_together(pooling: str, http: httpx.Client) -> None:
    whole = embed(http, midi_input=CASTLE, windows="all", pooling=pooling)
    windows = embed(http, midi_input=CASTLE, windows="each", pooling=pooling)["windows"]
    vectors = np.array([window["embedding"] for window in windows])
    weights = [window["num_tokens"] for window in windows]
    expected = {"mean": np.average(vectors, axis=0, weights=weights), "max": vectors.max(axis=0), "last": vectors[-1]}
    np.testing.assert_allclose(whole["embedding"], expected[pooling], atol=1e-5)


def test_each_window_has_its_times_and_all_tokens_are_used(http: httpx.Client) -> None:
    result = embed(http, midi_input=CASTLE, windows="each")
    windows = result["windows"]
    assert set(result) == {"task", "windows", "metadata", *SHAPE}
    assert set(windows[0]) == {"embedding", "start_seconds", "end_seconds", "num_tokens"}
    assert [each["end_seconds"] for each in windows[:-1]] == [each["start_seconds"] for each in windows[1:]]
    assert sum(each["num_tokens"] for each in windows) == result["num_tokens"] == result["original_tokens"]
    assert (len(windows) > 1, result["truncated"]) == (True, False)


@pytest.mark.parametrize("windows", ["first", "all", "each"])
def test_normalized_vectors_have_the_length_1(windows: str, http: httpx.Client) -> None:
    plain, unit = (embed(http, midi_input=CASTLE, windows=windows, normalize=wanted) for wanted in (False, True))
    for raw, found in zip(plain.get("windows", [plain]), unit.get("windows", [unit]), strict=True):
        vector = np.array(raw["embedding"])
        np.testing.assert_allclose(found["embedding"], vector / np.linalg.norm(vector), atol=1e-6)


def test_tokens_without_pooling_average_to_the_mean(http: httpx.Client) -> None:
    tokens = embed(http, midi_input=CHORALE, pooling="none")
    assert set(tokens) == {"task", "token_embeddings", "metadata", *SHAPE}
    assert np.shape(tokens["token_embeddings"]) == (651, 32)
    mean = embed(http, midi_input=CHORALE)["embedding"]
    np.testing.assert_allclose(np.mean(tokens["token_embeddings"], axis=0), mean, atol=1e-5)
    last = embed(http, midi_input=CHORALE, pooling="last")["embedding"]
    np.testing.assert_allclose(tokens["token_embeddings"][-1], last, atol=1e-5)


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (base64.b64encode(b"hello").decode(), "midi_inputs[1]: not a MIDI file"),
        (notes_as_file([]), "midi_inputs[1]: the input holds no notes"),
        ("%%%", "midi_inputs[1] is not valid base64"),
    ],
)
def test_a_bad_file_among_good_ones_is_named(bad: str, reason: str, http: httpx.Client) -> None:
    assert reason in refusal(http, midi_inputs=[CHORALE, bad, CHORALE])


def test_too_many_windows_are_counted_and_refused(http: httpx.Client) -> None:
    two_hours = notes_as_file([Note(0, 5, 60, 0), Note(720_000, 5, 60, 0)])
    text = refusal(http, midi_inputs=[two_hours] * 15, windows="all")
    assert "1,095 windows of music: at most 1,024 are embedded for one request" in text


def test_music_goes_on_beside_many_embeds(http: httpx.Client, service: Service) -> None:
    with http.stream("POST", "/predict/stream", json={"length_seconds": 120, "num_variations": 5}) as music:
        lines = (line for line in music.iter_lines() if line == "event: note")
        next(lines)
        assert len(embed(http, midi_inputs=[CASTLE] * 4, windows="all")["files"]) == 4
        assert service.metrics()["anticipatory_batch_rows"] > 0  # the music's, which has not come to its end
        assert len(list(islice(lines, 40))) == 40
