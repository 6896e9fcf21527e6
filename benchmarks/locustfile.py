"""Load a service with mixed requests, and check every answer; see `benchmarks.load`, which runs this.

By itself, for a service of yours: `uv run --group load locust -f benchmarks/locustfile.py --host http://localhost:2011`.
"""

import base64
import json
from pathlib import Path
from typing import Any, Final

from locust import FastHttpUser, constant, task

MIDI: Final = Path(__file__).parent.parent / "tests/data/golden/midi/freedoom_e1m2.mid"

LENGTH_SECONDS: Final = 5


class Musician(FastHttpUser):  # type: ignore[misc]
    """Ask for music or an embedding, one request after the other without a pause."""

    wait_time = constant(0)
    network_timeout = 300.0
    midi = base64.b64encode(MIDI.read_bytes()).decode()

    @task(4)
    def generate(self) -> None:
        """Wait for 5 s of music."""
        self._send("generate", "/predict", {"length_seconds": LENGTH_SECONDS}, _problem_of_music)

    @task(2)
    def embed(self) -> None:
        """Embed a file of 26 kB."""
        self._send("embed", "/predict", {"task": "embed", "midi_input": self.midi}, _problem_of_vector)

    @task(1)
    def stream(self) -> None:
        """Take 5 s of music as it is made, to the end."""
        self._send("stream", "/predict/stream", {"length_seconds": LENGTH_SECONDS}, _problem_of_stream)

    def _send(self, name: str, path: str, body: dict[str, Any], problem_of: Any) -> None:
        with self.client.post(path, json=body, name=name, catch_response=True) as answer:
            if answer.status_code != 200:
                answer.failure(f"{answer.status_code}: {(answer.text or '')[:200]}")
            elif problem := problem_of(answer.text):
                answer.failure(problem)


def _problem_of_music(text: str) -> str | None:
    (variation,) = json.loads(text)["variations"]
    data = base64.b64decode(variation["midi_base64"])
    return None if data.startswith(b"MThd") and variation["duration_seconds"] == LENGTH_SECONDS else "no music of 5 s"


def _problem_of_vector(text: str) -> str | None:
    answer = json.loads(text)
    return None if len(answer["embedding"]) == answer["embedding_dim"] > 0 else "no vector"


def _problem_of_stream(text: str) -> str | None:
    name, data = text.strip().split("\n\n")[-1].split("\n")
    return _problem_of_music(data.removeprefix("data: ")) if name == "event: result" else f"it ends with {name}"
