"""Measure what rendering takes from decoding: `uv run --group audio python -m benchmarks.rendering`.

Generates one after another, on a service of its own, by several seeds. A seed gives the same events each time, so it is
compared with itself: while another client has a song made into sound again and again, and alone before and after that,
for a computer is not always equally fast. Prints a Markdown table.
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
PAIRS: Final = 3
"""For each repeat of other benchmarks."""


@dataclass(frozen=True)
class Figures:
    """Hold how many seconds are taken.

    Attributes:
        song: how long the song is.
        rendering: by a rendering of it, alone.
        alone: by a generate.
        beside: by one while the song is rendered.
        slowed: how many times as long as alone the same one takes then.
        strayed: how many times as long as before it takes alone afterwards.
    """

    song: float
    rendering: Spread
    alone: Spread
    beside: Spread
    slowed: Spread
    strayed: Spread


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
    """Measure generates by three times as many seeds as `repeats`, and `repeats` renderings."""
    with service() as running, AnticipatoryClient(running.url) as client:
        running.wait_until_ready()

        def render() -> None:
            client.render(SONG, format="wav")

        def generate(seed: int) -> float:
            return seconds(partial(client.generate, LENGTH_SECONDS, seed=seed))

        render()  # its process is there now
        generate(0)
        before, beside, after = list[float](), list[float](), list[float]()
        for seed in range(PAIRS * repeats):
            before.append(generate(seed))
            with renderings(client):
                beside.append(generate(seed))
            after.append(generate(seed))
        rendering = [seconds(render) for _ in range(repeats)]
    slowed = [2 * b / (a + c) for a, b, c in zip(before, beside, after, strict=True)]
    strayed = [c / a for a, c in zip(before, after, strict=True)]
    length = mido.MidiFile(SONG).length
    return Figures(length, *map(Spread.of, (rendering, before + after, beside, slowed, strayed)))


def markdown(figures: Figures) -> str:
    """Return the table."""
    rows = [
        (f"generate {LENGTH_SECONDS} s, alone", figures.alone.text(1, 2, "s")),
        ("the same while a song is rendered", figures.beside.text(1, 2, "s")),
        ("by the same seed: how many times as long as alone", figures.slowed.text(1, 2, "times")),
        ("alone again, afterwards: how many times as long as before", figures.strayed.text(1, 2, "times")),
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
