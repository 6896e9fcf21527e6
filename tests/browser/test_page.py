"""The page itself: for everybody, on every screen, and from nowhere else."""

from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect

from tests.browser.conftest import BAR, Playground

PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}
SCREENS = {
    "dark": {"color_scheme": "dark"},
    "light": {"color_scheme": "light"},
    "phone": PHONE | {"color_scheme": "light"},
    "phone-dark": PHONE | {"color_scheme": "dark"},
}

BUTTONS = [
    "Generate",
    "Stop",
    "Play",
    "Download MIDI",
    "Download WAV",
    "Infill",
    "Vary",
    "Continue",
    "Accompany",
    "Undo",
    "Redo",
]


def violations(playground: Playground) -> list[str]:
    found = Axe().run(playground.page).response["violations"]
    return [f"{rule['id']}: {node['html']}" for rule in found for node in rule["nodes"]]


@pytest.mark.parametrize("playground", SCREENS.values(), ids=SCREENS.keys(), indirect=True)
def test_axe_finds_nothing(playground: Playground, song: Path) -> None:
    assert not violations(playground)
    playground.open(song)
    playground.page.get_by_text("All wishes", exact=True).click()
    playground.page.get_by_role("listitem", name="Drums").get_by_role("button", name="Mute").click()
    playground.button("Undo").click()
    assert not violations(playground)
    playground.page.get_by_text("Edit notes", exact=True).click()
    playground.page.get_by_role("button", name="Shortcuts").click()
    assert not violations(playground)


@pytest.mark.parametrize("playground", [PHONE], indirect=True)
def test_nothing_is_wider_than_a_phone(playground: Playground, song: Path) -> None:
    playground.open(song)
    playground.page.get_by_text("All wishes", exact=True).click()
    width = playground.page.evaluate("() => document.documentElement.scrollWidth")
    assert width == 390


@pytest.mark.parametrize("playground", [PHONE], indirect=True)
def test_a_finger_selects_across_the_roll_and_scrolls_up_and_down(playground: Playground, song: Path) -> None:
    playground.open(song)
    page, touches = playground.page, playground.page.context.new_cdp_session(playground.page)
    page.locator("#stage").scroll_into_view_if_needed()

    def swipe(right: int, down: int) -> None:
        left, top = playground.point(3 * BAR, 0.6)
        for step in range(8):
            point = {"x": left + right * step / 7, "y": top + down * step / 7}
            touches.send(
                "Input.dispatchTouchEvent", {"type": "touchMove" if step else "touchStart", "touchPoints": [point]}
            )
        touches.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})

    swipe(100, 10)
    span, above = playground.state("span"), page.evaluate("scrollY")
    assert span[0] == pytest.approx(3 * BAR)
    swipe(10, -200)
    assert playground.state("span") == span
    page.wait_for_timeout(100)
    assert page.evaluate("scrollY") > above + 50


def test_names_are_as_they_are_promised(playground: Playground, song: Path) -> None:
    for name in BUTTONS:
        expect(playground.button(name)).to_have_count(1)
    expect(playground.roll).to_have_attribute("aria-description", "0 notes")
    playground.open(song)
    expect(playground.roll).to_have_attribute("aria-description", "40 notes")
    expect(playground.page.get_by_role("list", name="Variations").get_by_role("listitem")).to_have_count(1)
    rows = playground.page.get_by_role("group", name="Instruments").get_by_role("listitem")
    expect(rows).to_contain_text(["Flute", "Drums"])
    colours = {row.evaluate("(row) => row.style.getPropertyValue('--colour')") for row in rows.all()}
    assert len(colours) == 2
