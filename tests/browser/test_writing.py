"""Music that is written, and written again."""

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import Browser, expect

from agents.link import page_link
from client import AnticipatoryClient
from tests.browser.conftest import BAR, WRITING_MS, Playground
from tests.conftest import Service

SCRIPT = """event: note
data: {"variation": 0, "onset": 0.0, "duration": 0.5, "pitch": 60, "instrument": 0, "velocity": 80}

event: discard
data: {"variation": 0, "reason": "stuck"}

event: note
data: {"variation": 0, "onset": 0.5, "duration": 0.5, "pitch": 72, "instrument": 0, "velocity": 80}

event: error
data: {"status": 504, "detail": "the request took longer than 2 s and was stopped"}

"""


def test_notes_are_shown_and_heard_while_they_are_written(playground: Playground) -> None:
    playground.page.get_by_label("Unit of the length").select_option("seconds")
    playground.page.locator("[name=seconds]").fill("60")
    playground.button("Generate").click()
    playground.wait_for("work && playground.work.front > 0.5 && playground.work.hasNotes")
    assert not playground.button("Generate").is_enabled()
    assert playground.roll.get_attribute("aria-description") != "0 notes"
    playground.wait_for("player.position > 0.2")
    front, position = playground.state("work ? [playground.work.front, playground.player.position] : [60, 0]")
    assert position < front
    playground.button("Stop").click()
    playground.settle()


def test_stop_keeps_what_is_there(playground: Playground) -> None:
    playground.page.get_by_label("Unit of the length").select_option("seconds")
    playground.page.locator("[name=seconds]").fill("120")
    playground.button("Generate").click()
    playground.wait_for("work.hasNotes")
    playground.button("Stop").click()
    playground.settle()
    expect(playground.status).to_have_text("Stopped. What was written is kept.")
    assert len(playground.notes()) > 0
    assert playground.state("player.playing") is False


def test_what_is_discarded_vanishes_and_an_error_is_the_services_sentence(playground: Playground) -> None:
    playground.page.route(
        "**/predict/stream", lambda route: route.fulfill(body=SCRIPT, content_type="text/event-stream")
    )
    playground.button("Generate").click()
    playground.settle()
    assert [note[2] for note in playground.notes()] == [72]
    expect(playground.status).to_contain_text("he request took longer than 2 s and was stopped")


def test_infill_writes_the_span_again_and_nothing_else(playground: Playground, song: Path) -> None:
    playground.open(song)
    before = playground.notes()
    playground.select(2 * BAR, 4 * BAR)
    expect(playground.page.get_by_text("Infill writes bars 3 to 4 again")).to_be_visible()
    playground.button("Infill").click()
    playground.settle()
    after = playground.notes()

    def outside(notes: list[tuple[float, float, int, int]]) -> list[tuple[float, float, int, int]]:
        return [note for note in notes if not 2 * BAR <= note[0] < 4 * BAR]

    assert outside(after) == outside(before)
    assert after != before
    assert playground.sent[-1]["start_seconds"] == pytest.approx(2 * BAR)


def test_infill_leaves_alone_who_is_not_chosen(playground: Playground, song: Path) -> None:
    playground.open(song)
    drums = [note for note in playground.notes() if note[3] == 128]
    playground.page.get_by_role("checkbox", name="Flute").check()
    playground.select(2 * BAR, 4 * BAR)
    playground.button("Infill").click()
    playground.settle()
    assert [note for note in playground.notes() if note[3] == 128] == drums
    assert playground.sent[-1]["instruments"] == [73]


def test_infill_leaves_alone_who_is_locked(playground: Playground, song: Path) -> None:
    playground.open(song)
    drums = [note for note in playground.notes() if note[3] == 128]
    before = playground.notes()
    lock = playground.page.get_by_role("listitem", name="Drums").get_by_role("button", name="Lock", exact=True)
    lock.click()
    expect(lock).to_have_attribute("aria-pressed", "true")
    playground.select(2 * BAR, 4 * BAR)
    playground.button("Infill").click()
    playground.settle()
    assert [note for note in playground.notes() if note[3] == 128] == drums
    assert playground.notes() != before
    assert playground.sent[-1]["locked"] == {"instruments": [128]}


def test_vary_keeps_about_half_of_the_notes_and_can_be_undone(playground: Playground, song: Path) -> None:
    playground.open(song)
    before = playground.notes()
    playground.button("Vary").click()
    playground.settle()
    expect(playground.status).to_contain_text("Vary, keep 50 % of bars 1 to 8: written")
    kept = [note for note in playground.notes() if note in before]
    assert len(before) / 2 <= len(kept) < 0.75 * len(before)
    assert len(playground.notes()) > len(kept)
    playground.button("Undo").click()
    assert playground.notes() == before


