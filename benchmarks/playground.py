"""Measure what the page's user waits for, and what it takes to play: `uv run python -m benchmarks.playground`.

Drives Debian's Chromium, without a screen and without a GPU, on a service of its own. Prints a Markdown table: from the
click on Generate to the first note that is drawn, and the processor time of all of the browser while music plays.
"""

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import psutil

from benchmarks.markdown import table
from benchmarks.running import cpu_seconds, service
from benchmarks.timing import Spread
from tests.browser.conftest import FLAGS, Playground, find_chromium

LINK: Final = "#seconds=8&seed=7"
"""Eight bars, the same each time: another piece has more notes or fewer."""

CLICKED: Final = """
    () => new Promise((resolve) => {
        const roll = document.getElementById("roll");
        new MutationObserver((_, observer) => {
            const count = parseInt(roll.getAttribute("aria-description"));
            if (!count || !playground.work) return;
            observer.disconnect();
            resolve(performance.now() - start);
        }).observe(roll, { attributes: true, attributeFilter: ["aria-description"] });
        const start = performance.now();
        document.getElementById("generate").click();
    })
"""
"""Presses the button, and returns how many milliseconds later notes are shown."""


@dataclass(frozen=True)
class Figures:
    """Hold what the page takes.

    Attributes:
        first_note: seconds from the click to the first note on the roll.
        playing: share of a core of all the browser's processes while a piece plays.
        notes_per_second: of that piece.
    """

    first_note: Spread
    playing: float
    notes_per_second: float


def share_of_a_core(action: Callable[[], object]) -> float:
    """Return the processor time of the browser over the time that an action takes."""
    browser = [each for each in psutil.Process().children(recursive=True) if "chrom" in each.name()]
    before, start = cpu_seconds(browser), time.perf_counter()
    action()
    return (cpu_seconds(browser) - before) / (time.perf_counter() - start)


def first_note(opened: Playground) -> float:
    """Press Generate, and return how many seconds later there is a note; wait until all are written."""
    waited = opened.page.evaluate(CLICKED) / 1e3
    opened.settle()
    return float(waited)


def measure(repeats: int, seconds: float, executable: str) -> Figures:
    """Measure clicks, and some seconds of playing the last piece."""
    from playwright.sync_api import sync_playwright  # which nothing else here needs

    with service() as running, sync_playwright() as playwright:
        running.wait_until_ready()
        browser = playwright.chromium.launch(executable_path=executable, args=FLAGS)
        opened = Playground(browser.new_page(viewport={"width": 1280, "height": 860}), running.url)
        opened.load(LINK)
        opened.generate()  # sound and all is loaded now
        waits = [first_note(opened) for _ in range(repeats)]
        opened.button("Stop").click()
        opened.page.get_by_role("slider", name="Position").fill("0")
        opened.button("Play").click()
        opened.wait_for("player.position > 1")
        playing = share_of_a_core(lambda: time.sleep(seconds))
        rate = opened.state("piece.takes[0].notes.length") / opened.state("player.end")
        browser.close()
    return Figures(Spread.of(waits), playing, rate)


def markdown(figures: Figures) -> str:
    """Return the table."""
    rows = [
        ("from the click to the first note on the roll", figures.first_note.text(1e3, 0, "ms")),
        (
            f"a core's share while it plays {figures.notes_per_second:.0f} notes a second, drawn without a GPU",
            f"{figures.playing:.2f}",
        ),
    ]
    return table(("the page in Chromium", ""), rows)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--seconds", type=float, default=15)
    args = parser.parse_args()
    chromium = find_chromium()
    if not chromium:
        parser.error("no Chromium is installed")
    print(markdown(measure(args.repeats, args.seconds, chromium)))


if __name__ == "__main__":
    main()
