"""What is done by hand: notes, steps back and forth, recording, keys."""

from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import BAR, BEAT, Playground


@pytest.fixture
def editing(playground: Playground, song: Path) -> Playground:
    playground.open(song)
    playground.page.get_by_text("Edit notes", exact=True).click()
    # What is clicked next must be where it is drawn.
    playground.page.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
    return playground


def place(playground: Playground, onset: float, pitch: int, into: float = 0.2) -> tuple[float, float]:
    """Where on the screen a note of the flute is."""
    box = playground.page.locator("#canvas").bounding_box()
    assert box is not None
    top = playground.state(
        f"display.roll.view.y({{ pitch: {pitch}, instrument: 73 }}) + playground.display.roll.view.row / 2"
    )
    return box["x"] + playground.state(f"display.roll.view.x({onset + into})"), box["y"] + top


def flute(playground: Playground) -> list[tuple[float, float, int]]:
    return [note[:3] for note in playground.notes() if note[3] == 73]


def test_a_note_is_moved_in_time_and_pitch(editing: Playground) -> None:
    editing.drag(place(editing, 0, 60), place(editing, BEAT, 65))
    assert (pytest.approx(BEAT), pytest.approx(BEAT), 65) in flute(editing)
    assert editing.notes()[0][2] != 60 or editing.notes()[0][3] == 128


def test_a_note_is_stretched_at_its_end(editing: Playground) -> None:
    editing.drag(place(editing, 0, 60, BEAT - 0.03), place(editing, 0, 60, 2 * BEAT - 0.03))
    assert flute(editing)[0] == (0, pytest.approx(2 * BEAT, abs=0.02), 60)


def test_a_click_adds_a_note_and_delete_removes_it(editing: Playground) -> None:
    before = editing.notes()
    editing.page.mouse.click(*place(editing, 0, 71))
    added = set(editing.notes()) - set(before)
    assert [(note[2], note[3]) for note in added] == [(71, 0)]
    editing.page.keyboard.press("Delete")
    assert editing.notes() == before


def test_several_notes_go_an_octave_up_and_down(editing: Playground) -> None:
    editing.page.keyboard.down("Shift")
    editing.drag(place(editing, 0, 71, 0.1), place(editing, 11 * BEAT, 58))
    editing.page.keyboard.up("Shift")
    editing.button("Octave up").click()
    assert [note[2] for note in flute(editing)[:12]] == list(range(72, 84))
    editing.button("Octave down").click()
    assert [note[2] for note in flute(editing)[:12]] == list(range(60, 72))


def test_notes_are_edited_with_the_keyboard_alone(editing: Playground) -> None:
    editing.page.locator("#canvas").focus()
    for key in ("n", "Shift+ArrowUp", "Shift+ArrowRight"):
        editing.page.keyboard.press(key)
    assert (0, pytest.approx(BEAT * 1.25), 72) in flute(editing)
    editing.page.keyboard.press("Delete")
    assert len(flute(editing)) == 31


def test_what_was_edited_goes_into_the_next_request(editing: Playground) -> None:
    for note in (60, 61, 62):
        editing.page.mouse.click(*place(editing, (note - 60) * BEAT, note))
        editing.page.keyboard.press("Delete")
    editing.page.locator("[name=seconds]").fill("1")
    editing.button("Continue").click()
    editing.settle()
    assert len(flute(editing)) >= 29
    assert not {60, 61, 62} & {note[2] for note in flute(editing)[:9]}


def test_everything_is_undone_and_done_again_step_by_step(editing: Playground) -> None:
    before = editing.notes()
    editing.page.mouse.click(*place(editing, 0, 60))
    editing.page.keyboard.press("Delete")
    editing.page.get_by_role("listitem", name="Drums").get_by_role("button", name="Mute").click()
    editing.button("Undo").click()
    assert not editing.state("piece.mixer[128]?.mute")
    editing.button("Undo").click()
    assert editing.notes() == before
    editing.button("Redo").click()
    editing.page.keyboard.press("Control+Shift+Z")
    assert len(editing.notes()) == len(before) - 1
    assert editing.state("piece.mixer[128].mute")
    steps = editing.page.get_by_role("list", name="History").get_by_role("button")
    expect(steps.first).to_have_text("Mute: Drums")
    steps.filter(has_text="Empty page").click()
    assert not editing.notes()
    steps.filter(has_text="Open song.mid").click()
    assert editing.notes() == before


