"""What is heard, and where the music is."""

from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import BAR, BEAT, Playground

AUDIBLE, SILENT = 3e-3, 3e-4


@pytest.fixture
def opened(playground: Playground, song: Path) -> Playground:
    playground.open(song)
    return playground


def test_space_plays_and_pauses(opened: Playground) -> None:
    opened.page.keyboard.press("Space")
    expect(opened.button("Pause")).to_be_visible()
    opened.wait_for("player.position > 0.5")
    opened.page.keyboard.press("Space")
    expect(opened.button("Play")).to_be_visible()
    assert 0.5 < opened.state("player.position") < BAR


def test_a_click_on_the_roll_goes_there_and_a_drag_on_the_ruler_too(opened: Playground) -> None:
    opened.page.mouse.click(*opened.point(2 * BAR))
    assert opened.state("player.position") == pytest.approx(2 * BAR, abs=0.05)
    opened.drag(opened.point(BAR, 0.02), opened.point(3 * BAR, 0.02))
    assert opened.state("player.position") == pytest.approx(3 * BAR, abs=0.05)
    assert float(opened.page.get_by_role("slider", name="Position").input_value()) == pytest.approx(3 * BAR, abs=0.05)


def test_the_slider_seeks(opened: Playground) -> None:
    opened.page.get_by_role("slider", name="Position").fill("4.8")
    assert opened.state("player.position") == pytest.approx(4.8)
    expect(opened.page.get_by_label("Time")).to_have_text("0:04.8, bar 3")


def test_the_roll_follows_the_music(opened: Playground) -> None:
    for _ in range(5):
        opened.button("Zoom in").click()
    opened.button("Play").click()
    opened.wait_for("display.roll.view.start > 0.5")
    left, seen = opened.state("display.roll.view.start"), opened.state("display.roll.view.seconds")
    assert left < opened.state("player.position") < left + seen


@pytest.mark.parametrize("playground", [{"reduced_motion": "reduce"}], indirect=True)
def test_for_those_who_want_less_motion_the_roll_turns_pages(opened: Playground) -> None:
    for _ in range(6):
        opened.button("Zoom in").click()
    opened.button("Play").click()
    opened.wait_for("display.roll.view.start > 0")
    assert opened.state("display.roll.view.start") > 0.8 * opened.state("display.roll.view.seconds")


def test_only_what_moves_is_drawn(opened: Playground) -> None:
    opened.wait_for("display.next === undefined")
    opened.page.evaluate(
        """() => {
            const { roll } = playground.display;
            globalThis.drawn = new Map([[roll, 0], [roll.sheet, 0]]);
            for (const each of drawn.keys()) {
                const { draw } = each;
                each.draw = (...scene) => {
                    drawn.set(each, drawn.get(each) + 1);
                    draw.apply(each, scene);
                };
            }
        }"""
    )
    opened.page.wait_for_timeout(200)
    assert opened.page.evaluate("[...drawn.values()]") == [0, 0]
    opened.button("Play").click()
    opened.wait_for("player.position > 1")
    frames, sheets = opened.page.evaluate("[...drawn.values()]")
    assert 0 < sheets < frames / 2


def test_notes_are_bright_while_they_sound(opened: Playground) -> None:
    x, y = opened.page.evaluate(
        """() => {
            const { view } = playground.display.roll;
            return [view.x(0.1), view.y({ pitch: 60, instrument: 73 }) + view.row / 2];
        }"""
    )
    pixel = f"""display.roll.brush.getImageData({x} * devicePixelRatio, {y} * devicePixelRatio, 1, 1).data.join()"""
    quiet = opened.state(pixel)
    opened.button("Play").click()
    opened.wait_for(f"player.position > 0.15 && playground.{pixel} !== '{quiet}'")


def test_playing_is_heard_and_never_clips_and_pausing_is_silent(opened: Playground) -> None:
    opened.button("Play").click()
    opened.wait_for("player.position > 0.3")
    assert opened.loudness() > AUDIBLE
    opened.button("Pause").click()
    opened.page.wait_for_timeout(1500)  # the room dies away
    assert opened.loudness() < SILENT


