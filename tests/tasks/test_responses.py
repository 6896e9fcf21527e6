import json

import pytest
from pydantic import BaseModel, TypeAdapter

from tasks.examples import EXAMPLE_MIDI
from tasks.responses import (
    AccompanyResponse,
    AnsweredTiming,
    ContinueResponse,
    EmbedFilesResponse,
    EmbedResponse,
    FileEmbedding,
    GenerateResponse,
    InfillResponse,
    Metadata,
    Metre,
    PredictResponse,
    Tempo,
    Variation,
    WindowEmbedding,
)

METADATA = Metadata(
    model_size="tiny",
    model_id="weights/tiny",
    device="cpu",
    client_job_id=None,
    trace_id="0" * 32,
    span_id="0" * 16,
    queue_seconds=0.0,
    compute_seconds=1.5,
)
A_FILE = FileEmbedding(
    windows=[WindowEmbedding(embedding=[0.5], start_seconds=0.0, end_seconds=0.5, num_tokens=3)],
    embedding_dim=1,
    layer=-3,
    num_tokens=3,
    original_tokens=3,
    truncated=False,
)
TIMING = AnsweredTiming(
    bpm=120.0,
    tempos=[Tempo(seconds=0.0, bpm=120.0)],
    time_signature="4/4",
    time_signatures=[Metre(bar=1, time_signature="4/4")],
    bars=[0.0],
)
VARIATION = Variation(midi_base64=EXAMPLE_MIDI, num_events=1, duration_seconds=0.5, seed=0)


@pytest.mark.parametrize(
    ("response", "fields"),
    [
        (
            GenerateResponse(variations=[VARIATION], timing=TIMING, metadata=METADATA),
            ["task", "variations", "timing", "notices", "metadata"],
        ),
        (
            ContinueResponse(variations=[VARIATION], timing=TIMING, prime_seconds=5.0, metadata=METADATA),
            ["task", "variations", "prime_seconds", "timing", "notices", "metadata"],
        ),
        (
            AccompanyResponse(variations=[VARIATION], timing=TIMING, prime_seconds=0.0, metadata=METADATA),
            ["task", "variations", "prime_seconds", "timing", "notices", "metadata"],
        ),
        (
            InfillResponse(
                variations=[VARIATION], timing=TIMING, start_seconds=1.0, end_seconds=2.0, metadata=METADATA
            ),
            ["task", "variations", "start_seconds", "end_seconds", "timing", "notices", "metadata"],
        ),
        (
            EmbedResponse(
                embedding=[0.5],
                embedding_dim=1,
                layer=-3,
                num_tokens=3,
                original_tokens=3,
                truncated=False,
                metadata=METADATA,
            ),
            [
                "task",
                "embedding",
                "embedding_dim",
                "layer",
                "num_tokens",
                "original_tokens",
                "truncated",
                "notices",
                "metadata",
            ],
        ),
        (EmbedFilesResponse(files=[A_FILE], metadata=METADATA), ["task", "files", "metadata"]),
    ],
)
def test_an_answer_has_its_fields_in_the_contracts_order_and_is_told_apart_by_its_task(
    response: PredictResponse, fields: list[str]
) -> None:
    text = response.model_dump_json()
    assert list(json.loads(text)) == fields
    assert TypeAdapter(PredictResponse).validate_json(text) == response


@pytest.mark.parametrize("model", [Variation, Metadata, FileEmbedding, WindowEmbedding])
def test_every_field_is_described(model: type[BaseModel]) -> None:
    assert all(field.description for field in model.model_fields.values())