def test_music_goes_on_from_the_end_or_from_the_position(playground: Playground, song: Path) -> None:
    playground.open(song)
    before = playground.notes()
    playground.page.locator("[name=seconds]").fill("1")
    playground.button("Continue").click()
    playground.settle()
    longer = playground.notes()
    assert longer[: len(before)] == before
    assert min(note[0] for note in longer[len(before) :]) >= 8 * BAR - 0.01
    playground.page.get_by_role("slider", name="Position").fill(str(4 * BAR))
    playground.page.get_by_label("Where new music goes on").select_option("from here")
    playground.button("Continue").click()
    playground.settle()
    kept = [note for note in before if note[0] < 4 * BAR - 0.01]
    assert playground.notes()[: len(kept)] == kept
    assert playground.notes() != longer


def test_who_is_chosen_is_accompanied(playground: Playground, song: Path) -> None:
    playground.open(song)
    flute = [note for note in playground.notes() if note[3] == 73]
    playground.page.get_by_role("checkbox", name="Flute").check()
    playground.page.get_by_text("Piano", exact=True).click()
    playground.button("Accompany").click()
    playground.settle()
    notes = playground.notes()
    assert [note for note in notes if note[3] == 73] == flute
    assert {note[3] for note in notes} == {0, 73}


def test_variations_are_switched_at_the_same_position_and_one_is_kept(playground: Playground) -> None:
    playground.generate(count="3", seconds="2")
    variations = playground.page.get_by_role("list", name="Variations").get_by_role("listitem")
    expect(variations).to_have_count(3)
    first = playground.notes()
    playground.page.get_by_role("slider", name="Position").fill("0.5")
    if not playground.state("player.playing"):
        playground.button("Play").click()
    playground.wait_for("player.position > 0.6")
    before = playground.state("player.position")
    variations.nth(1).get_by_role("button").first.click()
    playground.wait_for("player.notes === playground.piece.takes[1].notes")
    assert before < playground.state("player.position") < before + 2
    assert playground.notes() != first
    second = playground.notes()
    variations.nth(1).get_by_role("button", name="Keep").click()
    expect(variations).to_have_count(1)
    assert playground.notes() == second


def test_a_link_makes_the_same_music_again(playground: Playground) -> None:
    playground.generate(seconds="1")
    notes, link = playground.notes(), playground.state("wishes.form.ownerDocument.location.hash")
    playground.page.evaluate("() => sessionStorage.clear()")
    playground.page.goto("about:blank")
    playground.load(link)
    assert playground.page.get_by_role("checkbox", name="Lock").is_checked()
    playground.generate()
    assert playground.notes() == notes


@pytest.mark.parametrize(
    "fields",
    [
        {"length_bars": 2, "seed": 3},
        {
            "length_bars": 2,
            "bpm": 100,
            "key": "c minor",
            "chords": "Cm | Fm",
            "grid": "1/8",
            "instruments": ["piano", "Acoustic Bass"],
            "density": 5.5,
            "seed": 7,
        },
        {
            "length_seconds": 2.5,
            "time_signature": "3/4",
            "key": "Ab",
            "exclude_instruments": ["drums"],
            "pitch_range": [48, 80],
            "top_p": 0.9,
            "velocity": 90,
            "key_mode": "strict",
            "seed": 11,
        },
    ],
    ids=lambda fields: "-".join(fields),
)
def test_the_link_that_an_agent_gets_makes_its_music(fields: Any, playground: Playground, service: Service) -> None:
    with AnticipatoryClient(service.url) as client:
        variation = client.generate(include=["notes"], **fields)["variations"][0]
    link = page_link(service.url, fields | {"seed": variation["seed"]})
    assert link is not None
    playground.page.goto("about:blank")
    playground.load(link.removeprefix(f"{service.url}/"))
    playground.generate()
    made = [(note["onset"], note["duration"], note["pitch"], note["instrument"]) for note in variation["notes"]]
    assert sorted(playground.notes()) == sorted((round(a, 4), round(b, 4), c, d) for a, b, c, d in made)


def test_a_new_seed_is_drawn_unless_it_is_locked(playground: Playground) -> None:
    playground.generate(seconds="1")
    playground.generate()
    playground.page.get_by_role("checkbox", name="Lock").check()
    playground.generate()
    seeds = [body["seed"] for body in playground.sent]
    assert seeds[0] != seeds[1] == seeds[2]