def test_nothing_is_lost_when_the_page_is_loaded_again(editing: Playground) -> None:
    editing.page.mouse.click(*place(editing, 0, 60))
    editing.page.keyboard.press("Delete")
    editing.page.locator("[name=bpm]").fill("77")
    notes, steps = editing.notes(), editing.state("history.steps.map(({ label }) => label)")
    editing.page.reload()
    assert editing.notes() == notes
    assert editing.state("history.steps.map(({ label }) => label)") == steps
    assert editing.page.locator("[name=bpm]").input_value() == "77"
    editing.button("Undo").click()
    assert len(editing.notes()) == len(notes) + 1


def test_the_computers_keyboard_records_a_melody_that_is_accompanied(playground: Playground) -> None:
    keyboard = playground.page.keyboard
    playground.button("Record").click()
    playground.wait_for("player.playing && !playground.player.waits")
    for key in ("a", "d", "g"):
        keyboard.down(key)
        playground.page.wait_for_timeout(250)
        assert playground.loudness() > 3e-3
        keyboard.up(key)
    playground.button("Stop").click()
    melody = playground.notes()
    assert [note[2] for note in melody] == [60, 64, 67]
    assert all(0.15 < note[1] < 2 for note in melody)
    playground.button("Accompany").click()
    playground.settle()
    assert set(melody) <= set(playground.notes())


MIDI_KEYBOARDS = """
    const inputs = new Map(["first", "second"].map((name) => [name, new EventTarget()]));
    const access = { inputs: new Map() };
    navigator.requestMIDIAccess = async () => access;
    globalThis.plugIn = (name) => {
        access.inputs.set(name, inputs.get(name));
        access.onstatechange?.();
    };
    globalThis.sendMidi = (name, ...data) => inputs.get(name).onmidimessage({ data: Uint8Array.from(data) });
"""
"""What a browser does where there are MIDI keyboards, of which the machine that runs the tests has none."""


def test_midi_keyboards_are_recorded_too_also_one_that_is_plugged_in_later(playground: Playground) -> None:
    playground.page.add_init_script(MIDI_KEYBOARDS)
    playground.page.reload()
    playground.page.evaluate("plugIn('first')")
    playground.button("Record").click()
    playground.wait_for("player.playing && !playground.player.waits && playground.recorder.midi")
    playground.page.evaluate("plugIn('second')")
    for keyboard, channel, pitch in [("first", 0, 48), ("second", 3, 52)]:
        playground.page.evaluate(f"sendMidi('{keyboard}', {0x90 + channel}, {pitch}, 100)")
        playground.page.wait_for_timeout(200)
        assert playground.loudness() > 3e-3
        playground.page.evaluate(f"sendMidi('{keyboard}', {0x80 + channel}, {pitch}, 0)")
    playground.page.evaluate("sendMidi('first', 0xFE)")  # which some send all the time, to say that they are there
    playground.page.evaluate("sendMidi('first', 0x90, 55, 100)")
    playground.page.wait_for_timeout(200)
    playground.page.evaluate("sendMidi('first', 0x90, 55, 0)")  # ends a note too
    playground.button("Record").click()
    assert [note[2] for note in playground.notes()] == [48, 52, 55]
    assert all(note[1] < 2 for note in playground.notes())


def test_without_a_mouse_bars_are_selected_and_written_again(playground: Playground, song: Path) -> None:
    playground.open(song)
    before = playground.notes()
    press: Any = playground.page.keyboard.press
    for key in ["Home", *["ArrowRight"] * 4, *["Shift+ArrowRight"] * 4]:
        press(key)
    assert playground.state("span") == pytest.approx([BAR, 2 * BAR], abs=1e-3)
    press("i")
    playground.wait_for("work")
    playground.settle()
    assert playground.notes() != before


def test_who_presses_generate_with_the_keyboard_keeps_a_place_on_the_page(playground: Playground) -> None:
    playground.page.locator("[name=seconds]").fill("1")
    playground.button("Generate").focus()
    playground.page.keyboard.press("Enter")
    playground.wait_for("work")
    expect(playground.page.locator("#canvas")).to_be_focused()
    playground.settle()


def test_a_question_mark_shows_the_shortcuts(playground: Playground) -> None:
    playground.page.keyboard.press("?")
    expect(playground.page.get_by_role("dialog", name="Shortcuts")).to_contain_text("infill, vary, continue, accompany")
    playground.button("Close").click()
    expect(playground.page.get_by_role("dialog")).to_have_count(0)
