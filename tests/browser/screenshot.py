"""Take the picture of the page that opens the README: `python -m tests.browser.screenshot OUT.png`."""

import argparse

from playwright.sync_api import expect, sync_playwright

from tests.browser.conftest import FLAGS, WRITING_MS, Playground, find_chromium
from tests.conftest import Service

LINK = "#style=strings&seed=7&seconds=16"


def take(path: str, scheme: str, link: str) -> None:
    """Start a service, make music, choose two bars, and take the picture while it plays."""
    service = Service("--default-model", "tiny")
    service.wait_until_ready()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find_chromium(), args=FLAGS)
        screen = {"viewport": {"width": 1280, "height": 800}, "device_scale_factor": 1.5, "color_scheme": scheme}
        page = Playground(browser.new_page(**screen), service.url)
        page.load(link)
        page.generate()
        page.button("Stop").click()
        bar = page.state("piece.timing.tempos[0].bpm") and 240 / page.state("piece.timing.tempos[0].bpm")
        page.select(4 * bar, 6 * bar)
        page.page.get_by_role("slider", name="Position").fill(str(4.6 * bar))
        page.button("Play").click()
        expect(page.button("Pause")).to_be_visible(timeout=WRITING_MS)
        page.wait_for(f"player.position > {4.9 * bar}")
        page.page.screenshot(path=path)
        browser.close()
    service.stop()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", help="where to write the PNG")
    parser.add_argument("--scheme", choices=["light", "dark"], default="light")
    parser.add_argument("--link", default=LINK, help="the part of the page's address that says what is made")
    arguments = parser.parse_args()
    take(arguments.out, arguments.scheme, arguments.link)