def test_limits_are_those_of_the_service(playground: Playground) -> None:
    playground.page.get_by_text("All wishes", exact=True).click()
    density = playground.page.get_by_role("spinbutton", name="Density")
    assert (density.get_attribute("min"), density.get_attribute("max")) == ("0.1", "50")
    density.fill("99")
    playground.button("Generate").click()
    assert not playground.sent
    expect(playground.status).to_contain_text("density: Value must be less than or equal to 50")
    density.fill("2")
    playground.generate(seconds="1")
    assert playground.sent[-1]["density"] == 2


def test_a_wish_goes_to_the_tasks_that_take_it(playground: Playground, song: Path) -> None:
    playground.open(song)
    playground.page.get_by_text("All wishes", exact=True).click()
    avoid_copy = playground.page.get_by_role("combobox", name="Avoid copy")
    assert avoid_copy.locator("option").all_inner_texts() == ["as usual", "yes", "no"]  # variations alone avoid it
    avoid_copy.select_option("yes")
    playground.select(BAR, 2 * BAR)
    playground.button("Infill").click()
    playground.settle()
    playground.generate(seconds="1")
    assert [body.get("avoid_copy") for body in playground.sent] == [True, None]


def test_what_the_service_refuses_is_said_in_its_words(playground: Playground) -> None:
    playground.page.get_by_text("All wishes", exact=True).click()
    playground.page.get_by_role("textbox", name="Exclude instruments").fill("violine")
    playground.button("Generate").click()
    expect(playground.status).to_contain_text("here is no instrument 'violine': did you mean 'violin'")
    playground.settle()


@pytest.mark.slow
def test_models_on_offer_can_be_chosen_and_refuse_in_the_services_words(
    chromium: Browser, start: Callable[..., Service], song: Path
) -> None:
    far = "stanford-crfm/music-small-ar-100k"  # which is known by its name to have no controls
    own = start("--default-model", "tiny", "--model", "mine=weights/tiny", "--model", f"far={far}")
    own.wait_until_ready()
    opened = Playground(chromium.new_page(), own.url)
    opened.load()
    opened.page.get_by_text("All wishes", exact=True).click()
    choice = opened.page.get_by_role("combobox", name="Model size")
    names = ["tiny", "small", "medium", "large", "mine", "far"]
    assert choice.locator("option").all_inner_texts() == ["as usual", *names]
    choice.select_option("mine")
    opened.generate(seconds="1")
    assert opened.sent[-1]["model_size"] == "mine"
    opened.open(song)
    choice.select_option("far")
    opened.select(2 * BAR, 4 * BAR)
    opened.button("Infill").click()
    expect(opened.status).to_contain_text("odel far cannot do task infill")
    opened.page.close()
    assert own.stop() == 0


@pytest.mark.slow
def test_a_service_that_starts_again_is_waited_for(chromium: Browser, start: Callable[..., Service]) -> None:
    own = start("--default-model", "tiny")
    own.wait_until_ready()
    page = chromium.new_page()
    opened = Playground(page, own.url)
    opened.load()
    os.kill(own.worker, signal.SIGKILL)
    while httpx.get(f"{own.url}/health").text == "ok":
        pass
    page.locator("[name=seconds]").fill("1")
    opened.button("Generate").click()
    expect(opened.status).to_contain_text("written, ", timeout=WRITING_MS)
    page.close()
    assert own.stop() == 0


@pytest.mark.slow
def test_a_service_with_a_key_is_asked_with_it(chromium: Browser, start: Callable[..., Service]) -> None:
    own = start("--default-model", "tiny", LIT_SERVER_API_KEY="secret")
    own.wait_until_ready()
    page = chromium.new_page()
    page.goto(own.url)
    for key in ("wrong", "secret"):
        page.get_by_role("textbox", name="Key").fill(key)
        page.get_by_role("button", name="Use this key").click()
    opened = Playground(page, own.url)
    expect(page.locator("#more input").first).to_be_attached()
    opened.generate(seconds="1")
    page.close()
    assert own.stop() == 0


def test_a_progression_goes_on_where_new_music_begins(playground: Playground, song: Path) -> None:
    playground.open(song)
    playground.page.get_by_label("Chords").fill("Am | F | % | G")
    playground.select(2 * BAR, 4 * BAR)
    playground.button("Infill").click()
    playground.settle()
    assert playground.sent[-1]["chords"] == "F | G | Am | F"