def test_what_is_muted_is_not_heard_and_solo_is_heard_alone(opened: Playground) -> None:
    rows = opened.page.get_by_role("group", name="Instruments").get_by_role("listitem")
    expect(rows).to_have_count(2)
    for row in rows.all():
        row.get_by_role("button", name="Mute").click()
    opened.button("Play").click()
    opened.wait_for("player.position > 0.4")
    assert opened.loudness() < SILENT
    for row in rows.all():
        row.get_by_role("button", name="Mute").click()
    rows.filter(has_text="Flute").get_by_role("button", name="Solo").click()
    opened.wait_for(f"player.position > {2 * BEAT}")
    assert opened.loudness() > AUDIBLE
    assert opened.state("player.synth.buses.get(128).gain.value") < SILENT


def test_hidden_instruments_are_not_drawn(opened: Playground) -> None:
    opened.page.get_by_role("listitem", name="Flute").get_by_role("button", name="Hide").click()
    assert (
        opened.page.evaluate(
            """() => {
                const { display } = playground, { view } = display.roll, y = view.y({ pitch: 60, instrument: 73 });
                return display.roll.noteAt(display.scene(), view.x(0.1), y + 1);
            }"""
        )
        is None
    )


def test_a_dense_piece_stays_below_full_scale(playground: Playground) -> None:
    playground.page.evaluate(
        """() => {
            const { history } = playground, notes = [];
            for (let n = 0; n < 600; n++) {
                const onset = Math.floor(n / 30) * 0.1, instrument = n % 3 ? (n * 8) % 120 : 128;
                notes.push({ onset, duration: 0.4, pitch: 36 + n % 50, instrument, velocity: 127 });
            }
            history.push("Dense", { ...history.piece, takes: [{ notes, seed: null }] });
        }"""
    )
    playground.wait_for("player.notes.length === 600")
    playground.button("Play").click()
    playground.wait_for("player.position > 0.5")
    peak = playground.page.evaluate(
        """async () => {
            const { analyser } = playground.player, frames = new Float32Array(analyser.fftSize);
            let peak = 0;
            for (let n = 0; n < 40; n++) {
                analyser.getFloatTimeDomainData(frames);
                for (const frame of frames) peak = Math.max(peak, Math.abs(frame));
                await new Promise((resolve) => setTimeout(resolve, 20));
            }
            return peak;
        }"""
    )
    assert 0.3 < peak < 10 ** (-1 / 20)


def test_the_clock_holds_where_notes_are_not_decided_yet(opened: Playground) -> None:
    opened.page.evaluate("() => { playground.player.front = 1.5 }")
    opened.button("Play").click()
    opened.wait_for("player.waits && playground.player.position === 1.5")
    opened.page.wait_for_timeout(300)
    assert opened.state("player.position") == 1.5
    opened.page.evaluate("() => { playground.player.front = Infinity }")
    opened.wait_for("player.position > 1.6")


def test_a_span_is_heard_alone(opened: Playground) -> None:
    opened.select(BAR, 2 * BAR)
    opened.page.evaluate("() => { playground.span[1] = playground.span[0] + 0.6 }")
    opened.button("Listen to span").click()
    opened.wait_for(f"player.position > {BAR + 0.3}")
    expect(opened.button("Play")).to_be_visible()
    assert opened.state("player.position") == pytest.approx(BAR, abs=0.05)


def test_a_span_is_repeated(opened: Playground) -> None:
    opened.select(BAR, 2 * BAR)
    opened.button("Loop").click()
    opened.page.mouse.click(*opened.point(2 * BAR - 0.4))
    opened.button("Play").click()
    opened.wait_for(f"player.position > {BAR} && playground.player.position < {BAR + 0.6}")
    assert opened.loudness() > AUDIBLE


def test_the_keys_at_the_side_sound(opened: Playground) -> None:
    left = opened.page.locator("#canvas").bounding_box()
    assert left is not None
    opened.page.mouse.move(left["x"] + 40, left["y"] + 150)
    opened.page.mouse.down()
    opened.wait_for("player.analyser && playground.player.context.currentTime > 0.3")
    assert opened.loudness() > AUDIBLE
    opened.page.mouse.up()


def test_bars_are_those_of_the_file_and_fit_shows_them_all(opened: Playground) -> None:
    bars = opened.page.evaluate(
        """async () => {
            const { barsUntil } = await import("/playground/timing.js");
            return barsUntil(playground.piece.timing, 19).map(({ start }) => start);
        }"""
    )
    assert bars[:3] == pytest.approx([0, BAR, 2 * BAR], abs=1e-4)
    opened.button("Zoom in").click()
    assert opened.state("display.roll.view.seconds") < 8 * BAR
    opened.button("Fit").click()
    assert opened.state("display.roll.view.seconds") == pytest.approx(8 * BAR, abs=1e-3)
