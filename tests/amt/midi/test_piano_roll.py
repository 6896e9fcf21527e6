"""The piano roll, read as an XML parser reads it: where notes, bars and names are."""

import re
from collections import Counter
from xml.etree import ElementTree

import pytest

from amt.midi.codec import Piece, read_piece, write_notes
from amt.midi.instruments import instrument_name
from amt.midi.notes import DRUMS, Note
from amt.midi.piano_roll import draw_piano_roll
from amt.midi.timing import Timing
from tests.amt.midi.building import meta, note, song, tempo
from tests.conftest import GOLDEN

SVG = "{http://www.w3.org/2000/svg}"
FILES = sorted((GOLDEN / "midi").glob("*.mid"))
SONG = [Note(0, 50, 60, 0), Note(100, 25, 64, 0, 127), Note(350, 150, 43, 33), Note(200, 10, 36, DRUMS)]


class Roll:
    """A roll, taken apart."""

    def __init__(self, data):
        self.root = ElementTree.fromstring(draw_piano_roll(read_piece(data) if isinstance(data, bytes) else data))
        self.texts = [(float(each.get("x")), float(each.get("y")), each.text) for each in self.root.iter(f"{SVG}text")]

    def notes(self, instrument):
        """(left, top, width, height, opacity) of each note of an instrument."""
        (group,) = self.root.iterfind(f"{SVG}g[@class='notes i{instrument}']")
        names = ("x", "y", "width", "height", "fill-opacity")
        return [tuple(float(each.get(name)) for name in names) for each in group.iter(f"{SVG}rect")]

    def second(self, x):
        """The time at a place, by the labels below the roll."""
        labels = [(left, *map(int, text.split(":"))) for left, _, text in self.texts if re.fullmatch(r"\d+:\d\d", text)]
        (first, *_), (last, minutes, seconds) = labels[0], labels[-1]
        return (x + 5 - first) * (60 * minutes + seconds) / (last - first)

    def bars(self):
        """Bar number -> its time, by the labels above."""
        return {int(text): self.second(x - 5) for x, y, text in self.texts if text.isdecimal() and y < 26 and x > 50}


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_every_note_is_drawn_once(file):
    piece = read_piece(file.read_bytes())
    roll = Roll(piece)
    counts = Counter(note.instrument for note in piece.notes)
    assert {instrument: len(roll.notes(instrument)) for instrument in counts} == counts
    width, height = float(roll.root.get("width")), float(roll.root.get("height"))
    boxes = [
        tuple(float(each.get(name)) for name in ("x", "y", "width", "height")) for each in roll.root.iter(f"{SVG}rect")
    ]
    assert all(x >= 0 and y >= 0 and x + wide <= width + 3 and y + high <= height + 0.01 for x, y, wide, high in boxes)


def test_notes_are_where_the_times_and_keys_say():
    roll = Roll(write_notes(SONG))
    (first, second), (bass,), (kick,) = (roll.notes(each) for each in (0, 33, DRUMS))
    assert [round(roll.second(each[0]), 2) for each in (first, second, bass, kick)] == [0, 1, 3.5, 2]
    lengths = [roll.second(each[0] + each[2] + 0.5) - roll.second(each[0]) for each in (first, second, bass)]
    assert lengths == pytest.approx([0.5, 0.25, 1.5], abs=0.01)
    (c4,) = [y for x, y, text in roll.texts if text == "C4"]
    row = (first[1] - second[1]) / 4  # four semitones
    assert 0 < c4 - first[1] < row
    assert (bass[1] - first[1]) / row == pytest.approx(17)
    assert kick[1] > bass[1]
    (label,) = [y for _, y, text in roll.texts if text == "Kick"]
    assert 0 < label - kick[1] < kick[3]


def test_louder_notes_are_stronger():
    soft, loud = Roll(write_notes([Note(0, 50, 60, 0, 20), Note(50, 50, 60, 0, 120)])).notes(0)
    assert soft[4] < loud[4] <= 1


def test_bars_follow_tempo_and_metre():
    head = [meta(0, 0x58, bytes((3, 2, 24, 8))), tempo(0, 500_000), tempo(1_500, 1_000_000)]
    roll = Roll(song(head, note(0, 3_500, 60)))  # three beats of 0.5 s, then of 1 s
    assert {number: round(time, 2) for number, time in roll.bars().items()} == {1: 0, 2: 1.5, 3: 4.5}


def test_a_tempo_map_with_millions_of_bars_is_drawn_without_any():
    roll = Roll(song([tempo(0, 1), meta(0, 0x58, bytes((1, 7, 24, 8)))], note(0, 400_000_000, 60), division=1))
    assert roll.bars() == {}
    assert len(roll.notes(0)) == 1


@pytest.mark.parametrize(
    "data", [song(note(0, 500, 60), file_type=2), song(note(0, 500, 60), division=0xE728)], ids=["patterns", "frames"]
)
def test_files_without_bars_are_drawn_without_any(data):
    assert Roll(data).bars() == {}


def test_it_says_what_it_shows():
    roll = Roll(write_notes(SONG))
    title, description, *_ = roll.root
    assert roll.root.get("role") == "img"
    assert (title.tag, title.text) == (f"{SVG}title", "Piano roll: 4 notes in 5.0 s")
    assert description.tag == f"{SVG}desc"
    assert description.text == "Acoustic Grand Piano (2 notes), Electric Bass (finger) (1 note), Drums (1 note)"
    named = [text for _, _, text in roll.texts]
    for instrument, number in ((0, 2), (33, 1), (DRUMS, 1)):
        assert f"{instrument_name(instrument)} \u00b7 {number}" in named


def test_colours_are_there_for_light_and_for_dark():
    style = Roll(write_notes(SONG)).root.findtext(f"{SVG}style")
    light, dark = style.split("@media (prefers-color-scheme:dark)")
    for name in ("paper", "text", "i0", "i33", "i128"):
        (by_day,), (by_night,) = (re.findall(rf"\.piano-roll \.{name}{{fill:(#\w+)}}", part) for part in (light, dark))
        assert by_day != by_night


def test_in_a_page_it_styles_nothing_else():
    style = Roll(write_notes(SONG)).root.findtext(f"{SVG}style")
    selectors = re.findall(r"(?:^|[{}])([^{}@]+){", style)
    assert selectors
    assert all(selector.startswith(".piano-roll") for selector in selectors)
    assert not [each for each in Roll(write_notes(SONG)).root.iter() if each.get("id")]


@pytest.mark.parametrize(("seconds", "width"), [(1, 720), (20, 1_200), (60, 1_600), (600, 4_800)])
def test_long_pieces_are_pressed_together_but_not_too_much(seconds, width):
    assert float(Roll(write_notes([Note(0, 100 * seconds, 60, 0)])).root.get("width")) == width + 52


def test_a_piece_without_notes_can_be_drawn():
    assert Roll(Piece([], Timing())).root.findtext(f"{SVG}desc") == "No notes"
