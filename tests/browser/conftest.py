"""The page in a real browser, on a real service."""

import shutil
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from mido import Message, MetaMessage, MidiFile, MidiTrack, bpm2tempo
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Locator, Page, Request, expect, sync_playwright

from tests.conftest import Service

FOLDER = Path(__file__).parent
SCREENSHOTS = FOLDER / "screenshots"
"""One of each test, as it ends; git ignores them."""

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = ["--autoplay-policy=no-user-gesture-required", "--disable-gpu"]
WRITING_MS = 60_000


def find_chromium() -> str | None:
    return next((path for name in NAMES if (path := shutil.which(name))), None)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.parent == FOLDER:
            item.add_marker(pytest.mark.browser)


@pytest.fixture(scope="package")  # not longer: Playwright keeps an event loop, beside which others cannot run
def chromium() -> Iterator[Browser]:
    """One browser for all tests of the page."""
    path = find_chromium()
    if path is None:
        pytest.skip(f"the page is tested in Chromium, and none of {', '.join(NAMES)} is installed here")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield browser
        browser.close()


class Playground:
    """The page, and what tests do with it again and again."""

    def __init__(self, page: Page, url: str) -> None:
        self.page, self.url = page, url
        self.foreign: list[str] = []
        self.problems: list[str] = []
        self.sent: list[dict[str, Any]] = []
        page.on("request", self._watch)
        page.on("pageerror", lambda error: self.problems.append(str(error)))
        page.on("console", self._listen)

    def _listen(self, message: ConsoleMessage) -> None:
        if message.type == "error" and "the server responded with a status" not in message.text:
            self.problems.append(message.text)

    def _watch(self, request: Request) -> None:
        if urlsplit(request.url).netloc != urlsplit(self.url).netloc and not request.url.startswith(("blob:", "file:")):
            self.foreign.append(request.url)
        if request.url.endswith("/predict/stream") and request.method == "POST":
            self.sent.append(request.post_data_json)

    def load(self, link: str = "") -> None:
        self.page.goto(f"{self.url}/{link}")
        expect(self.page.get_by_text("All wishes", exact=True)).to_be_visible()
        expect(self.page.locator("#more input").first).to_be_attached()  # the limits have come

    def button(self, name: str) -> Locator:
        return self.page.get_by_role("button", name=name, exact=True)

    @property
    def status(self) -> Locator:
        return self.page.get_by_role("status")

    @property
    def roll(self) -> Locator:
        return self.page.get_by_role("region", name="Piano roll")

    def state(self, expression: str) -> Any:
        """What the page's own objects say."""
        return self.page.evaluate(f"() => playground.{expression}")

    def notes(self) -> list[tuple[float, float, int, int]]:
        """Onset, duration, pitch and instrument of each note that is shown."""
        flat = "piece.takes[playground.piece.chosen].notes.map(n => [n.onset, n.duration, n.pitch, n.instrument])"
        return [(round(a, 4), round(b, 4), c, d) for a, b, c, d in self.state(flat)]

    def open(self, file: Path) -> None:
        self.page.get_by_label("Open MIDI").set_input_files(file)
        expect(self.status).to_contain_text(file.name)

    def settle(self) -> None:
        """Wait until nothing is written any more."""
        expect(self.button("Generate")).to_be_enabled(timeout=WRITING_MS)

    def generate(self, **wishes: str) -> None:
        """Make music, with the form's fields by name."""
        for name, value in wishes.items():
            self.page.locator(f"[name={name}]").fill(value)
        self.button("Generate").click()
        self.settle()
        expect(self.status).to_contain_text("written")

    def point(self, second: float, share: float = 0.3) -> tuple[float, float]:
        """Where on the screen a second is, and a share of the height."""
        box = self.page.locator("#canvas").bounding_box()
        assert box is not None
        return box["x"] + self.state(f"display.roll.view.x({second})"), box["y"] + box["height"] * share

    def drag(self, *points: tuple[float, float]) -> None:
        mouse = self.page.mouse
        mouse.move(*points[0])
        mouse.down()
        for point in points[1:]:
            mouse.move(*point, steps=4)
        mouse.up()

    def select(self, start: float, end: float) -> None:
        """Drag a span over the roll."""
        self.drag(self.point(start), self.point(end))

    def loudness(self) -> float:
        """The root mean square of what sounds now."""
        return float(
            self.page.evaluate(
                """() => {
                    const { analyser } = playground.player, frames = new Float32Array(analyser.fftSize);
                    analyser.getFloatTimeDomainData(frames);
                    return Math.hypot(...frames) / Math.sqrt(frames.length);
                }"""
            )
        )

    def wait_for(self, expression: str) -> None:
        """Wait until the page's own objects say so; the page's policy forbids Playwright's own way."""
        for _ in range(600):
            if self.state(expression):
                return
            self.page.wait_for_timeout(25)
        raise AssertionError(f"never: {expression}")


@pytest.fixture(scope="package")
def desk(chromium: Browser) -> BrowserContext:
    """A window whose tabs share what has been loaded, and nothing else."""
    return chromium.new_context(viewport={"width": 1280, "height": 860})


@pytest.fixture
def playground(
    chromium: Browser, desk: BrowserContext, service: Service, request: pytest.FixtureRequest
) -> Iterator[Playground]:
    """The page, loaded; no request may go to another host, and nothing may go wrong in its scripts."""
    options = getattr(request, "param", {})
    context = chromium.new_context(**({"viewport": {"width": 1280, "height": 860}} | options)) if options else desk
    opened = Playground(context.new_page(), service.url)
    opened.load()
    yield opened
    SCREENSHOTS.mkdir(exist_ok=True)
    opened.page.screenshot(path=SCREENSHOTS / f"{request.node.name.removeprefix('test_')}.png")
    opened.page.close()
    if options:
        context.close()
    assert not opened.foreign
    assert not opened.problems


BPM = 100
BEAT = 60 / BPM
BAR = 4 * BEAT


@pytest.fixture(scope="session")
def song(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight bars of four beats at 100 bpm: a flute on each beat, and a drum on each bar's first."""
    conductor, flute, drums = MidiTrack(), MidiTrack(), MidiTrack()
    conductor += [MetaMessage("set_tempo", tempo=bpm2tempo(BPM)), MetaMessage("time_signature", numerator=4)]
    flute.append(Message("program_change", channel=0, program=73))
    for beat in range(32):
        flute.append(Message("note_on", channel=0, note=60 + beat % 12, velocity=90))
        flute.append(Message("note_off", channel=0, note=60 + beat % 12, time=480))
    for _ in range(8):
        drums.append(Message("note_on", channel=9, note=36, velocity=100))
        drums.append(Message("note_off", channel=9, note=36, time=120))
        drums.append(MetaMessage("marker", text="-", time=1800))
    path = tmp_path_factory.mktemp("songs") / "song.mid"
    MidiFile(type=1, ticks_per_beat=480, tracks=[conductor, flute, drums]).save(path)
    return path


def wav_frames(content: bytes) -> tuple[list[float], int]:
    """The left channel from -1 to 1, and frames a second."""
    rate = struct.unpack_from("<I", content, 24)[0]
    samples = struct.unpack(f"<{(len(content) - 44) // 2}h", content[44:])
    return [sample / 32768 for sample in samples[::2]], rate
