"""Measure what rendering takes from decoding: `uv run --group audio python -m benchmarks.rendering`.

Generates one after another, on a service of its own: in turn alone, and while another client has a song made into
sound again and again. Prints a Markdown table.
"""

import argparse
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Final

import mido

from benchmarks.markdown import table
from benchmarks.running import PROJECT, service
from benchmarks.timing import Spread, seconds
from client import AnticipatoryClient

SONG: Final = PROJECT / "tests/data/golden/midi/freedoom_e1m2.mid"
LENGTH_SECONDS: Final = 20
IN_TURN: Final = 3


@dataclass(frozen=True)
class Figures:
    """Hold how many seconds are taken.

    Attributes:
        song: how long the song is.
        rendering: by a rendering of it, alone.
        alone: by a generate.
        beside: by one while the song is rendered.
    """

    song: float
    rendering: Spread
    alone: Spread
    beside: Spread


@contextmanager
def renderings(client: AnticipatoryClient) -> Iterator[None]:
    """Render the song again and again until the block ends."""
    ends = threading.Event()

    def render() -> None:
        while not ends.is_set():
            client.render(SONG, format="wav")

    with ThreadPoolExecutor(1) as executor:
        rendered = executor.submit(render)
        try:
            yield
        finally:
            ends.set()
        rendered.result()


def measure(repeats: int) -> Figures:
    """Measure `repeats` generates of each kind, and as many renderings."""
    with service() as running, AnticipatoryClient(running.url) as client:
        running.wait_until_ready()

        def generates() -> list[float]:
            return [seconds(partial(client.generate, LENGTH_SECONDS, seed=seed)) for seed in range(repeats)]

        generates()
        alone, beside = list[float](), list[float]()
        for _ in range(IN_TURN):
            alone += generates()
            with renderings(client):
                beside += generates()
        rendering = [seconds(lambda: client.render(SONG, format="wav")) for _ in range(repeats)]
    return Figures(mido.MidiFile(SONG).length, Spread.of(rendering), Spread.of(alone), Spread.of(beside))


def markdown(figures: Figures) -> str:
    """Return the table."""
    rows = [
        (f"generate {LENGTH_SECONDS} s, alone", figures.alone.text(1, 2, "s")),
        ("the same while a song is rendered", figures.beside.text(1, 2, "s")),
        (f"the song, of {figures.song:.0f} s, to WAV", figures.rendering.text(1, 2, "s")),
    ]
    return table(("what", "median (least to most)"), rows)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args()
    print(markdown(measure(args.repeats)))


if __name__ == "__main__":
    main()
