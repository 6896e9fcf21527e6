import base64
from typing import get_args

from amt.midi.codec import read_notes
from tasks.examples import EXAMPLE_MIDI, EXAMPLE_SCALE, EXAMPLES
from tasks.fields import Task
from tests.tasks.bodies import read


def test_there_is_a_valid_example_of_each_task() -> None:
    assert [read(**example).task for example in EXAMPLES.values()] == list(EXAMPLES) == list(get_args(Task))


def test_the_example_midi_is_one_middle_c_of_half_a_second() -> None:
    [note] = read_notes(base64.b64decode(EXAMPLE_MIDI))
    assert (note.onset, note.duration, note.pitch) == (0, 50, 60)


def test_the_example_scale_is_eight_notes_of_half_a_second() -> None:
    notes = read_notes(base64.b64decode(EXAMPLE_SCALE))
    assert [(note.onset, note.duration) for note in notes] == [(50 * step, 50) for step in range(8)]
